"""Puts an example over a fresh render of its template: settings, a patch, and its own files."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from hackkit.errors import HackkitError
from hackkit.new import patches, settings_file
from hackkit.project.catalog import Example
from hackkit.project.files import ProjectFiles
from hackkit.system.command_line import hackkit

ABOUT, PATCH = "example.toml", "changes.patch"
# Files of an example's folder that do not belong to the project.
NOT_ITS_OWN = shutil.ignore_patterns(
    *(ABOUT, PATCH, "__pycache__", "*.py[co]", ".venv", ".*_cache", ".env", "index", ".gradio")
)
# Is called with the path of a file and why a change of it does not fit.
Reject = Callable[[str, HackkitError], None]


def put_over(example: Example, directory: Path, reject: Reject | None = None) -> None:
    """Turn a fresh render of the template into the example.

    Raises HackkitError where a change does not fit the template, before anything is written; with
    `reject`, the other changes are written.
    """
    for name, text in _changed(example, directory, reject or _refuse(example, directory)).items():
        write(directory / name, text)
    for name in example.remove:
        (directory / name).unlink(missing_ok=True)
    shutil.copytree(example.folder, directory, dirs_exist_ok=True, ignore=NOT_ITS_OWN)


def read(path: Path) -> str:
    """Return a file's text, its lines ended as on every system. Raises HackkitError."""
    if not path.is_file():
        raise HackkitError("The template has no such file.")
    return path.read_text("utf-8")


def write(path: Path, text: str) -> None:
    """Write a text; a file that exists keeps its kind of line endings."""
    windows = path.is_file() and b"\r\n" in path.read_bytes()
    path.write_text(text, "utf-8", newline="\r\n" if windows else "\n")


def settings_path(directory: Path) -> str:
    """Return the path of settings.py in a project."""
    return f"{ProjectFiles(directory).package}/settings.py"


def _changed(example: Example, directory: Path, reject: Reject) -> Mapping[str, str]:
    """Return the new text of every template file that the example changes."""
    texts: dict[str, str] = {}
    for name, change in _changes(example, directory):
        try:
            before = texts[name] if name in texts else read(directory / name)
            texts[name] = change(before)
        except HackkitError as error:
            reject(name, error)
    return texts


def _changes(example: Example, directory: Path) -> Iterator[tuple[str, Callable[[str], str]]]:
    for field, value in example.settings.items():
        yield settings_path(directory), partial(settings_file.with_default, field, value)
    path = example.folder / PATCH
    patch = patches.read(path.read_text("utf-8") if path.is_file() else "")
    for name, hunks in patch.items():
        yield from ((name, partial(patches.apply, hunk)) for hunk in hunks)


def _refuse(example: Example, directory: Path) -> Reject:
    def refuse(name: str, error: HackkitError) -> None:
        raise HackkitError(
            f"The example {example.name} does not fit the template {example.template}: {name}. "
            f"{error}",
            fix=hackkit("new", example.template, str(directory), "--defaults"),
        ) from error

    return refuse
