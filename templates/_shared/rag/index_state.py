"""The state of the index: whether it is locked, corrupted, or out of date."""

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from plumbing.readers import Unreadable
from rag import bm25, chunks
from rag.bm25 import IndexCorrupted
from rag.settings import SETTINGS, Settings

log = logging.getLogger(__name__)


class IndexBusy(Exception):
    """Another process is writing the index."""


@dataclass(frozen=True)
class Status:
    """What an ingest would add (`new`), update (`changed`), remove (`gone`) or fail on.

    `busy`: a process has the index open. `damage`: why the index cannot be used.
    """

    documents: int
    chunks: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    busy: bool
    damage: str


def status(settings: Settings = SETTINGS, seconds: float = 1.0) -> Status:
    """Compare the index with the documents; new ones are test-read for at most `seconds`."""
    busy, known, count, damage = is_locked(settings.index), dict[str, str](), 0, ""
    try:
        known, count = look(settings.index)
        if not (busy or settings.store_url) and settings.embedder and any(known.values()):
            damage = vectors_damage(settings.index)
            if not any((settings.index / "vectors").rglob("*.sqlite*")):
                damage = "the vectors are missing"
    except IndexCorrupted as error:
        damage = str(error)
    names = chunks.find_all(known, settings)
    read: dict[str, str] = {}  # "" if it is up to date, else why it cannot be read
    _try([name for name in names if name in known], known, settings, read)
    new = [name for name in names if name not in known]
    trial = threading.Thread(target=_try, args=(new, {}, settings, read), daemon=True)
    trial.start()
    trial.join(seconds)  # a single document may take minutes
    read = read.copy()
    added = tuple(name for name in new if name not in read)
    changed = tuple(name for name in names if name in known and name not in read)
    gone = tuple(chunks.find_gone(known))
    unreadable = tuple(f"{name}: {problem}" for name, problem in read.items() if problem)
    return Status(len(known), count, added, changed, gone, unreadable, busy, damage)


def _try(names: list[str], known: dict[str, str], settings: Settings, read: dict[str, str]) -> None:
    """Read files as an ingest would; add those that are up to date or unreadable to `read`."""
    for name in names:
        try:
            if not chunks.is_url(name) and not chunks.load(name, known.get(name), settings):
                read[name] = ""
        except Unreadable as error:
            read[name] = str(error)


# Locks: two processes that write to one vector store damage it silently

_refused: set[Path] = set()


@cache
def claim(folder: Path) -> FileLock:
    """Lock the index for this process, until it ends. Raises IndexBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "writer.lock", timeout=0, thread_local=False)
    if folder not in _refused:  # a store opened while another process wrote is stale
        with suppress(Timeout):
            lock.acquire()
            if damage := vectors_damage(folder):  # before the store opens the files
                move_away(folder, "vectors", damage)
            return lock
        _refused.add(folder)
    raise IndexBusy(
        "Another process is using this index (is the app running?). Stop it, or add the documents "
        "in the app."
    )


def is_locked(folder: Path) -> bool:
    """Whether a process has the index open, this one included."""
    with suppress(OSError):  # no permission to lock it, so no writer either
        try:
            if (folder / "writer.lock").is_file():
                FileLock(folder / "writer.lock", timeout=0).acquire().lock.release()
        except Timeout:
            return True
    return False


# Corruption: the part is moved away, and the next ingest rebuilds it


def look(folder: Path) -> tuple[dict[str, str], int]:
    """The ledger and the number of chunks; creates and repairs nothing. Raises IndexCorrupted."""
    file = folder / bm25.FILE
    if not file.is_file():
        return {}, 0
    if (folder / bm25.MARK).exists():
        raise IndexCorrupted(f"{file.name}: a part could not be read")
    with _checked(file) as db:
        if not (version := bm25.version(db)):  # interrupted before it had any tables
            return {}, 0
        table = "passages" if version == 2 else "chunks"  # the next ingest converts version 2
        [[count]] = db.execute(f"SELECT count(*) FROM {table}")
        return dict(db.execute("SELECT source, digest FROM sources")), count


def rescue(folder: Path) -> list[str]:
    """The sources that can still be read from a corrupted index."""
    names = []
    with suppress(sqlite3.Error), closing(_read_only(folder / bm25.FILE)) as db:
        db.execute("PRAGMA writable_schema = ON")  # otherwise a truncated file gives nothing
        for (name,) in db.execute("SELECT source FROM sources"):
            names.append(name)
    return [name for name in names if isinstance(name, str)]


def vectors_damage(folder: Path) -> str:
    """What is corrupted in the vector store's files. It is not imported: that takes a second."""
    for file in sorted((folder / "vectors").rglob("*.sqlite*")):
        journal = Path(f"{file}-journal")  # of an interrupted write: SQLite undoes it
        if "-" not in file.name and not journal.exists():
            try:
                with _checked(file):
                    pass
            except IndexCorrupted as error:
                return str(error)
    return ""


def move_away(folder: Path, part: str, damage: str) -> None:
    """Move a part of the index into a folder beside it, which keeps the last damage only."""
    aside = folder.with_name(f"{folder.name}.damaged")
    aside.mkdir(exist_ok=True)
    for old in aside.glob(part):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in sorted(folder.glob(part), reverse=True):  # a database's log before the database
        path.rename(aside / path.name)
    name = chunks.name_of(aside)
    log.warning("The index was damaged (%s). It was moved to %s; rebuilding it.", damage, name)


@contextmanager
def _checked(file: Path, seconds: float = 0.1) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file read-only, checked for at most `seconds`. Raises IndexCorrupted."""
    try:
        with closing(_read_only(file)) as db:
            end = time.monotonic() + seconds
            db.set_progress_handler(lambda: time.monotonic() > end, 1000)
            with suppress(sqlite3.OperationalError):  # out of time: nothing found so far
                [[found]] = db.execute("PRAGMA quick_check(1)")
                if found != "ok":
                    raise IndexCorrupted(f"{file.name}: {found.splitlines()[-1]}")
            db.set_progress_handler(None, 0)
            yield db
    except sqlite3.Error as error:
        raise IndexCorrupted(f"{file.name}: {error}") from error


def _read_only(file: Path) -> sqlite3.Connection:
    # `ro` also reads the write-ahead log; without one, `immutable` creates none.
    mode = "mode=ro" if Path(f"{file}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True)
