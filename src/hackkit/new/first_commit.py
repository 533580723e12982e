"""Makes a new repository and its first commits."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hackkit.system import git, processes

_SECONDS = 60.0  # for one command: adding many files may take long
_NEUTRAL = {"name": "hackkit", "email": "hackkit@localhost"}


def available() -> bool:
    """Return whether git is installed."""
    return shutil.which("git") is not None


def inside_repository(folder: Path) -> bool:
    """Return whether the folder, or the nearest existing one above it, is in a repository."""
    folder = folder.resolve()
    while not folder.is_dir():
        folder = folder.parent
    words = ("rev-parse", "--is-inside-work-tree")
    return git.ask(_run(), folder, *words, seconds=_SECONDS).out == "true"


def create(folder: Path) -> str:
    """Make the folder a repository; return what went wrong, or nothing."""
    return _change(folder, "init", "--quiet", "--initial-branch=main")


def commit(folder: Path, message: str, *paths: str) -> str:
    """Commit these paths (or everything); return what went wrong, or nothing.

    Hooks and signing are skipped: these are the generated files, and a passphrase prompt or a
    company's hook would stop the command.
    """
    if error := _change(folder, "add", "--", *(paths or (".",))):
        return error
    flags = ("--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
    return _change(folder, *_identity(folder), "commit", *flags)


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
        words = ("config", "--get", f"user.{part}")
        known = f"GIT_AUTHOR_{part.upper()}" in os.environ or (
            git.ask(_run(), folder.resolve(), *words, seconds=_SECONDS).out
        )
        flags += [] if known else ["-c", f"user.{part}={value}"]
    return flags


def _change(folder: Path, *words: str) -> str:
    return git.change(_run(), folder, *words, seconds=_SECONDS)


def _run() -> processes.Run:
    return processes.runner(processes.inherited_environment())
