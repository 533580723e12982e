"""A generated project: what is asked for, what was made, and what an existing one holds."""

import contextlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hackkit.project.layout import venv_python

ANSWERS = ".hackkit.yml"
LARGEST_ENV = 100_000  # bytes: reading a list of variables takes the square of its length

# Lines of a .gitignore that keep `.env` out of git.
_IGNORES_ENV = {".env", "/.env", ".env*", "/.env*", "*.env"}


@dataclass(frozen=True)
class ProjectFiles:
    """An existing project, as its files describe it."""

    folder: Path

    @classmethod
    def find(cls, folder: Path) -> "ProjectFiles | None":
        """Find the project that a folder belongs to, or None."""
        folder = folder.resolve()
        for place in (folder, *folder.parents):
            if (place / ANSWERS).is_file():
                return cls(place)
        return None

    @cached_property
    def answers(self) -> Mapping[str, Any]:
        """What the project was made with; empty when the file cannot be read."""
        import yaml  # noqa: PLC0415 - only commands on a project read it

        try:
            content = yaml.safe_load((self.folder / ANSWERS).read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return content if isinstance(content, dict) else {}

    @property
    def template(self) -> str:
        """The template's name, or nothing."""
        return str(self.answers.get("template", ""))

    @property
    def version(self) -> str:
        """The version of hackkit that made the project ("0.1.0"), or nothing."""
        return str(self.answers.get("_commit") or "").removeprefix("v")

    @property
    def python(self) -> Path:
        """Where the Python of the project's environment is, once it is installed."""
        return venv_python(self.folder / ".venv", windows=os.name == "nt")

    @property
    def installed(self) -> bool:
        """Tell whether that Python is there, as far as we may look."""
        try:
            return self.python.is_file()
        except OSError:
            return False

    @property
    def package(self) -> str:
        """The name of the project's own package: the folder with a settings.py and a command."""
        for settings in sorted(self.folder.glob("*/settings.py")):
            if (settings.parent / "__main__.py").is_file():
                return settings.parent.name
        return ""

    @cached_property
    def dotenv(self) -> Mapping[str, str]:
        """The variables of `.env` that have a value, read as the app reads them."""
        return _variables(self.folder / ".env")

    @property
    def unreadable_lines(self) -> tuple[int, ...]:
        """Numbers of the lines of `.env` that are no variable; raises OSError or UnicodeError."""
        from dotenv.parser import parse_stream  # noqa: PLC0415 - only commands on a project read it

        text = (self.folder / ".env").read_text("utf-8")
        bad = [each.original for each in parse_stream(io.StringIO(text)) if each.error]
        # Empty lines before it count as a part of it.
        return tuple(
            each.line + each.string[: -len(each.string.lstrip())].count("\n") for each in bad
        )

    @cached_property
    def example_variables(self) -> tuple[str, ...]:
        """The names that `.env.example` lists."""
        return tuple(_all_variables(self.folder / ".env.example"))


def _variables(path: Path) -> dict[str, str]:
    return {name: value for name, value in _all_variables(path).items() if value}


def _all_variables(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only commands on a project read it

    try:
        if not path.is_file() or path.stat().st_size > LARGEST_ENV:
            return {}
        return {name: value or "" for name, value in dotenv_values(path, encoding="utf-8").items()}
    except (OSError, ValueError):  # not ours to read, or not UTF-8: a check says so
        return {}


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
