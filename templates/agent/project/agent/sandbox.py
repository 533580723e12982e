"""Keeps the tools inside their limits: files of the workspace, and databases read-only."""

from __future__ import annotations

import difflib
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from agent import sqlite_reader
from agent.attachments import UPLOADS
from agent.settings import SETTINGS
from agent.tools import ToolError
from plumbing import readers

SECONDS = SETTINGS.tool_seconds * 0.8  # so that a tool can report it before it times out


def as_text(pages: Iterable[readers.Page]) -> str:
    """A document as one text; a page's number and title are in brackets above it."""
    parts = []
    for page in pages:
        names = [f"page {page.page}" if page.page else "", page.section]
        mark = ", ".join(name for name in names if name)
        parts.append(f"[{mark}]\n{page.text.strip()}" if mark else page.text)
    return "\n\n".join(parts)


# Files: only those of the workspace

MAX_PATH, MAX_NAME = 1000, 255  # characters, and bytes of one part of a path
MATCH_CHARS = 240  # of a line that a search found
PLAIN = {".csv", ".md", ".txt"}  # read without conversion, so that they can be written back
NOT_TEXT = {".pdf", ".docx", ".pptx", ".xlsx", ".zip", ".png", ".jpg", ".jpeg", ".gif", ".webp"}


def inside(path: str) -> Path:
    """The full path of a path in the workspace; the file need not exist.

    Raises ToolError for every path that is hidden or leads out of the workspace: `..`, absolute
    paths, drives, links, names that start with a dot.
    """
    if not path.isprintable() or "\\" in path or ":" in path or path.startswith("/"):
        raise ToolError(f"{path!r} is refused: write a path relative to the workspace, with /.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if any(part.startswith(".") for part in parts):  # ".." among them
        raise ToolError(f"{path} is refused: no part of a path may start with a dot.")
    if len(path) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise ToolError(f"{path[:60]}… is refused: it is too long.")
    place = SETTINGS.workspace.resolve().joinpath(*parts)
    try:
        direct = place.resolve() == place
    except (OSError, RuntimeError):  # links that form a circle
        direct = False
    if not direct:
        raise ToolError(f"{path} is refused: it is a link, or inside a linked folder.")
    return place


def list_paths(folder: str = "") -> list[str]:
    """The paths of the files in a folder and its subfolders. Raises ToolError.

    Uploads are left out: each belongs to one visitor, whose task names its path.
    """
    place = inside(folder)
    if place.is_dir():
        names = map(_name, _files(place))
        return [name for name in names if not name.casefold().startswith(f"{UPLOADS}/")]
    if folder:
        raise ToolError(f"There is no folder {folder}: list_files without a folder lists all.")
    return []


def _files(folder: Path) -> Iterator[Path]:
    """The files that `inside` allows."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name.casefold()):
        try:
            inside(_name(entry))
        except ToolError:
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


def _name(file: Path) -> str:
    return file.relative_to(SETTINGS.workspace.resolve()).as_posix()


def size_of(path: str) -> str:
    """A file's size in words; "" if there is no such file. Raises ToolError."""
    place = inside(path)
    size = place.stat().st_size if place.is_file() else -1
    return "" if size < 0 else f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"


def lines_of(path: str) -> list[str]:
    """The lines of a file's text; PDF, Word and others are converted. Raises ToolError."""
    file = inside(path)
    if file.is_dir():
        raise ToolError(f"{path or 'The workspace'} is a folder: list_files shows its files.")
    if not file.is_file():
        known = list_paths()
        close = [each for each in known if Path(each).stem.casefold() == file.stem.casefold()]
        close = close[:3] or difflib.get_close_matches(path, known)
        hint = f"Is it {' or '.join(close)}?" if close else "list_files shows all files."
        raise ToolError(f"There is no file {path}. {hint}")
    kind = file.suffix.lower()
    if kind not in readers.READERS or kind in PLAIN:
        kind = ".txt"  # logs, code, settings, and any other text
    try:
        if file.stat().st_size > SETTINGS.max_file_mb * 2**20:
            raise ToolError(f"{path} is larger than {SETTINGS.max_file_mb} MB.")
        return as_text(readers.read(kind, file.read_bytes())).splitlines()
    except OSError as error:
        raise ToolError(f"{path} could not be opened ({error.strerror}).") from error
    except readers.Unreadable as error:
        raise ToolError(f"{path} {error}.") from error


def write(path: str, text: str) -> str:
    """Write a text file atomically, never through a link; returns its size. Raises ToolError."""
    place, data = inside(path), text.encode(errors="replace")
    if place == inside("") or (place.exists() and not place.is_file()):
        raise ToolError(f"{path or 'The path'} is not a file: name one, as report.md.")
    if place.suffix.lower() in NOT_TEXT:
        raise ToolError(f"{path} is not a text file: choose .md, .txt or .csv.")
    if len(data) > SETTINGS.max_file_mb * 2**20:
        raise ToolError(f"The text is larger than {SETTINGS.max_file_mb} MB.")
    draft = place.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(place)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ToolError(f"{path} could not be written ({error.strerror}).") from error
    return f"{len(data):,} bytes"


def search(words: Sequence[str], folder: str) -> tuple[int, list[str], list[str]]:
    """Search the files of a folder for the lines with the most of the words.

    Returns how many words each line contains, the lines with their file and number, and the files
    that could not be searched. Raises ToolError.
    """
    stems = [word.removesuffix("s") if len(word) > 4 else word for word in words]  # plurals
    best, lines, unread = 1, list[str](), list[str]()
    end = time.monotonic() + SECONDS
    for path in list_paths(folder):
        try:
            if time.monotonic() > end:
                raise ToolError("The time is up.")
            for number, line in enumerate(lines_of(path), start=1):
                folded = line.casefold()
                places = [place for stem in stems if (place := folded.find(stem)) >= 0]
                if len(places) > best:
                    best, lines = len(places), []
                if len(places) == best:
                    start = max(0, min(places) - MATCH_CHARS // 3) if len(line) > MATCH_CHARS else 0
                    lines.append(f"{path}:{number}: {line[start : start + MATCH_CHARS].strip()}")
        except ToolError:
            unread.append(path)
    return best, lines, unread


# Databases: only reading

ENDINGS = {".db", ".sqlite", ".sqlite3"}


def databases() -> list[Path]:
    """The SQLite files that the tools may query."""
    files = (file for file in SETTINGS.databases.glob("[!.]*") if file.is_file())
    return sorted(file for file in files if file.suffix.lower() in ENDINGS)


def database(name: str) -> Path:
    """The database of this name; without a name the only one. Raises ToolError."""
    files = databases()
    if not name.strip() and len(files) == 1:
        return files[0]
    for file in files:
        if name.strip().lower() in (file.name.lower(), file.stem.lower()):
            return file
    names = ", ".join(file.name for file in files)
    raise ToolError(f"Name one of the databases: {names}." if files else "There are no databases.")


def query(file: Path, sql: str, seconds: float = SECONDS) -> tuple[list[str], list[str]]:
    """The names of the columns, and the rows as lines; of a query without SQL the tables.

    Raises ToolError.
    """
    try:
        address = f"{file.resolve().as_uri()}?mode=ro"
        found = sqlite_reader.ask(address, sql, SETTINGS.rows + 1, seconds)
    except TimeoutError:
        late = f"The query took longer than {seconds:g} seconds: narrow the query."
        raise ToolError(late) from None
    if "problem" in found:
        raise ToolError(_explained(found["problem"], file))
    return found.get("names", []), found["rows"]


def _explained(problem: str, file: Path) -> str:
    """The problem with a query, and how to fix it."""
    if "authoriz" in problem:  # "not authorized", "authorization denied"
        return f"Only reading is allowed: write one SELECT, no PRAGMA, no ATTACH ({problem})."
    if "one statement" in problem:
        return "Send one statement at a time."
    return f"{file.name}: {problem}. list_tables shows the tables and their columns."
