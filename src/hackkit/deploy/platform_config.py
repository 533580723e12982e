"""What the platforms with a program of their own have in common: the file written, the manifest."""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import Manifest, Objection, Order, Outgoing
from hackkit.project.context import Context
from hackkit.project.names import slug
from hackkit.system.command_line import hackkit

PORT = 7860
DOCKERFILE = "Dockerfile"
BUILT_FROM = (DOCKERFILE, ".dockerignore", "uv.lock")
_MOST_MB = 50.0  # of one file: what is larger belongs into a bucket, not into an image
_LONGEST_NAME = 40  # characters: every platform takes that much, also as a part of an address
_MOST_NAMED = 5  # files in one note


def filled(template: str, values: Mapping[str, str], asked: Mapping[str, str], mine: Path) -> str:
    """Fill a template in: with what is asked for, else what the team's file has, else `values`.

    So a line that the team has changed keeps its value, and a file that was made with `--name`
    keeps its name when the next deployment comes without it.
    """
    text = mine.read_text("utf-8", errors="replace") if mine.is_file() else ""
    kept = _present(template, text)
    wished = {name: value for name, value in asked.items() if value}
    return string.Template(template).substitute({**values, **kept, **wished})


def _present(template: str, text: str) -> dict[str, str]:
    """Return the values that a file which was made from the template has now."""
    found = {}
    for each in template.splitlines():
        before, dollar, rest = each.partition("$")
        name = re.match(r"{?(\w+)}?", rest)
        if not dollar or not before.strip() or name is None or name[1] in found:
            continue
        after = rest[name.end() :].partition("  #")[0].rstrip()
        pattern = rf"^{re.escape(before)}(.+?){re.escape(after)}[ \t]*(?:#.*)?\r?$"
        match = re.search(pattern, text, re.MULTILINE)
        if match and "$" not in after:
            found[name[1]] = match[1]
    return found


def service_name(order: Order, mine: str = "") -> str:
    """Return what the app is called on a platform: as asked, as its file says, or the project's."""
    answers = order.project.answers
    ours = str(answers.get("project_slug") or answers.get("project_name") or "")
    name = slug(order.options.name or mine or ours or order.project.folder.name)
    name = name if name[0].isalpha() else f"app-{name}"
    return name[:_LONGEST_NAME].rstrip("-")


def memory_mb(order: Order) -> int:
    """Return the memory that the project's template asks for, as platforms sell it."""
    return -(-order.context.needs.memory_mb // 512) * 512


def present(path: Path, pattern: str) -> str:
    """Return what the first group of a pattern finds in a file, or nothing."""
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def block(lines: Iterable[str]) -> str:
    """Join lines that stand in a template as one; each ends with a line break."""
    return "".join(f"{each}\n" for each in lines)


@dataclass(frozen=True)
class Wishes:
    """What a target adds to a manifest that is alike for all of them."""

    changes: tuple[str, ...]
    needs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    objections: tuple[Objection, ...] = ()


def planned(target: str, order: Order, written: Outgoing, wishes: Wishes) -> Manifest:
    """Return the manifest of a target that writes one file and sends it with the project's."""
    context = order.context
    secrets, variables = outgoing.variables(context)
    files = outgoing.together(outgoing.files(context), [*_own(order)], [written])
    return Manifest(
        target=target,
        files=files,
        secrets=secrets,
        variables=variables,
        writes=(written,),
        changes=wishes.changes,
        needs=wishes.needs,
        notes=(*wishes.notes, *_notes(context, files, secrets, variables)),
        objections=(*wishes.objections, *outgoing.objections(files, context, _MOST_MB)),
    )


def _own(order: Order) -> Iterator[Outgoing]:
    """Go through what a build needs even when git does not track it (yet)."""
    for name in BUILT_FROM:
        path = order.project.folder / name
        if path.is_file():
            yield Outgoing(name, path, path.stat().st_size)


def _notes(
    context: Context,
    files: Sequence[Outgoing],
    secrets: Mapping[str, str],
    variables: Mapping[str, str],
) -> Iterator[str]:
    if not secrets:
        yield "no key is set: the app answers with its offline stand-in"
    yield from outgoing.variable_notes(variables)
    sent = {each.path for each in files}
    left = [each for each in outgoing.untracked(context) if each not in sent]
    if left:
        more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
        yield f"not sent, because git does not track it: {', '.join(left[:_MOST_NAMED])}{more}"


def needs_dockerfile(order: Order) -> tuple[Objection, ...]:
    """Object when the project has no Dockerfile that a platform could build."""
    if (order.project.folder / DOCKERFILE).is_file():
        return ()
    return (
        Objection(f"The project has no {DOCKERFILE} to build.", fix=hackkit("deploy", "docker")),
    )
