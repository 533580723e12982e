"""Makes a new repository and its first commits."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hackkit.system import processes

_NEUTRAL = {"name": "hackkit", "email": "hackkit@localhost"}


def available() -> bool:
    """Return whether git is installed."""
    return shutil.which("git") is not None


def inside_repository(folder: Path) -> bool:
    """Return whether the folder, or the nearest existing one above it, is in a repository."""
    while not folder.is_dir():
        folder = folder.parent
    return _git(folder, "rev-parse", "--is-inside-work-tree").stdout.strip() == "true"


def create(folder: Path) -> str:
    """Make the folder a repository; return what went wrong, or nothing."""
    return _error(_git(folder, "init", "--quiet", "--initial-branch=main"))


def commit(folder: Path, message: str, *paths: str) -> str:
    """Commit these paths (or everything); return what went wrong, or nothing.

    Hooks and signing are skipped: these are the generated files, and a passphrase prompt or a
    company's hook would stop the command.
    """
    staged = _git(folder, "add", "--", *(paths or (".",)))
    if staged.returncode:
        return _error(staged)
    flags = ("--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
    return _error(_git(folder, *_identity(folder), "commit", *flags))


def has_user(folder: Path) -> bool:
    """Return whether git has a name and an e-mail for commits."""
    return not _identity(folder)


@contextlib.contextmanager
def without_git_variables() -> Iterator[None]:
    """Remove the variables of a git hook around hackkit, also for git commands of libraries."""
    kept = {key: os.environ.pop(key) for key in processes.GIT_VARIABLES if key in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _identity(folder: Path) -> list[str]:
    """Return the flags that give one commit an author where none is configured."""
    flags: list[str] = []
    for part, value in _NEUTRAL.items():
        known = f"GIT_AUTHOR_{part.upper()}" in os.environ or (
            _git(folder, "config", "--get", f"user.{part}").stdout.strip()
        )
        flags += [] if known else ["-c", f"user.{part}={value}"]
    return flags


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=processes.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _error(result: subprocess.CompletedProcess[str]) -> str:
    if not result.returncode:
        return ""
    return result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}"
