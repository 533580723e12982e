"""Finds documents, gives each one name, and loads its bytes from disk or the web."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from plumbing.readers import Unreadable, reader
from plumbing.web import fetch
from rag.settings import ROOT


def find(paths: Iterable[str | Path]) -> Iterator[str]:
    """The names of these files and URLs, and of the files in these folders, without hidden ones.

    A URL is its own name; a file's name is its path from the project folder.
    """
    for path in paths:
        if is_url(path):
            yield str(path)
        elif (folder := Path(path)).is_dir():
            inside = (p for p in sorted(folder.rglob("*")) if p.is_file())
            yield from (
                name_of(p)
                for p in inside
                if not any(x.startswith(".") for x in p.relative_to(folder).parts)
            )
        else:
            yield name_of(Path(path))


def name_of(path: Path) -> str:
    """A file's name, the same for any spelling of its path: relative to the project, if inside."""
    for place in (Path(os.path.abspath(path)), path.resolve()):
        if place.is_relative_to(ROOT):
            return place.relative_to(ROOT).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def is_url(name: str | Path) -> bool:
    """Whether a document's name is a URL."""
    return "://" in str(name)


def load(name: str, max_mb: int) -> tuple[str, bytes]:
    """A document's file extension (".md") and its bytes. Raises Unreadable."""
    if is_url(name):
        return fetch(name, max_mb)
    path = ROOT / name
    reader(path.suffix)  # an unsupported type is not opened
    try:
        if path.stat().st_size > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
        return path.suffix, path.read_bytes()
    except OSError as error:
        raise Unreadable(f"could not be opened ({error.strerror})") from error
