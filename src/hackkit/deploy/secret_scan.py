"""Searches the files that are sent for secrets, and says what was not looked into."""

import re
from collections.abc import Collection, Iterator, Sequence

from hackkit.deploy.manifest import OutgoingFile
from hackkit.errors import Problem
from hackkit.project.file_texts import PICTURE, unread
from hackkit.project.leaks import is_settings_file
from hackkit.project.secret_search import Found, search
from hackkit.system.command_line import line
from hackkit.system.wording import listed

_MOST_NAMED = 5  # pictures in one note
_MCP = re.compile(r"mcp[^/]*\.json$")


def scan(each: OutgoingFile, known: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each secret in a file; `known` are secrets to find literally."""
    for found in search(each.path, each.read(), known):
        problem = f"{found.place(each.path)} contains {found.kind}. Nothing was sent."
        yield Problem(problem, _fix(each, found))


def unread_notes(outgoing: Sequence[OutgoingFile]) -> Iterator[str]:
    """Yield a note for each file that cannot be searched whole: a picture, a locked archive."""
    pictures = []
    for each in outgoing:
        for part in unread(each.read()):
            if part == PICTURE:
                pictures.append(each.path)
            else:
                yield f"not searched for secrets: in {each.path}, {part}"
    if pictures:
        yield f"not searched for secrets: what pictures show ({listed(pictures, _MOST_NAMED)})"


def _fix(each: OutgoingFile, found: Found) -> str:
    place = found.place(each.path)
    if found.line and not found.member and _MCP.search(each.path):
        return f"edit {place}: write ${{NAME}} there, and NAME with the value into .env"
    if found.line and not found.member and not is_settings_file(each.path):
        return f"edit {each.path}: remove line {found.line}, and create a new key"
    return line(["git", "rm", "--cached", "--", each.path])
