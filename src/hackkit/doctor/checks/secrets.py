"""Does a file that git tracks or would add contain a secret?

Fails when one does: once a key is pushed, others can have it. It searches files under 20 MB, also
inside archives, office documents, PDFs, SQLite databases and base64, for the values of your own
keys and for what looks like one: keys and tokens of about 80 services, passwords in addresses,
private keys, and the values of names like `API_KEY`; in `prod.env` or `mcp.json` also short ones.
It cannot read pictures.
"""

import time
from collections.abc import Collection, Iterator
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped
from hackkit.project.context import Context
from hackkit.project.leaks import PAGES, unique
from hackkit.project.secret_search import Found, search
from hackkit.system import git
from hackkit.system.command_line import Shell
from hackkit.system.wording import listed

TITLE = "Secrets in files"
CATEGORY = Category.PROJECT

_LONGEST = 20_000_000  # bytes
_MOST_UNPACKED = 5_000_000  # of one file
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
    found: list[tuple[str, Found]] = []
    looked, until = 0, time.monotonic() + _SECONDS
    for name in names:
        if time.monotonic() > until:
            break
        found += [(name, each) for each in _in_file(context.folder, name, known)]
        looked += 1
    if found:
        return _failure(found, context.shell)
    part = f"{looked}" if looked == len(names) else f"the first {looked:,} of {len(names):,}"
    return ok(f"none in {part} files")


def _in_file(folder: Path, name: str, known: Collection[str]) -> Iterator[Found]:
    path = folder / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LONGEST:
            return
        data = path.read_bytes()
    except OSError:  # deleted, or not readable
        return
    yield from search(name, data, known, _MOST_UNPACKED)


def _failure(found: list[tuple[str, Found]], shell: Shell) -> Finding:
    places: dict[str, str] = {}
    for name, each in found:
        places.setdefault(each.place(name), each.kind)
    lines = [f"{place}: {kind}" for place, kind in places.items()]
    pages = sorted({PAGES[kind] for kind in places.values() if kind in PAGES})
    replace = [f"If it was pushed, make a new one: {page}" for page in pages]
    place, kind = next(iter(places.items()))
    name, first = found[0]
    fix = f"edit {place}: remove the secret, and read it from .env"
    if first.member or not first.line:  # nothing that an editor shows
        forget = shell.line(["git", "rm", "--cached", "--ignore-unmatch", "--", name])
        fix = shell.then(shell.append(name, ".gitignore"), forget)
    return failure(
        listed([f"{kind} in {place}", *lines[1:]], 1),
        fix=fix,
        details=(*lines[1 : 1 + _FEW * 5], *replace),
    )
