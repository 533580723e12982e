"""Reads pyproject.toml and uv.lock, and other TOML files."""

import re
from pathlib import Path
from typing import Any

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCKED = re.compile(r'^source = \{ (?:virtual|editable) = "\." \}$', re.MULTILINE)
_LISTED = re.compile(r'\{ name = "(?P<name>[^"]+)"')


def unlocked(folder: Path) -> set[str]:
    """Return the packages that are in only one of pyproject.toml and uv.lock."""
    project = read_toml(folder / "pyproject.toml").get("project", {})
    extras = project.get("optional-dependencies", {}).values()
    wanted = [*project.get("dependencies", []), *(each for extra in extras for each in extra)]
    try:
        text = (folder / "uv.lock").read_text("utf-8")
    except (OSError, UnicodeError):
        return set()
    root = _LOCKED.search(text)
    if root is None:
        return set()
    # Read as text: a TOML parser takes 50 times as long for such a file.
    block = text[root.end() :].partition("\n[[package]]")[0]
    needs = block.partition("\nrequires-dist = [")[2].partition("\n[")[0]
    locked = {match["name"] for match in _LISTED.finditer(needs)}
    own = package_name(str(project.get("name", "")))
    return {*map(package_name, wanted)} - {own} ^ {*map(package_name, locked)} - {own}


def package_name(requirement: str) -> str:
    """Return the name of a requirement's package, normalized: "Foo_Bar>=1" → "foo-bar"."""
    match = _NAME.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def load_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises OSError, or ValueError when it is not valid TOML."""
    return parse_toml(path.read_text("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML. Raises ValueError when it is not valid."""
    import tomllib  # noqa: PLC0415 - `--help` reads no file

    return tomllib.loads(text)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; return nothing where it is missing or broken."""
    try:
        return load_toml(path)
    except (OSError, ValueError):
        return {}


def locked_version(folder: Path, package: str) -> str:
    """Return the version of a package in the project's uv.lock, or nothing."""
    try:
        text = (folder / "uv.lock").read_text("utf-8")
    except (OSError, UnicodeError):
        return ""
    # Read as text: a TOML parser takes 50 times as long for such a file.
    found = re.search(rf'^name = "{re.escape(package)}"\nversion = "([^"\n]+)"', text, re.MULTILINE)
    return found[1] if found else ""


def least_python(folder: Path) -> str:
    """Return the oldest Python that the project's pyproject.toml allows ("3.11"), or nothing."""
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
    except (OSError, UnicodeError):
        return ""
    found = re.search(r"""^requires-python\s*=\s*["'][^"'\n]*>=\s*([0-9.]+)""", text, re.MULTILINE)
    return found[1] if found else ""
