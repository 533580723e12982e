"""Completes and checks the README header that a Space needs; only the copy is changed."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import OutgoingFile
from hackkit.errors import Problem
from hackkit.project import lockfile
from hackkit.project.files import ProjectFiles
from hackkit.services import space_header
from hackkit.system import uv
from hackkit.system.command_line import line

_NAME = "README.md"


@dataclass(frozen=True)
class Readme:
    """A README with a complete header, and the keys that were added to it."""

    file: OutgoingFile
    header: space_header.Header
    added: tuple[str, ...] = ()


def completed(project: ProjectFiles, sent: Sequence[OutgoingFile]) -> Readme:
    """Return the README of these files, with all keys that a Space needs in its header."""
    text = next((each.read() for each in sent if each.path == _NAME), b"")
    original = text.decode("utf-8", "replace")
    header = space_header.parse_header(original)
    if header.error and original.lstrip("\ufeff").startswith("---"):  # the team has to repair it
        return Readme(outgoing.generated(_NAME, original), header)
    whole, added = space_header.complete(original, _defaults(project, {each.path for each in sent}))
    return Readme(outgoing.generated(_NAME, whole), space_header.parse_header(whole), added)


def header_of(files: Sequence[OutgoingFile]) -> Mapping[str, object]:
    """Return the header of the README that is sent."""
    text = next(each.read() for each in files if each.path == _NAME)
    return space_header.parse_header(text.decode("utf-8", "replace")).values


def _defaults(project: ProjectFiles, paths: set[str]) -> Mapping[str, object]:
    return {
        "title": str(project.answers.get("project_name") or project.folder.name),
        "emoji": "📚",
        "colorFrom": "yellow",
        "colorTo": "red",
        "sdk": "gradio",
        "sdk_version": lockfile.locked_version(project.folder, "gradio"),
        "python_version": lockfile.least_python(project.folder) or "3.11",
        "app_file": "app.py" if "app.py" in paths else "",
        "tags": ["mistral", *filter(None, [project.template])],
    }


def problems(readme: Readme, folder: Path, files: Sequence[OutgoingFile]) -> Iterator[Problem]:
    """Yield the header's problems that would break the Space, each with the fix."""
    values, gradio = readme.header.values, lockfile.locked_version(folder, "gradio")
    if readme.header.error:
        yield Problem(f"{_NAME} {readme.header.error}.", fix=space_header.READ_DOCS)
        return
    if not gradio:
        problem = "gradio, which a Space needs to start the app, is not in uv.lock."
        yield Problem(problem, fix=uv.typed("add", "gradio"))
    if values.get("sdk") in {"docker", "static"}:
        problem = f"{_NAME} has sdk: {values['sdk']}; hackkit deploys Gradio Spaces only."
        yield Problem(problem, fix=space_header.fix_for("sdk", "gradio"))
        return
    for each in space_header.issues(values, gradio, folder):
        yield Problem(f"{_NAME}: {each}.", fix=each.fix)
    app = str(values.get("app_file") or "app.py")
    if (folder / app).is_file() and app not in {each.path for each in files}:
        yield Problem(
            f"{app} is not tracked by git, so it is not sent.", fix=line(["git", "add", "--", app])
        )


def has_gpu_function(files: Sequence[OutgoingFile]) -> bool:
    """Return whether a function is marked @spaces.GPU, which ZeroGPU hardware requires."""
    return any(each.path.endswith(".py") and _marks_gpu(each.read()) for each in files)


def _marks_gpu(source: bytes) -> bool:
    if b"GPU" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a rehearsal shows the error
        return False
    marks = (
        mark.func if isinstance(mark, ast.Call) else mark
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for mark in node.decorator_list
    )
    return any(ast.unparse(mark) in {"spaces.GPU", "GPU"} for mark in marks)
