"""Exports a project's requirements.txt from its lock."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.project.lockfile import load_toml, package_name, read_toml, unlocked
from hackkit.system import uv

_EXPORT = (
    *("export", "--frozen", "--offline", "--no-python-downloads", "--no-cache", "--quiet"),
    *("--no-default-groups", "--no-hashes", "--no-emit-project", "--no-header", "--no-annotate"),
)
_SECONDS = 20.0
_SSH = re.compile(r"@ git\+ssh:")
_LOCAL = re.compile(r"^(?:-e |\.{0,2}[/\\]|[A-Za-z]:[\\/]|file:)|@ file:")


@dataclass(frozen=True)
class Requirements:
    """A requirements.txt: every package with its version.

    `missing` are packages that the project's settings for uv exclude. pip ignores those settings.
    """

    text: str = ""
    missing: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def exported(context: Context) -> Requirements:
    """Export the lock, offline."""
    if not (context.folder / "uv.lock").is_file():
        return _refused("There is no uv.lock, which lists the versions to install.", "lock")
    if not context.uv:
        install = "open https://docs.astral.sh/uv/getting-started/installation"
        return Requirements(problems=(Problem("uv was not found.", install),))
    if unreadable := _unreadable(context.folder / "pyproject.toml"):
        return Requirements(problems=(unreadable,))
    if names := sorted(unlocked(context.folder)):
        problem = f"uv.lock is older than pyproject.toml: they differ in {', '.join(names)}."
        return _refused(problem, "lock")
    ran = context.run(*context.uv, *_EXPORT, folder=context.folder, seconds=_SECONDS)
    if ran is None or not ran.ok or not ran.out:
        error = ran.err.splitlines()[0] if ran and ran.err else "uv printed nothing"
        return _refused(f"uv.lock cannot be exported: {error}", "lock")
    text = ran.out + "\n"
    lines = text.splitlines()
    return Requirements(
        text=text,
        missing=tuple(sorted(_excluded(context.folder) - {*map(package_name, lines)})),
        problems=tuple(_unreachable(lines)),
    )


def _refused(problem: str, *command: str) -> Requirements:
    return Requirements(problems=(Problem(problem, uv.typed(*command)),))


def _unreachable(lines: list[str]) -> Iterator[Problem]:
    """Yield the packages that only this machine can install."""
    for line in lines:
        package, _, source = line.partition(" @ ")
        if _LOCAL.search(line):
            where = "from a folder that only this machine has"
        elif _SSH.search(line):
            where = f"over SSH, with a key that only this machine has: {source}"
        else:
            continue
        yield Problem(
            f"{package} is installed {where}.",
            fix="edit pyproject.toml: install it from a package index or a public repository",
        )


def replaced(own: str, ours: str) -> tuple[str, ...]:
    """Return the packages of a team's requirements.txt that the generated one lacks."""
    names = {*map(package_name, own.splitlines())} - {*map(package_name, ours.splitlines())}
    return tuple(sorted(names - {""}))


def _excluded(folder: Path) -> set[str]:
    settings = read_toml(folder / "pyproject.toml").get("tool", {}).get("uv", {})
    return {package_name(each) for each in settings.get("override-dependencies", []) if ";" in each}


def _unreadable(path: Path) -> Problem | None:
    try:
        load_toml(path)
    except (OSError, ValueError) as error:
        return Problem(f"{path.name} cannot be read: {error}.", fix=f"edit {path.name}: correct it")
    return None
