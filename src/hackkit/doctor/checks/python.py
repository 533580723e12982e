"""Which Python runs the project, and is it suitable?

In a project that is the Python of its environment, elsewhere the one that uv would use. Fails when
it is older than 3.11, or when its SQLite has no full-text search (FTS5), which keyword search
needs. Warns when it is newer than the versions that were tested, and when neither it nor uv can
make virtual environments.
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
_GOOD = "3.12"  # for the fix: every package has wheels for it
# Debian and Ubuntu leave `ensurepip` out; without it `python -m venv` fails.
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
    """What a Python printed about itself; `lacks`: why its SQLite has no full-text search."""

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
        return _finding(seen, whose, context)
    if whose is _INSTALLED:
        # `uv sync` alone stops at an environment whose Python does not run.
        again = context.shell.then(uv.typed("venv", "--clear"), uv.typed("sync"))
        return failure(f"the project's Python does not run: {seen}", again)
    return skipped(f"{path.name} does not run: {seen}")


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
        return "not found"
    if ran.timed_out:
        return "no answer"
    try:
        version, lacks, makes, home = json.loads(ran.out)
        return _Python(tuple(version), lacks, makes, home)
    except (ValueError, TypeError):
        lines = (ran.err or ran.out).splitlines() or [f"exit code {ran.code}"]
        return lines[-1].strip()


def _finding(seen: _Python, whose: str, context: Context) -> Finding:
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
        message = f"{name}: newer than 3.14, the newest version that was tested"
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
