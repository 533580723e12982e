"""What is known before a project is made, and what was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


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
