"""Documents: finds them, gives each its one name, and loads their bytes from disk or the web."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from plumbing.readers import Unreadable, reader
from plumbing.web import fetch
from rag.settings import ROOT


def find(paths: Iterable[str | Path]) -> Iterator[str]:
    """The names of the files and URLs given, and of the files in folders; hidden ones are left out.

    A URL is its own name, a file is named by its path from the project.
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
    """A file's one name, whichever way it is given: its path from the project, if it lies there."""
    for place in (Path(os.path.abspath(path)), path.resolve()):
        if place.is_relative_to(ROOT):
            return place.relative_to(ROOT).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def is_url(name: str | Path) -> bool:
    """Tell the web's documents from files."""
    return "://" in str(name)


def load(name: str, max_mb: int) -> tuple[str, bytes]:
    """A document's kind, as the ending of a file (".md"), and its bytes. Raises Unreadable."""
    if is_url(name):
        return fetch(name, max_mb)
    path = ROOT / name
    reader(path.suffix)  # else it is not even opened
    try:
        if path.stat().st_size > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
        return path.suffix, path.read_bytes()
    except OSError as error:
        raise Unreadable(f"could not be opened ({error.strerror})") from error
