"""Makes an example with today's template, and saves the edited folder as the example.

`python -m hackkit.new.rework make course-tutor ../tutor` prints the changes that do not fit the
template any more: make them by hand. `save` with the same words then writes the example again.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hackkit.errors import HackkitError
from hackkit.new import examples, patches, settings_file
from hackkit.new.plan import Plan
from hackkit.new.scaffold import new_project
from hackkit.project.catalog import Catalog, Example
from hackkit.project.files import ANSWERS
from hackkit.system import git, processes

_NEVER_SAVED = {ANSWERS, ".env", "uv.lock"}
_REMOVE = re.compile(r"^remove = \[.*?\]\n", re.MULTILINE | re.DOTALL)
_SETTINGS = re.compile(r"\n*^\[settings\]\n(?:(?!\[).*\n?)*", re.MULTILINE)


def make(example: Example, folder: Path) -> list[str]:
    """Make the example as far as it fits today's template; return what does not fit.

    The template is the first commit, and the example's changes are not committed.
    """
    new_project(_plain(example, folder, git=True))
    problems: list[str] = []
    examples.put_over(example, folder, lambda name, error: problems.append(f"{name}: {error}"))
    return problems


def save(example: Example, folder: Path) -> None:
    """Write the example again from a finished project: settings, patch, and its own files.

    Raises HackkitError if the example, made again, is not equal to the folder.
    """
    with tempfile.TemporaryDirectory() as temporary:
        plain = new_project(_plain(example, Path(temporary) / folder.name, git=False)).directory
        names = _names(folder)
        settings = _settings(plain, folder)
        base = replace(example, settings=settings, remove=(), folder=Path(temporary) / "none")
        base.folder.mkdir()
        examples.put_over(base, plain)
        differing = [name for name in names if not _same(plain / name, folder / name)]
        changes = {name: _patch(name, plain, folder) for name in differing}
        missing = sorted({*_files(plain)} - {*names} - _NEVER_SAVED)
    own = [name for name, patch in changes.items() if not patch]
    _write(example.folder, folder, own, "".join(changes.values()))
    about = example.folder / examples.ABOUT
    about.write_text(_about(about.read_text("utf-8"), missing, settings), "utf-8", newline="\n")
    _check(example.name, folder)


def _plain(example: Example, folder: Path, *, git: bool) -> Plan:
    plan = Plan(folder, template=example.template, answers=example.answers, install=False)
    return replace(plan, git=git)


def _names(folder: Path) -> list[str]:
    """Return the files of a project that git tracks or would add."""
    listed = git.files(processes.runner(processes.inherited_environment()), folder.resolve())
    if listed.problem:
        raise HackkitError(f"The files of {folder} could not be listed: {listed.problem}.")
    names = {*listed.names} - _NEVER_SAVED
    return sorted(name for name in names if (folder / name).is_file())


def _files(folder: Path) -> Iterator[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return (path.relative_to(folder).as_posix() for path in paths)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _settings(plain: Path, folder: Path) -> dict[str, settings_file.Value]:
    """Return the defaults in settings.py that differ from the template's."""
    name = examples.settings_path(plain)
    before, after = (settings_file.defaults(examples.read(each / name)) for each in (plain, folder))
    return {key: after[key] for key in before if key in after and after[key] != before[key]}


def _patch(name: str, plain: Path, folder: Path) -> str:
    """Return the patch of a file; none for a new file, and for one that is shorter as a whole."""
    try:
        after = (folder / name).read_text("utf-8")
        patch = patches.diff(name, examples.read(plain / name), after)
    except (UnicodeError, HackkitError):
        return ""
    return patch if patch.count("\n") < after.count("\n") else ""


def _write(example: Path, folder: Path, own: Sequence[str], patch: str) -> None:
    for name in {*_files(example)} - {examples.ABOUT, *own}:
        (example / name).unlink()
    for name in own:
        (example / name).parent.mkdir(parents=True, exist_ok=True)
        (example / name).write_bytes((folder / name).read_bytes())
    if patch:
        (example / examples.PATCH).write_text(patch, "utf-8", newline="\n")
    for path in sorted(example.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _about(text: str, remove: Sequence[str], settings: Mapping[str, settings_file.Value]) -> str:
    """Return example.toml with these two parts; the rest, and its comments, stay."""
    removed = f"remove = {_toml(remove)}\n" if remove else ""
    text = _SETTINGS.sub("\n", text)
    if _REMOVE.search(text):
        text = _REMOVE.sub(lambda _: removed, text, count=1)
    else:
        head, table, rest = text.partition("\n[")
        text = f"{head.rstrip()}\n{removed}{table}{rest}"
    lines = [f"{key} = {_toml(value)}\n" for key, value in settings.items()]
    return text.rstrip() + "\n" + "".join(["\n[settings]\n", *lines] if lines else [])


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[\n" + "".join(f"  {_toml(item)},\n" for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _check(name: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        plan = Plan(Path(temporary) / folder.name, example=name, git=False, install=False)
        again = new_project(plan).directory
        names = {*_names(folder), *_files(again)} - _NEVER_SAVED
        differing = sorted(each for each in names if not _same(folder / each, again / each))
    if differing:
        raise HackkitError(f"The example differs from {folder}: {', '.join(differing)}.")


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("verb", choices=["make", "save"])
    parser.add_argument("example")
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    try:
        example = Catalog.here().example(words.example)
        problems = make(example, words.folder) if words.verb == "make" else []
        if words.verb == "save":
            save(example, words.folder)
    except HackkitError as error:
        problems = [str(error)]
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(_main())
