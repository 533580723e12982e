"""A project's requirements.txt, exported from its lock, and what installers say of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hackkit import uv
from hackkit.context import Context
from hackkit.errors import HackkitError
from hackkit.shell import hackkit
from hackkit.shipping import Objection

_EXPORT = (
    *("export", "--frozen", "--offline", "--no-python-downloads", "--no-cache", "--quiet"),
    *("--no-default-groups", "--no-hashes", "--no-emit-project", "--no-header", "--no-annotate"),
)
_SECONDS = 20.0
_LOCAL = re.compile(r"^(?:-e |\.{0,2}[/\\]|[A-Za-z]:[\\/]|file:)|@ file:")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCKED = re.compile(r'^source = \{ (?:virtual|editable) = "\." \}$', re.MULTILINE)
_LISTED = re.compile(r'\{ name = "(?P<name>[^"]+)"')
_LONGEST = 600  # characters of an installer's own words


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
        missing=tuple(sorted(_left_out(context.folder) - {*map(_plain, lines)})),
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


def unlocked(folder: Path) -> set[str]:
    """Return the packages that only one of pyproject.toml and uv.lock asks for."""
    project = _toml(folder / "pyproject.toml").get("project", {})
    extras = project.get("optional-dependencies", {}).values()
    wanted = [*project.get("dependencies", []), *(each for extra in extras for each in extra)]
    try:
        text = (folder / "uv.lock").read_text("utf-8")
    except (OSError, UnicodeError):
        return set()
    root = _LOCKED.search(text)
    if root is None:
        return set()
    # Read as text: a parser of TOML takes 50 times as long for such a file.
    block = text[root.end() :].partition("\n[[package]]")[0]
    needs = block.partition("\nrequires-dist = [")[2].partition("\n[")[0]
    locked = {match["name"] for match in _LISTED.finditer(needs)}
    own = _plain(str(project.get("name", "")))
    return {*map(_plain, wanted)} - {own} ^ {*map(_plain, locked)} - {own}


def _left_out(folder: Path) -> set[str]:
    settings = _toml(folder / "pyproject.toml").get("tool", {}).get("uv", {})
    return {_plain(each) for each in settings.get("override-dependencies", []) if ";" in each}


def _plain(requirement: str) -> str:
    """Return the package's name, spelt as indexes compare them."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _broken(path: Path) -> Objection | None:
    import tomllib  # noqa: PLC0415 - only deployments read it

    try:
        tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        words = f"{path.name} cannot be read: {error}."
        return Objection(words, fix=f"edit {path.name}: mend that")
    return None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415 - only deployments read it

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # absent, or broken: an objection says so
        return {}


# What installers say: the first rule that fits tells; its group is what it is about.

_EDIT = "edit pyproject.toml, then: "
_UNKNOWN = "There is no {} for this version of Python."
_MEANINGS = (
    (
        r"No interpreter found for Python ([0-9.]+)|Failed to download `[^`]*/cpython-(3\.[0-9]+)",
        "Python {} is not on this machine, and could not be fetched.",
    ),
    (r"No matching distribution found for ([^\s(;]+)", _UNKNOWN),
    (r"Because ([\w.-]+) was not found in the package registry", _UNKNOWN),
    (r"Because there is no version of ([\w.=-]+) and you require", _UNKNOWN),
    (
        r"Cannot install (.+?) because these package versions have conflicting dependencies",
        "These versions contradict each other: {}.",
    ),
    (
        r"No solution found when resolving.*?(Because .*?unsatisfiable\.)",
        "The requirements contradict each other: {}",
    ),
    (
        r"(?:Failed building wheel for|Failed to build) `?([\w.=-]+)",
        "{} has no ready-made package here, and cannot be built.",
    ),
    (r"dns error|client error \(Connect\)", "A package index cannot be reached."),
)


def trouble(said: str) -> HackkitError | None:
    """Return why an installer (pip or uv) failed; None when what it said does not tell."""
    said = " ".join(said.split())
    for rule, words in _MEANINGS:
        if match := re.search(rule, said):
            what = next(filter(None, match.groups()), "")
            return HackkitError(words.format(what[:_LONGEST]), fix=_mend(words, what))
    return None


def _mend(words: str, what: str) -> str:
    if words.startswith("Python"):
        return uv.typed("python", "install", what)
    return _EDIT + uv.typed("lock") if "{}" in words else hackkit("doctor")
