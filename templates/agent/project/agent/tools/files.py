"""The files of the workspace: lists, reads, searches and writes them, and none outside it."""

from __future__ import annotations

from agent import sandbox
from agent.tools import ToolError, asks_first, fitting, tool


@tool
def list_files(folder: str = "") -> str:
    """List the files of the workspace, or of one folder in it, with their sizes.

    Use it first if you do not know a file's name.
    """
    paths = sandbox.list_paths(folder)
    lines = fitting(f"{path} ({sandbox.size_of(path)})" for path in paths)
    left = len(paths) - len(lines)
    more = [f"… and {left} more: name a folder."] if left else []
    return "\n".join([*lines, *more]) or f"There are no files in {folder or 'the workspace'}."


@tool
def read_file(path: str, first_line: int = 1, lines: int = 200) -> str:
    """Read a file of the workspace as text: notes, tables, logs, code, PDF, Word, PowerPoint.

    `path` is a path from list_files. A long file comes in parts: continue with `first_line`.
    """
    text = sandbox.lines_of(path)
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
    words = text.casefold().split()
    if not words:
        raise ToolError("Say which words to search for.")
    best, found, unread = sandbox.search(words, folder)
    lines = fitting(found)
    head = f"Lines found: {len(found)}" if found else "Nothing was found."
    if found and best < len(words):
        head = f"No line contains all the words. Lines with {best} of them: {len(found)}"
    cut = f"; only the first {len(lines)} are shown" if len(lines) < len(found) else ""
    missed = [f"Not searched: {', '.join(unread[:10])}"] if unread else []
    return "\n".join([head + cut, *lines, *missed])


@asks_first
@tool
def write_file(path: str, text: str) -> str:
    """Write a text file into the workspace: a new one, or over an existing one.

    `text` is the complete new content. Missing folders are created.
    """
    before = sandbox.size_of(path)
    size = sandbox.write(path, text)
    return f"Replaced {path}: {size}, before {before}." if before else f"Made {path}: {size}."
