"""A generated project: what is asked for, what was made, and its `.env`."""

import contextlib
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
    """A project that was made: where it is, what to type next, what was left out and why.

    `env_file` is where its keys go, if it has such a file.
    """

    directory: Path
    steps: tuple[str, ...]
    notices: tuple[str, ...] = ()
    env_file: Path | None = None


def create_env_file(folder: Path) -> Path | None:
    """Copy `.env.example` to a `.env` that only its owner can read; return it.

    Returns None where there is nothing to copy, or where git would pick the file up. A `.env`
    that exists is left as it is.
    """
    example, ignored, env = (folder / name for name in (".env.example", ".gitignore", ".env"))
    if not example.is_file() or not ignored.is_file():
        return None
    if not _IGNORES_ENV & {line.strip() for line in ignored.read_text("utf-8").splitlines()}:
        return None
    with contextlib.suppress(FileExistsError):
        handle = os.open(env, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(example.read_bytes())
    return env
