"""Values that the user's shell offers after Tab; each loads what it needs only then."""

from collections.abc import Iterable, Iterator


def templates(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the built-in templates with their summaries."""
    from hackkit.project.catalog import Catalog  # noqa: PLC0415 - only after Tab

    return _matching(incomplete, ((each.name, each.summary) for each in Catalog.here().templates))


def examples(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the finished examples with their summaries."""
    from hackkit.project.catalog import Catalog  # noqa: PLC0415 - only after Tab

    return _matching(incomplete, ((each.name, each.summary) for each in Catalog.here().examples))


def checks(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the ids of doctor's checks with their titles."""
    from hackkit.doctor.checks import all_checks  # noqa: PLC0415 - only after Tab

    return _matching(incomplete, ((each.id, each.title) for each in all_checks()))


def targets(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield the deploy targets with their summaries."""
    from hackkit.deploy.targets import all_targets  # noqa: PLC0415 - only after Tab

    return _matching(incomplete, ((each.name, each.summary) for each in all_targets()))


def _matching(start: str, values: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return (each for each in values if each[0].startswith(start))
