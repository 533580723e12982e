"""The files of the workspace: lists, reads, searches and writes them, and never leaves it."""

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
PLAIN = {".csv", ".md", ".txt"}  # shown as they are, so that they can be written back
NOT_TEXT = {".pdf", ".docx", ".pptx", ".xlsx", ".zip", ".png", ".jpg", ".jpeg", ".gif", ".webp"}


def inside(path: str) -> Path:
    """The place of a path in the workspace, whether there is anything or not.

    Raises ToolError for all that leads out of it or is hidden: `..`, absolute paths, drives,
    links, names that begin with a dot.
    """
    if not path.isprintable() or "\\" in path or ":" in path or path.startswith("/"):
        raise ToolError(
            f"{path!r} is refused: paths count from the workspace and are written with /, "
            "like reports/june.md."
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if any(part.startswith(".") for part in parts):  # ".." among them
        raise ToolError(f"{path} is refused: parts that begin with a dot are off limits.")
    if len(path) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in parts):
        raise ToolError(f"{path[:60]}… is refused: it is too long.")
    root = SETTINGS.workspace.resolve()
    place = root.joinpath(*parts)
    if not _stays(place):
        raise ToolError(f"{path} is refused: it is a link, or leads through one.")
    return place


def list_paths() -> list[str]:
    """The paths of all files of the workspace."""
    return [_name(file) for file in _files(inside(""))]


def _stays(place: Path) -> bool:
    """Whether a path is what it says: no link, nor another spelling of a name, on its way."""
    try:
        return place.resolve() == place
    except (OSError, RuntimeError):  # links that lead to each other
        return False


@tool
def list_files(folder: str = "") -> str:
    """List the files of the workspace, or of one folder in it, with their sizes.

    Use it first when you do not know what a file is called.
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

    `path` is written as list_files shows it. A long file comes in parts: go on with `first_line`.
    """
    text = lines_of(inside(path))
    start = max(first_line, 1) - 1
    if start >= len(text):
        raise ToolError(f"{path} ends with line {len(text)}.")
    part = fitting(text[start : start + max(lines, 1)])
    end = start + len(part)
    more = f"; go on with first_line={end + 1}" if end < len(text) else ""
    return "\n".join([f"{path}, lines {start + 1} to {end} of {len(text)}{more}:", *part])


@tool
def search_files(text: str, folder: str = "") -> str:
    """Find the lines that hold all of some words, in the files of the workspace or of a folder.

    Capital letters do not matter. One or two telling words find most; when nothing is found, try
    other words, also in the files' languages. Each line comes with its file and number.
    """
    words = [_stem(word) for word in text.casefold().split()]
    if not words:
        raise ToolError("Say which words to search for.")
    end = time.monotonic() + SECONDS
    found, total, unread = dict[int, list[str]](), Counter[int](), list[str]()
    for file in _files(_folder(folder)):
        if time.monotonic() > end:
            unread.append("what comes after it (time ran out: name a folder)")
            break
        try:
            for hits, line in _matches(file, words):  # kept by how many of the words they hold
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
    """Write a text file into the workspace: a new one, or in place of the one that is there.

    `text` is the whole file, and replaces all of an old one. Folders on the way are made.
    """
    place, data = inside(path), text.encode(errors="replace")
    if place == inside("") or (place.exists() and not place.is_file()):
        raise ToolError(f"{path or 'The path'} is no file: name one, like report.md.")
    if place.suffix.lower() in NOT_TEXT:
        raise ToolError(f"{path} would not be text: choose .md, .txt or .csv.")
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
    """Write all of a file or nothing: it is never seen half written, nor through a link."""
    draft = place.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        draft.write_bytes(data)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


def _matches(file: Path, words: list[str]) -> Iterator[tuple[int, str]]:
    """The lines that hold a word, and how many of the words each holds. Raises ToolError."""
    name = _name(file)
    for number, line in enumerate(lines_of(file), start=1):
        folded = line.casefold()
        places = [place for word in words if (place := folded.find(word)) >= 0]
        if places:
            start = max(0, min(places) - MATCH_CHARS // 3) if len(line) > MATCH_CHARS else 0
            yield len(places), f"{name}:{number}: {line[start : start + MATCH_CHARS].strip()}"


def _stem(word: str) -> str:
    """A word without the s of its plural: a line that holds complaint answers complaints."""
    return word.removesuffix("s") if len(word) > 4 else word


def _report(lines: list[str], total: int, missing: int) -> list[str]:
    """The lines that hold the most of the words, and how many there are in all."""
    shown = fitting(lines)
    head = f"Lines found: {total}" if total else "Nothing was found."
    if total and missing:
        head = f"No line holds all the words. Lines without {missing} of them: {total}"
    if len(shown) < total:
        head += f", the first {len(shown)} are shown"
    return [head, *shown]


def _folder(folder: str) -> Path:
    place = inside(folder)
    if not place.is_dir() and place != inside(""):
        raise ToolError(f"There is no folder {folder}: list_files without a folder shows all.")
    return place


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and the folders in it: those that `inside` lets through."""
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
    """A file's text in lines. Raises ToolError."""
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
        kind = ".txt"  # logs, code, settings, and whatever else turns out to be text
    try:
        return as_text(readers.read(kind, data)).splitlines()
    except readers.Unreadable as error:
        raise ToolError(f"{name} {error}.") from error


def _missing(file: Path) -> str:
    """What to do about a name that is no file's."""
    name = _name(file)
    if file.is_dir():
        return f"{name or 'The workspace'} is a folder: list_files shows what is in it."
    known = list_paths()
    close = [path for path in known if Path(path).stem.casefold() == file.stem.casefold()]
    close = close or difflib.get_close_matches(name, known)
    hint = f"Is it {' or '.join(close[:3])}?" if close else "list_files shows what there is."
    return f"There is no file {name}. {hint}"


def _name(file: Path) -> str:
    name = file.relative_to(SETTINGS.workspace.resolve()).as_posix()
    return "" if name == "." else name


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size:,} bytes" if size < 10_000 else f"{size / 1000:,.0f} kB"
