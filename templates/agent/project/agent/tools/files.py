"""The files of the workspace: lists, reads, searches and writes them, and none outside it."""

from __future__ import annotations

import difflib
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.settings import SETTINGS
from agent.tools import ToolError, asks_first, tool
from agent.tools._results import SECONDS, as_text, fitting
from plumbing import readers

MAX_PATH, MAX_NAME = 1000, 255  # characters, and bytes of one part of a path
MAX_LISTED = 200
MAX_MATCHES = 40
MATCH_CHARS = 240  # of one line that matches
PLAIN = {".csv", ".md", ".txt"}  # read without conversion, so that they can be written back
NOT_TEXT = {".pdf", ".docx", ".pptx", ".xlsx", ".zip", ".png", ".jpg", ".jpeg", ".gif", ".webp"}


def inside(path: str) -> Path:
    """The full path of a path in the workspace; the file need not exist.

    Raises ToolError for every path that is hidden or leads out of the workspace: `..`, absolute
    paths, drives, links, names that start with a dot.
    """
    if not path.isprintable() or "\\" in path or ":" in path or path.startswith("/"):
        raise ToolError(
            f"{path!r} is refused: write a path relative to the workspace, with /, "
            "as reports/june.md."
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if any(part.startswith(".") for part in parts):  # ".." among them
        raise ToolError(f"{path} is refused: no part of a path may start with a dot.")
    if len(path) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise ToolError(f"{path[:60]}… is refused: it is too long.")
    root = SETTINGS.workspace.resolve()
    place = root.joinpath(*parts)
    if not _stays(place):
        raise ToolError(f"{path} is refused: it is a link, or inside a linked folder.")
    return place


def list_paths() -> list[str]:
    """The paths of all files of the workspace."""
    return [_name(file) for file in _files(inside(""))]


def _stays(place: Path) -> bool:
    """Whether no part of a path is a link or another spelling of a name."""
    try:
        return place.resolve() == place
    except (OSError, RuntimeError):  # links that form a circle
        return False


@tool
def list_files(folder: str = "") -> str:
    """List the files of the workspace, or of one folder in it, with their sizes.

    Use it first if you do not know a file's name.
    """
    files = list(_files(_folder(folder)))
    if not files:
        return f"There are no files in {folder or 'the workspace'}."
    lines = fitting(f"{_name(file)} ({_size(file)})" for file in files[:MAX_LISTED])
    left = len(files) - len(lines)
    return "\n".join([*lines, *([f"… and {left} more: name a folder."] if left else [])])


@tool
def read_file(path: str, first_line: int = 1, lines: int = 200) -> str:
    """Read a file of the workspace as text: notes, tables, logs, code, PDF, Word, PowerPoint.

    `path` is a path from list_files. A long file comes in parts: continue with `first_line`.
    """
    text = lines_of(inside(path))
    start = max(first_line, 1) - 1
    if start >= len(text):
        raise ToolError(f"{path} ends with line {len(text)}.")
    part = fitting(text[start : start + max(lines, 1)])
    end = start + len(part)
    more = f"; continue with first_line={end + 1}" if end < len(text) else ""
    return "\n".join([f"{path}, lines {start + 1} to {end} of {len(text)}{more}:", *part])


@tool
def search_files(text: str, folder: str = "") -> str:
    """Find the lines that contain all given words, in the files of the workspace or of a folder.

    Case does not matter. Use one or two distinctive words; if nothing is found, try other words,
    also in the files' languages. Each line comes with its file and line number.
    """
    words = [_stem(word) for word in text.casefold().split()]
    if not words:
        raise ToolError("Say which words to search for.")
    end = time.monotonic() + SECONDS
    found, total, unread = dict[int, list[str]](), Counter[int](), list[str]()
    for file in _files(_folder(folder)):
        if time.monotonic() > end:
            unread.append("the files after it (the time is up: name a folder)")
            break
        try:
            for hits, line in _matches(file, words):  # grouped by how many of the words match
                total[hits] += 1
                if total[hits] <= MAX_MATCHES:
                    found.setdefault(hits, []).append(line)
        except ToolError:
            unread.append(_name(file))
    best = max(found, default=0)
    rest = [f"Not searched: {', '.join(unread[:10])}"] if unread else []
    return "\n".join([*_report(found.get(best, []), total[best], len(words) - best), *rest])


@asks_first
@tool
def write_file(path: str, text: str) -> str:
    """Write a text file into the workspace: a new one, or over an existing one.

    `text` is the complete new content. Missing folders are created.
    """
    place, data = inside(path), text.encode(errors="replace")
    if place == inside("") or (place.exists() and not place.is_file()):
        raise ToolError(f"{path or 'The path'} is not a file: name one, as report.md.")
    if place.suffix.lower() in NOT_TEXT:
        raise ToolError(f"{path} is not a text file: choose .md, .txt or .csv.")
    if len(data) > SETTINGS.max_file_mb * 2**20:
        raise ToolError(f"The text is larger than {SETTINGS.max_file_mb} MB.")
    try:
        before = _size(place) if place.exists() else ""
        place.parent.mkdir(parents=True, exist_ok=True)
        _put(place, data)
    except OSError as error:
        raise ToolError(f"{path} could not be written ({error.strerror}).") from error
    if before:
        return f"Replaced {path}: {len(data):,} bytes, before {before}."
    return f"Made {path}: {len(data):,} bytes."


def _put(place: Path, data: bytes) -> None:
    """Write a file atomically: it is never half written, and never written through a link."""
    draft = place.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        draft.write_bytes(data)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _matches(file: Path, words: list[str]) -> Iterator[tuple[int, str]]:
    """The lines that contain a word, each with its number of matching words. Raises ToolError."""
    name = _name(file)
    for number, line in enumerate(lines_of(file), start=1):
        folded = line.casefold()
        places = [place for word in words if (place := folded.find(word)) >= 0]
        if places:
            start = max(0, min(places) - MATCH_CHARS // 3) if len(line) > MATCH_CHARS else 0
            yield len(places), f"{name}:{number}: {line[start : start + MATCH_CHARS].strip()}"


def _stem(word: str) -> str:
    """A word without its plural s, so that "complaints" also finds "complaint"."""
    return word.removesuffix("s") if len(word) > 4 else word


def _report(lines: list[str], total: int, missing: int) -> list[str]:
    """The lines with the most matching words, and how many there are in total."""
    shown = fitting(lines)
    head = f"Lines found: {total}" if total else "Nothing was found."
    if total and missing:
        head = f"No line contains all the words. Lines without {missing} of them: {total}"
    if len(shown) < total:
        head += f"; only the first {len(shown)} are shown"
    return [head, *shown]


def _folder(folder: str) -> Path:
    place = inside(folder)
    if not place.is_dir() and place != inside(""):
        raise ToolError(
            f"There is no folder {folder}: list_files without a folder lists all files."
        )
    return place


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders that `inside` allows."""
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name.casefold()):
        try:
            inside(_name(entry))
        except ToolError:
            continue
        if entry.is_dir():
            yield from _files(entry)
        elif entry.is_file():
            yield entry


def lines_of(file: Path) -> list[str]:
    """The lines of a file's text. Raises ToolError."""
    name, kind = _name(file), file.suffix.lower()
    if not file.is_file():
        raise ToolError(_missing(file))
    try:
        if file.stat().st_size > SETTINGS.max_file_mb * 2**20:
            raise ToolError(f"{name} is larger than {SETTINGS.max_file_mb} MB.")
        data = file.read_bytes()
    except OSError as error:
        raise ToolError(f"{name} could not be opened ({error.strerror}).") from error
    if kind not in readers.READERS or kind in PLAIN:
        kind = ".txt"  # logs, code, settings, and any other text
    try:
        return as_text(readers.read(kind, data)).splitlines()
    except readers.Unreadable as error:
        raise ToolError(f"{name} {error}.") from error


def _missing(file: Path) -> str:
    """The message for a path that is not a file."""
    name = _name(file)
    if file.is_dir():
        return f"{name or 'The workspace'} is a folder: list_files shows its files."
    known = list_paths()
    close = [path for path in known if Path(path).stem.casefold() == file.stem.casefold()]
    close = close or difflib.get_close_matches(name, known)
    hint = f"Is it {' or '.join(close[:3])}?" if close else "list_files shows all files."
    return f"There is no file {name}. {hint}"


def _name(file: Path) -> str:
    name = file.relative_to(SETTINGS.workspace.resolve()).as_posix()
    return "" if name == "." else name


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"
