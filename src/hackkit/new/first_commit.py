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
    """Tell whether git is installed."""
    return shutil.which("git") is not None


def inside_repository(folder: Path) -> bool:
    """Tell whether the folder, or the nearest one above it that exists, belongs to a repository."""
    while not folder.is_dir():
        folder = folder.parent
    return _git(folder, "rev-parse", "--is-inside-work-tree").stdout.strip() == "true"


def create(folder: Path) -> str:
    """Make the folder a repository; return what went wrong, or nothing."""
    return _complaint(_git(folder, "init", "--quiet", "--initial-branch=main"))


def commit(folder: Path, message: str, *paths: str) -> str:
    """Commit these paths (or everything); return what went wrong, or nothing.

    Hooks and signing are left out: a passphrase prompt or a company's hook has no say in a
    commit of files that nobody has touched yet.
    """
    staged = _git(folder, "add", "--", *(paths or (".",)))
    if staged.returncode:
        return _complaint(staged)
    flags = ("--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
    return _complaint(_git(folder, *_identity(folder), "commit", *flags))


def knows_its_user(folder: Path) -> bool:
    """Tell whether git has a name and an address to put on a commit."""
    return not _identity(folder)


@contextlib.contextmanager
def without_aim() -> Iterator[None]:
    """Hide from others' git commands, too, that a hook of some repository may have started us."""
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


def _complaint(result: subprocess.CompletedProcess[str]) -> str:
    if not result.returncode:
        return ""
    return result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}"
