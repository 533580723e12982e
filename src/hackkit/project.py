"""A generated project: what is asked for, what was made, and its `.env`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Lines of a .gitignore that keep `.env` out of git.
_IGNORES_ENV = {".env", "/.env", ".env*", "/.env*", "*.env"}


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first file is written.

    `template` is a built-in name, a folder or a Copier source; with `example` it is left empty.
    """

    directory: Path
    template: str = ""
    example: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    install: bool = True
    git: bool = True
    trust: bool = False


@dataclass(frozen=True)
class Project:
    """A project that was made: where it is, what to type next, what was left out and why."""

    directory: Path
    steps: tuple[str, ...]
    notices: tuple[str, ...] = ()


def create_env_file(folder: Path) -> None:
    """Copy `.env.example` to a `.env` that only its owner can read, unless there is one.

    Does nothing where git would pick the file up: keys go into it.
    """
    example, ignored = folder / ".env.example", folder / ".gitignore"
    if not example.is_file() or not ignored.is_file():
        return
    if not _IGNORES_ENV & {line.strip() for line in ignored.read_text("utf-8").splitlines()}:
        return
    try:
        handle = os.open(folder / ".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "wb") as file:
        file.write(example.read_bytes())
