"""Reads the files of a generated project: its answers, its `.env`, its package."""

import codecs
import contextlib
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hackkit.project.layout import venv_python

ANSWERS = ".hackkit.yml"  # also in every Space that hackkit created
LARGEST_ENV = 100_000  # bytes: the time to read it grows with the square of its length

# How a line of UTF-8 begins when it is read as UTF-16; no name of a variable begins so.
_MIXED = re.compile("(?m)^[\u0900-\uffff]")

# Lines of a .gitignore that keep `.env` out of git.
_IGNORES_ENV = {".env", "/.env", ".env*", "/.env*", "*.env"}


@dataclass(frozen=True)
class ProjectFiles:
    """A generated project on disk."""

    folder: Path

    @classmethod
    def find(cls, folder: Path) -> "ProjectFiles | None":
        """Find the project that a folder is in, or None."""
        folder = folder.resolve()
        for place in (folder, *folder.parents):
            if (place / ANSWERS).is_file():
                return cls(place)
        return None

    @cached_property
    def answers(self) -> Mapping[str, Any]:
        """The answers that the project was made with; empty when they cannot be read."""
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
        """The path of Python in the project's environment, which may not exist yet."""
        return venv_python(self.folder / ".venv", windows=os.name == "nt")

    @property
    def installed(self) -> bool:
        """Whether that Python exists; false where it cannot be seen."""
        try:
            return self.python.is_file()
        except OSError:
            return False

    @property
    def package(self) -> str:
        """The name of the project's package: the folder with a settings.py and a __main__.py."""
        for settings in sorted(self.folder.glob("*/settings.py")):
            if (settings.parent / "__main__.py").is_file():
                return settings.parent.name
        return ""

    @cached_property
    def dotenv(self) -> Mapping[str, str]:
        """The variables of `.env` that have a value."""
        return _variables(self.folder / ".env")

    @property
    def unreadable_lines(self) -> tuple[int, ...]:
        """Numbers of the lines in `.env` that cannot be parsed. Raises OSError."""
        from dotenv.parser import parse_stream  # noqa: PLC0415 - only commands on a project read it

        text = env_text((self.folder / ".env").read_bytes())
        bad = [each.original for each in parse_stream(io.StringIO(text)) if each.error]
        # The parser counts empty lines before a variable as a part of it.
        return tuple(
            each.line + each.string[: -len(each.string.lstrip())].count("\n") for each in bad
        )

    @cached_property
    def example_variables(self) -> tuple[str, ...]:
        """The names of the variables in `.env.example`."""
        return tuple(_all_variables(self.folder / ".env.example"))


def _variables(path: Path) -> dict[str, str]:
    return {name: value for name, value in _all_variables(path).items() if value}


def _all_variables(path: Path) -> dict[str, str]:
    from dotenv import dotenv_values  # noqa: PLC0415 - only commands on a project read it

    try:
        if not path.is_file() or path.stat().st_size > LARGEST_ENV:
            return {}
        text = env_text(path.read_bytes())
    except OSError:  # a check reports it
        return {}
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def env_text(data: bytes) -> str:
    """Return the text of a `.env` in any encoding, also in two: PowerShell's `>>` adds UTF-16."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode("utf-16")
            if not _MIXED.search(text):
                return _with_line_feeds(text)
    data = data.translate(None, b"\0\xfe\xff")  # zeros and marks, which UTF-8 never has
    with contextlib.suppress(UnicodeDecodeError):
        return _with_line_feeds(data.decode("utf-8-sig"))
    return _with_line_feeds(data.decode("latin-1"))


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n")


def env_encoding_problem(path: Path) -> str:
    """Return why a `.env` is not read by every program, such as "is in UTF-16"; else nothing."""
    data = path.read_bytes() if path.is_file() else b""
    if b"\0" in data:
        return "is in UTF-16, or in part (PowerShell's >> writes it)"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (line {data.count(bytes([10]), 0, error.start) + 1})"
    return ""


def write_env_as_utf8(path: Path) -> None:
    """Write a `.env` again in UTF-8; its mode stays."""
    path.write_bytes(env_text(path.read_bytes()).encode())


def ignores_env(folder: Path) -> bool:
    """Return whether a folder's .gitignore lists `.env`."""
    try:
        lines = (folder / ".gitignore").read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return False
    return bool(_IGNORES_ENV & {line.strip() for line in lines})


def create_env_file(folder: Path) -> Path | None:
    """Copy `.env.example` to a `.env` that only its owner can read; return its path.

    Returns None when there is nothing to copy, or when git does not ignore `.env`. An existing
    `.env` stays unchanged.
    """
    example, env = folder / ".env.example", folder / ".env"
    if not example.is_file() or not ignores_env(folder):
        return None
    with contextlib.suppress(FileExistsError):
        handle = os.open(env, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(example.read_bytes())
    return env
