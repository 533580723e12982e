"""Which Python would run the project, and can it?

In a project that is the Python of its environment, elsewhere the one that uv would take. Fails when
it is older than 3.11 or its SQLite has no full-text search (FTS5), which keyword search needs.
Warns when it is newer than what the packages were tried with, and when neither it nor uv can make
virtual environments.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.system import uv

TITLE = "Python"
CATEGORY = Category.MACHINE

_OLDEST, _NEWEST = (3, 11), (3, 14)
_INSTALLED = "in the project's environment"
_GOOD = "3.12"  # what a fix asks for: wheels of every package are made for it
# Debian and its relatives leave `ensurepip` out; without it `python -m venv` fails.
_PROBE = """
import importlib.util, json, sys
try:
    import sqlite3
    sqlite3.connect(":memory:").execute("create virtual table t using fts5(x)")
    search = ""
except Exception as error:
    search = str(error) or type(error).__name__
makes = all(importlib.util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps([list(sys.version_info[:3]), search, makes, sys.base_prefix]))
"""


@dataclass(frozen=True)
class _Python:
    """What a Python told of itself; `lacks` says why its SQLite cannot search."""

    version: tuple[int, int, int]
    lacks: str
    makes_environments: bool
    home: str

    def __str__(self) -> str:
        return ".".join(map(str, self.version))


def check(context: Context) -> Finding:
    path, whose = _chosen(context)
    seen = _ask(context, path)
    if isinstance(seen, _Python):
        return _judged(seen, whose, context)
    if whose is _INSTALLED:
        # `uv sync` alone stops at an environment whose Python does not run.
        again = f"{uv.typed('venv', '--clear')} && {uv.typed('sync')}"
        return failure(f"the project's Python does not run: {seen}", again)
    return skipped(f"could not ask {path.name}: {seen}")


def _chosen(context: Context) -> tuple[Path, str]:
    if context.project and context.project.installed:
        return context.project.python, _INSTALLED
    if context.uv:
        wanted = ("--system", "--no-project", f">={'.'.join(map(str, _OLDEST))}")
        ran = context.run(*context.uv, "python", "find", *wanted)
        if ran and ran.ok and ran.out:
            return Path(ran.out.splitlines()[-1]), "for new projects"
    return Path(sys.executable), "runs hackkit"


def _ask(context: Context, path: Path) -> _Python | str:
    ran = context.run(str(path), "-I", "-S", "-c", _PROBE)
    if ran is None:
        return "it is not there"
    if ran.timed_out:
        return "it did not answer"
    try:
        version, lacks, makes, home = json.loads(ran.out)
        return _Python(tuple(version), lacks, makes, home)
    except (ValueError, TypeError):
        lines = (ran.err or ran.out).splitlines() or [f"exit code {ran.code}"]
        return lines[-1].strip()


def _judged(seen: _Python, whose: str, context: Context) -> Finding:
    name, installed = f"{seen} {whose}", whose is _INSTALLED
    details = (f"from {seen.home}", f"SQLite with full-text search: {seen.lacks or 'yes'}")
    words = ("sync", "--python", _GOOD) if installed else ("python", "install", _GOOD)
    if seen.version[:2] < _OLDEST:
        return failure(f"{name}: the app needs 3.11 or newer", uv.typed(*words))
    if seen.lacks:
        managed = ("--managed-python",) if installed else ()
        message = f"{name}: its SQLite has no full-text search (FTS5)"
        return failure(message, uv.typed(*words, *managed), details=details)
    if seen.version[:2] > _NEWEST:
        message = f"{name}: newer than 3.14, which the packages were tried with"
        return warning(message, uv.typed(*words), details=details)
    if not seen.makes_environments and not context.uv:
        message = f"{name}: cannot make virtual environments"
        return warning(message, _package(context, seen), details=details)
    return ok(f"{name}, SQLite with FTS5", details)


def _package(context: Context, seen: _Python) -> str:
    if context.system == "linux":
        major, minor, _ = seen.version
        return f"sudo apt install python{major}.{minor}-venv"
    return "open https://www.python.org/downloads/"
