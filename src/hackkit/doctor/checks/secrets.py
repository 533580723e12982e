"""Does a file that git tracks or would add contain a secret?

Fails when one does: once a key is pushed, others can have it. It searches for the values of your
own keys and, in text files under 2 MB, for everything that looks like a Mistral key, another API
key (`sk-…`), a bearer token, a JWT, a private key, or a key of Hugging Face, GitHub, AWS, Google
or Slack.
"""

import codecs
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped
from hackkit.project.context import Context
from hackkit.project.leaks import KNOWN, PAGES, Leak, is_lock, known_leaks, leaks, unique
from hackkit.system import git
from hackkit.system.wording import listed

TITLE = "Secrets in files"
CATEGORY = Category.PROJECT

_LONGEST_TEXT = 2_000_000  # bytes
_LONGEST = 20_000_000
_HEAD = 8_000  # bytes; a zero byte among them makes a file binary, as in git
_SECONDS = 2.5
_FEW = 3


def check(context: Context) -> Finding:
    tracked = git.files(context.run, context.folder)
    if tracked.problem:
        return skipped(tracked.problem)
    # `.env` itself has its own check.
    names = [name for name in tracked.names if name != ".env"]
    if not names:
        return skipped("git tracks no files of this project")
    known = unique(context.secrets)
    found: list[tuple[str, Leak]] = []
    looked, until = 0, time.monotonic() + _SECONDS
    for name in names:
        if time.monotonic() > until:
            break
        found += [(name, leak) for leak in _in_file(context.folder / name, known)]
        looked += 1
    if found:
        return _failure(found)
    part = f"{looked}" if looked == len(names) else f"the first {looked:,} of {len(names):,}"
    return ok(f"none in {part} files")


def _in_file(path: Path, known: Collection[str]) -> Iterator[Leak]:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LONGEST:
            return
        data = path.read_bytes()
    except OSError:  # deleted, or not readable
        return
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if len(data) > _LONGEST_TEXT or (b"\0" in data[:_HEAD] and not utf16):
        if any(secret.encode() in data for secret in known):
            yield Leak(KNOWN, 0)
        return
    text = data.decode("utf-16" if utf16 else "utf-8", "replace")
    yield from (known_leaks if is_lock(path.name) else leaks)(text, known)


def _failure(found: list[tuple[str, Leak]]) -> Finding:
    places: dict[str, str] = {}
    for name, leak in found:
        places.setdefault(f"{name}:{leak.line}" if leak.line else name, leak.kind)
    lines = [f"{place}: {kind}" for place, kind in places.items()]
    pages = sorted({PAGES[kind] for kind in places.values() if kind in PAGES})
    replace = [f"If it was pushed, make a new one: {page}" for page in pages]
    place, kind = next(iter(places.items()))
    return failure(
        listed([f"{kind} in {place}", *lines[1:]], 1),
        fix=f"edit {place}: remove the secret, and read it from .env",
        details=(*lines[1 : 1 + _FEW * 5], *replace),
    )
