"""What targets with a command-line program share: config file, service name, manifest."""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hackkit.deploy import gaps, outgoing
from hackkit.deploy.manifest import DeployRequest, Manifest, OutgoingFile
from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.project.layout import DOCKERFILE
from hackkit.project.names import slug
from hackkit.system.command_line import hackkit

BUILD_FILES = (DOCKERFILE, ".dockerignore", "uv.lock")
_MOST_MB = 50.0  # of one file: a larger one belongs in a bucket, not in an image
_LONGEST_NAME = 40  # characters: every platform accepts that, also as a part of an address


def filled(template: str, values: Mapping[str, str], asked: Mapping[str, str], mine: Path) -> str:
    """Fill in a template: with the values asked for, else the team's file's, else `values`.

    So a line that the team changed keeps its value, and a file that was made with `--name` keeps
    that name when the next deployment comes without it.
    """
    text = mine.read_text("utf-8", errors="replace") if mine.is_file() else ""
    kept = _present(template, text)
    chosen = {name: value for name, value in asked.items() if value}
    return string.Template(template).substitute({**values, **kept, **chosen})


def _present(template: str, text: str) -> dict[str, str]:
    """Return the current values in a file that was made from the template."""
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


def service_name(request: DeployRequest, current: str = "") -> str:
    """Return the app's name on a platform: from the option, else its file, else the project."""
    answers = request.project.answers
    ours = str(answers.get("project_slug") or answers.get("project_name") or "")
    name = slug(request.options.name or current or ours or request.project.folder.name)
    name = name if name[0].isalpha() else f"app-{name}"
    return name[:_LONGEST_NAME].rstrip("-")


def memory_mb(request: DeployRequest) -> int:
    """Return the memory that the project's template needs, rounded up to what platforms sell."""
    return -(-request.context.needs.memory_mb // 512) * 512


def current_value(path: Path, pattern: str) -> str:
    """Return what the first group of a pattern matches in a file, or nothing."""
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def block(lines: Iterable[str]) -> str:
    """Join lines to one value of a template; each ends with a line break."""
    return "".join(f"{each}\n" for each in lines)


@dataclass(frozen=True)
class ManifestParts:
    """What a target adds to the manifest that they all share."""

    changes: tuple[str, ...]
    needs: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def manifest_of(
    target: str, request: DeployRequest, written: OutgoingFile, parts: ManifestParts
) -> Manifest:
    """Return the manifest of a target that writes one file and sends it with the project's.

    The Dockerfile says how the app is started, or the written file itself if that is Python.
    """
    context = request.context
    secrets, variables = outgoing.variables(context)
    files = outgoing.merged(
        outgoing.tracked_files(context), [*build_files(request.project.folder)], [written]
    )
    recipe = written.path if written.path.endswith(".py") else DOCKERFILE
    return Manifest(
        target=target,
        files=files,
        secrets=secrets,
        variables=variables,
        writes=(written,),
        changes=parts.changes,
        needs=parts.needs,
        notes=(
            *parts.notes,
            *_notes(context, files, secrets, variables),
            *gaps.notes(files, [*secrets, *variables], recipe),
        ),
        problems=(
            *parts.problems,
            *gaps.problems(context, files, recipe),
            *outgoing.problems(files, context, _MOST_MB),
        ),
    )


def build_files(folder: Path) -> Iterator[OutgoingFile]:
    """Yield the files that a build needs, also when git does not track them (yet)."""
    for name in BUILD_FILES:
        path = folder / name
        if path.is_file():
            yield OutgoingFile(name, path, path.stat().st_size)


def _notes(
    context: Context,
    files: Sequence[OutgoingFile],
    secrets: Mapping[str, str],
    variables: Mapping[str, str],
) -> Iterator[str]:
    if not secrets:
        yield "no key is set: the app runs in offline mode"
    yield from outgoing.variable_notes(variables)
    yield from outgoing.left_out_notes(context, files)


def dockerfile_problems(request: DeployRequest) -> tuple[Problem, ...]:
    """Return a problem when the project has no Dockerfile for the platform to build."""
    if (request.project.folder / DOCKERFILE).is_file():
        return ()
    return (Problem(f"The project has no {DOCKERFILE} to build.", fix=hackkit("deploy", "docker")),)
