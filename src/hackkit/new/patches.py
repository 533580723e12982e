"""Unified diffs: makes and applies them. Every line of a hunk must match; there is no fuzz.

A hunk belongs where its lines are, which must be exactly one place. Its line numbers are not read:
a template may change above it.
"""

import difflib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from hackkit.errors import HackkitError

_CONTEXT = (3, 6, 12, 24, 48)  # lines around a change: more only where fewer are not unique


@dataclass(frozen=True)
class Hunk:
    """Whole lines to find, and those to put in their place; `text` is the hunk in the patch."""

    before: str
    after: str
    text: str


def read(patch: str) -> Mapping[str, Sequence[Hunk]]:
    """Read a patch of any number of files: the hunks by the path after `+++ b/`."""
    files: dict[str, list[Hunk]] = {}
    for part in re.split(r"^--- a/.*\n", patch, flags=re.MULTILINE)[1:]:
        path, *hunks = re.split(r"^@@ .*\n", part, flags=re.MULTILINE)
        files[path.strip().removeprefix("+++ b/")] = [_hunk(text) for text in hunks]
    return files


def apply(hunk: Hunk, text: str) -> str:
    """Return the text with a hunk applied. Raises HackkitError, which shows the hunk."""
    text, before = f"\n{text}", f"\n{hunk.before}"
    found = len(re.findall(f"(?={re.escape(before)})", text))  # those that overlap, too
    if found != 1:
        raise HackkitError(f"These lines are in it {found} times, not once:\n{hunk.text}")
    return text.replace(before, f"\n{hunk.after}")[1:]


def diff(path: str, before: str, after: str) -> str:
    """Return the patch from one text to another, with as much context as it needs.

    Raises HackkitError if there is none, as for a file without a newline at its end.
    """
    for context in _CONTEXT:
        texts = (_lines(before), _lines(after), f"a/{path}", f"b/{path}")
        patch = "".join(difflib.unified_diff(*texts, n=context))
        try:
            if reduce(lambda text, hunk: apply(hunk, text), read(patch)[path], before) == after:
                return patch
        except HackkitError:
            continue
    raise HackkitError(f"The changes of {path} cannot be written as a patch.")


def _hunk(text: str) -> Hunk:
    before, after = (
        "".join(line[1:] for line in _lines(text) if line[0] in kept) for kept in (" -", " +")
    )
    return Hunk(before, after, text)


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text))  # unlike splitlines(), this knows no other ends of a line
