"""The types of `hackkit new`: the plan before the first file, and the project that was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first file is written.

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
    """A project that was made: its folder, the next commands, notices of what was left out.

    `env_file` is the file for its keys, if it has one.
    """

    directory: Path
    next_commands: tuple[str, ...]
    notices: tuple[str, ...] = ()
    env_file: Path | None = None
