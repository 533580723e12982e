"""A project's requirements.txt, exported from its lock, and what installers say of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hackkit.deploy.manifest import Objection
from hackkit.project.context import Context
from hackkit.project.lockfile import package_name, read_toml, unlocked
from hackkit.system import uv

_EXPORT = (
    *("export", "--frozen", "--offline", "--no-python-downloads", "--no-cache", "--quiet"),
    *("--no-default-groups", "--no-hashes", "--no-emit-project", "--no-header", "--no-annotate"),
)
_SECONDS = 20.0
_LOCAL = re.compile(r"^(?:-e |\.{0,2}[/\\]|[A-Za-z]:[\\/]|file:)|@ file:")


@dataclass(frozen=True)
class Requirements:
    """A requirements.txt: every package with its version; `missing` are those left out of it.

    `missing` are packages that the project tells uv to leave out. pip does not know of that.
    """

    text: str = ""
    missing: tuple[str, ...] = ()
    objections: tuple[Objection, ...] = ()


def exported(context: Context) -> Requirements:
    """Export the lock, offline."""
    if not (context.folder / "uv.lock").is_file():
        return _refused("There is no uv.lock, which holds the versions to install.", "lock")
    if not context.uv:
        install = "open https://docs.astral.sh/uv/getting-started/installation"
        return Requirements(objections=(Objection("uv was not found.", install),))
    if broken := _broken(context.folder / "pyproject.toml"):
        return Requirements(objections=(broken,))
    if names := sorted(unlocked(context.folder)):
        words = f"uv.lock is older than pyproject.toml: they differ in {', '.join(names)}."
        return _refused(words, "lock")
    ran = context.run(*context.uv, *_EXPORT, folder=context.folder, seconds=_SECONDS)
    if ran is None or not ran.ok or not ran.out:
        said = ran.err.splitlines()[0] if ran and ran.err else "uv says nothing"
        return _refused(f"uv.lock cannot be exported: {said}", "lock")
    text = ran.out + "\n"
    lines = text.splitlines()
    return Requirements(
        text=text,
        missing=tuple(sorted(_left_out(context.folder) - {*map(package_name, lines)})),
        objections=tuple(_local(lines)),
    )


def _refused(words: str, *command: str) -> Requirements:
    return Requirements(objections=(Objection(words, uv.typed(*command)),))


def _local(lines: list[str]) -> Iterator[Objection]:
    for line in lines:
        if _LOCAL.search(line):
            package = line.partition(" @ ")[0]
            yield Objection(
                f"{package} is installed from a folder of this machine: nobody else has that.",
                fix="edit pyproject.toml: take it from a package index or a public repository",
            )


def _left_out(folder: Path) -> set[str]:
    settings = read_toml(folder / "pyproject.toml").get("tool", {}).get("uv", {})
    return {package_name(each) for each in settings.get("override-dependencies", []) if ";" in each}


def _broken(path: Path) -> Objection | None:
    import tomllib  # noqa: PLC0415 - only deployments read it

    try:
        tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        words = f"{path.name} cannot be read: {error}."
        return Objection(words, fix=f"edit {path.name}: mend that")
    return None


# What installers say: the first rule that fits tells; its group is what it is about.
