"""The README that makes a project a Space: completed in the copy that leaves, and checked."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import Objection, Outgoing
from hackkit.project import lockfile
from hackkit.project.files import ProjectFiles
from hackkit.services import space_header
from hackkit.system import uv
from hackkit.system.command_line import line

_NAME = "README.md"


@dataclass(frozen=True)
class Page:
    """A README with a complete header, and the keys that were added to it."""

    file: Outgoing
    header: space_header.Header
    added: tuple[str, ...] = ()


def completed(project: ProjectFiles, sent: Sequence[Outgoing]) -> Page:
    """Return the README of these files, with all that a Space wants to know in its header."""
    text = next((each.read() for each in sent if each.path == _NAME), b"")
    readme = text.decode("utf-8", "replace")
    header = space_header.parse_header(readme)
    if header.trouble and readme.lstrip("\ufeff").startswith("---"):  # broken: not ours to mend
        return Page(outgoing.made(_NAME, readme), header)
    whole, added = space_header.complete(readme, _defaults(project, {each.path for each in sent}))
    return Page(outgoing.made(_NAME, whole), space_header.parse_header(whole), added)


def header_of(files: Sequence[Outgoing]) -> Mapping[str, object]:
    """Return what the header says of the README that leaves."""
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


def objections(page: Page, folder: Path, files: Sequence[Outgoing]) -> Iterator[Objection]:
    """Say what would stop or spoil the Space, each with what to write."""
    values, gradio = page.header.values, lockfile.locked_version(folder, "gradio")
    if page.header.trouble:
        link = "open https://huggingface.co/docs/hub/spaces-config-reference"
        yield Objection(f"{_NAME} {page.header.trouble}.", fix=link)
        return
    if not gradio:
        words = "gradio, with which a Space starts the app, is not in uv.lock."
        yield Objection(words, fix=uv.typed("add", "gradio"))
    if values.get("sdk") in {"docker", "static"}:
        words = f"{_NAME} says sdk: {values['sdk']}; hackkit sends Gradio Spaces."
        yield Objection(words, fix=f"edit {_NAME}: sdk must be gradio")
        return
    for each in space_header.problems(values, gradio, folder):
        yield Objection(f"{_NAME}: {each}.", fix=f"edit {_NAME}: {each.key} must be {each.wanted}")
    app = str(values.get("app_file") or "app.py")
    if (folder / app).is_file() and app not in {each.path for each in files}:
        yield Objection(
            f"{app} is not tracked by git, so it stays here.", fix=line(["git", "add", "--", app])
        )


def has_gpu_function(files: Sequence[Outgoing]) -> bool:
    """Tell whether a function is marked @spaces.GPU, which ZeroGPU hardware wants."""
    return any(each.path.endswith(".py") and _marks_gpu(each.read()) for each in files)


def _marks_gpu(source: bytes) -> bool:
    if b"GPU" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a rehearsal tells
        return False
    marks = (
        mark.func if isinstance(mark, ast.Call) else mark
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for mark in node.decorator_list
    )
    return any(ast.unparse(mark) in {"spaces.GPU", "GPU"} for mark in marks)
