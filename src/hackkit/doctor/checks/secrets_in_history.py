"""Did a commit on any branch add a secret?

Fails when one did, even if a later commit removed it: the history keeps it, so the key must be
replaced. It searches text files under 2 MB, from the newest commit back, for 3 seconds.
"""

import itertools
import re
import time
from collections.abc import Collection, Iterator

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped
from hackkit.project.context import Context
from hackkit.project.leaks import (
    PAGES,
    Leak,
    is_env_file,
    leaks,
    suspicious,
    unique,
)
from hackkit.system import git
from hackkit.system.command_line import hackkit
from hackkit.system.wording import counted, listed

TITLE = "Secrets in history"
CATEGORY = Category.PROJECT

_SECONDS = 3.0
_MOST = 200_000_000  # bytes of changes
_LONGEST = 5_000_000  # bytes of one commit's changes that are searched
_FEW = 10
# With two lines of context: a key may be up to two lines below its name.
_CHANGES = (
    *("git", "-c", "core.bigFileThreshold=2m", "-c", "core.quotePath=false"),
    *("-c", "log.showRoot=true"),
    *("log", "--exclude=refs/stash", "--all", "--full-history", "--patch", "--unified=2"),
    *("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-show-signature"),
    *("--diff-merges=dense-combined", "--src-prefix=a/", "--dst-prefix=b/", "--format=%x00%h%n%B"),
)
_FILE = re.compile(r"^diff --(?:git|cc|combined) ", re.MULTILINE)
_NEW_NAME = re.compile(r'^\+\+\+ "?b/(.*?)"?\t?$', re.MULTILINE)
_GAP = [""] * 4  # lines; more than any rule spans


def check(context: Context) -> Finding:
    if git.root(context.folder) is None:
        return skipped("no git repository")
    known = unique(context.secrets)
    found: dict[str, tuple[str, str]] = {}
    commits, cut = 0, ""
    try:
        for commit in _commits(context):
            commits += 1
            for name, file, leak in _in_commit(commit, known):
                # The newest commit comes first, and the oldest is kept.
                if found.get(file, ("",))[0] != name:
                    found[file] = (name, leak.kind)
    except TimeoutError:
        cut = "the newest "
    except OSError as error:
        return skipped(f"the history cannot be read: {error}")
    if found:
        return _failure(found, context)
    if not commits:
        return skipped("nothing is committed yet")
    return ok(f"none in {cut}{counted(commits, 'commit')}")


def _commits(context: Context) -> Iterator[str]:
    """Yield each commit, the newest first: its name, its message and its changes.

    Raises TimeoutError when the time is up, after the commits so far.
    """
    parts: list[bytes] = []
    try:
        for piece in _pieces(context):
            head, *heads = piece.split(b"\0")
            if sum(map(len, parts)) < _LONGEST:
                parts.append(head)
            for later in heads:
                if any(parts):
                    yield _text(parts)
                parts = [later]
    except TimeoutError:
        if any(parts):
            yield _text(parts)
        raise
    if any(parts):
        yield _text(parts)


def _pieces(context: Context) -> Iterator[bytes]:
    until = time.monotonic() + _SECONDS
    for piece in context.stream(*_CHANGES, folder=context.folder, seconds=_SECONDS, most=_MOST):
        if time.monotonic() > until:
            raise TimeoutError
        yield piece


def _text(parts: list[bytes]) -> str:
    return b"".join(parts).decode("utf-8", "replace")


def _in_commit(commit: str, known: Collection[str]) -> Iterator[tuple[str, str, Leak]]:
    if not suspicious(commit) and not any(secret in commit for secret in known):
        return
    name, _, text = commit.partition("\n")
    ends = [*(match.start() for match in _FILE.finditer(text)), len(text)]
    for leak in leaks(text[: ends[0]], known):
        yield name, "its message", leak
    for start, end in itertools.pairwise(ends):
        changes = text[start:end]
        file = _NEW_NAME.search(changes)
        # A committed `.env` has its own check.
        if file and not is_env_file(file[1]):
            for leak in leaks(_new_side(changes[file.end() :]), known, file[1]):
                yield name, file[1], leak


def _new_side(changes: str) -> str:
    """Return the lines that a commit added to a file, with their context."""
    lines: list[str] = []
    marks = 1  # a merge has a column of marks for each parent
    for line in changes.split("\n"):
        if line.startswith("@@"):
            marks = len(line) - len(line.lstrip("@")) - 1
            lines += _GAP
        elif "-" not in line[:marks] and not line.startswith("\\"):
            lines.append(line[marks:])
    return "\n".join(lines)


def _failure(found: dict[str, tuple[str, str]], context: Context) -> Finding:
    again = hackkit("doctor", "--skip", "secrets-in-history", folder=context.folder)
    lines = [f"{kind} in {commit}:{file}" for file, (commit, kind) in found.items()]
    pages = sorted({PAGES[kind] for _, kind in found.values() if kind in PAGES})
    page = pages[0] if pages else PAGES["a Mistral API key"]
    return failure(
        listed(lines, 1),
        fix=f"open {page} and make a new key: the history keeps the old one",
        details=(
            *lines[1:_FEW],
            *(f"Also replace the key from {each}" for each in pages[1:]),
            "When all keys are replaced: " + again,
        ),
    )
