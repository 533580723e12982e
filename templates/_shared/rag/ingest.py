"""Keeps the index in sync with docs/: adds, updates, removes, repairs."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout

from plumbing.readers import Unreadable, read
from plumbing.retries import ModelUnavailable
from rag import bm25, documents, llm, prompts
from rag.chunks import Passage, split
from rag.settings import ROOT, SETTINGS, Settings

log = logging.getLogger(__name__)

PATIENCE = 600  # seconds that embedding may wait for the rate limit
BATCH = 500  # passages that are embedded and stored together

Progress = Callable[[int, int, str], None]  # documents done, documents in total, current step


@dataclass(frozen=True)
class Ingested:
    """The result of an ingest; `problems` has a line for each document that failed."""

    changed: int
    removed: int
    passages: int
    problems: tuple[str, ...]


class IndexBusy(Exception):
    """Another process is writing the index."""


# Ingest: file or URL → pages → passages → vectors and keywords


def ingest(
    paths: Sequence[str | Path] | None = None,
    settings: Settings = SETTINGS,
    progress: Progress = lambda done, total, now: None,
) -> Ingested:
    """Bring the index up to date with these files, folders and URLs; by default with docs/.

    Unchanged documents are skipped, changed ones replaced, deleted ones removed. Safe to kill at
    any time: the next ingest completes it. A damaged index is moved away, and all documents are
    read again. Raises IndexBusy.
    """
    with _one_at_a_time:
        _claim(settings.index)
        known, sound = _ledger(settings)
        gone = _gone(known)
        for name in gone:
            _remove(name, settings)
        names = list(documents.find(paths or []))
        if paths is None or not sound:
            names += _everything(known, settings)
        names = [name for name in dict.fromkeys(names) if name not in gone]
        changed, problems = _update(names, known, settings, progress)
    return Ingested(changed, len(gone), bm25.count(settings.index), problems)


@dataclass(frozen=True)
class _Document:
    name: str
    digest: str
    passages: list[Passage]


def _update(
    names: Sequence[str], known: Mapping[str, str], settings: Settings, progress: Progress
) -> tuple[int, tuple[str, ...]]:
    """Read these documents and store the changed ones: their number, a line per problem."""
    changed, problems, batch = 0, list[str](), list[_Document]()
    for done, name in enumerate(names):
        report = partial(progress, done, len(names))
        report(name)
        try:
            document = _read(name, known.get(name), settings)
        except Unreadable as error:
            problems.append(f"{name}: {error}")
            continue
        if document:
            changed += 1
            batch.append(document)
        if sum(len(each.passages) for each in batch) >= BATCH:
            problems += _write(batch, settings, report)
            batch = []
    report = partial(progress, len(names), len(names))
    problems += _write(batch, settings, report)
    report("")
    return changed, tuple(dict.fromkeys(problems))


def _read(name: str, known_digest: str | None, settings: Settings) -> _Document | None:
    """A document split into passages; None when the index has this version of it."""
    kind, data, digest = _load(name, settings)
    if digest == known_digest:
        return None
    pages = read(kind, data)
    passages = split(name, pages, settings.passage_chars, settings.overlap_chars)
    return _Document(name, digest, passages)


def _load(name: str, settings: Settings) -> tuple[str, bytes, str]:
    """Extension, bytes, and a digest, which also depends on the passage size."""
    kind, data = documents.load(name, settings.max_file_mb)
    cut = f"{settings.passage_chars} {settings.overlap_chars} "
    return kind, data, hashlib.sha256(cut.encode() + data).hexdigest()


def _write(
    batch: Sequence[_Document], settings: Settings, report: Callable[[str], None]
) -> list[str]:
    """Store documents; each is marked complete only after all of it is written."""
    problems = []
    try:
        if batch and settings.embedder:
            _embed(batch, settings, report)
    except ModelUnavailable as error:
        problems = [f"{error} Search uses keywords alone until {settings.embedder} answers."]
    except Exception as error:  # the app must start even with a damaged store
        log.warning("the vector store failed: %s: %s", type(error).__name__, error)
        where = f"{settings.index.name} in {settings.index_dir}"
        problems = [f"The vector store failed. Delete {where} to rebuild it."]
    for document in batch:  # without vectors it stays unfinished: the next ingest retries
        digest = "" if problems else document.digest
        bm25.add(settings.index, document.name, digest, document.passages)
    return problems


def _embed(batch: Sequence[_Document], settings: Settings, report: Callable[[str], None]) -> None:
    """Embed the passages and store their vectors."""
    from rag import vector_store  # slow to import, and not needed without an embedding model

    for document in batch:
        bm25.begin(settings.index, document.name)
        vector_store.remove(settings.index, document.name)
    passages = [passage for document in batch for passage in document.passages]
    texts, done = [prompts.embedded(passage) for passage in passages], 0
    for vectors in llm.embed(texts, settings, PATIENCE):
        vector_store.add(settings.index, passages[done : done + len(vectors)], vectors)
        done += len(vectors)
        report(f"{done} of {len(passages)} passages embedded")


def _remove(name: str, settings: Settings) -> None:
    bm25.begin(settings.index, name)
    if settings.embedder:
        from rag import vector_store

        vector_store.remove(settings.index, name)
    bm25.remove(settings.index, name)


def _everything(known: Mapping[str, str], settings: Settings) -> list[str]:
    """All documents in docs/ or in the index; of web pages only the unfinished ones."""
    again = (name for name, digest in known.items() if not (documents.is_url(name) and digest))
    uploads = settings.docs / "uploads"  # a link in a container, and rglob follows no links
    folders = [settings.docs, *filter(Path.is_dir, [uploads])]
    return [*documents.find(folders), *again]


def _gone(known: Mapping[str, str]) -> list[str]:
    return [name for name in known if not documents.is_url(name) and not (ROOT / name).is_file()]


# One writer at a time: two processes that write to one vector store damage it silently

_one_at_a_time = threading.Lock()
_refused: set[Path] = set()


@cache
def _claim(folder: Path) -> FileLock:
    """Lock the index for this process, until it ends. Raises IndexBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "writer.lock", timeout=0, thread_local=False)
    if folder not in _refused:  # a store opened while another process wrote is stale
        with suppress(Timeout):
            lock.acquire()
            if damage := _vector_damage(folder):  # before the store opens the files
                _move_away(folder, "vectors", damage)
            return lock
        _refused.add(folder)
    raise IndexBusy(
        "Another process is using this index (is the app running?). Stop it, or add the documents "
        "in the app."
    )


# Repair: the damaged part is moved away and rebuilt


def _ledger(settings: Settings) -> tuple[dict[str, str], bool]:
    """Every document with its digest; and False if damage made all of them unfinished."""
    folder = settings.index
    try:
        known, _ = bm25.look(folder)
        if not _lacks_vectors(settings):
            return known, True
    except bm25.Damaged as error:
        known = dict.fromkeys(bm25.rescue(folder), "")
        _move_away(folder, "keywords.db*", str(error))
    for name in known:
        bm25.begin(folder, name)
    return dict.fromkeys(known, ""), False


def _lacks_vectors(settings: Settings) -> bool:
    """Whether passages of complete documents have no vector."""
    finished = bm25.finished(settings.index)
    if not settings.embedder or not finished:
        return False
    from rag import vector_store

    try:
        missing = finished - vector_store.count(settings.index)
    except Exception as error:  # for example a server that is down
        log.warning("the vector store failed: %s: %s", type(error).__name__, error)
        return False
    if missing > 0:
        log.warning("%d vectors are missing: embedding the documents again.", missing)
    return missing > 0


def _vector_damage(folder: Path) -> str:
    """What is damaged in the store's files. The store is not imported: that takes a second."""
    for file in sorted((folder / "vectors").rglob("*.sqlite*")):
        journal = Path(f"{file}-journal")  # of an interrupted write: SQLite undoes it
        if "-" not in file.name and not journal.exists():
            try:
                with bm25.inspecting(file):
                    pass
            except bm25.Damaged as error:
                return str(error)
    return ""


def _move_away(folder: Path, part: str, damage: str) -> None:
    """Move a part of the index into a folder beside it, which keeps the last damage only."""
    aside = folder.with_name(f"{folder.name}.damaged")
    aside.mkdir(exist_ok=True)
    for old in aside.glob(part):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in sorted(folder.glob(part), reverse=True):  # a database's log before the database
        path.rename(aside / path.name)
    name = documents.name_of(aside)
    log.warning("The index was damaged (%s). It was moved to %s; rebuilding it.", damage, name)


# Status of the index: read-only


@dataclass(frozen=True)
class Status:
    """What an ingest would add (`new`), update (`changed`), remove (`gone`) or fail on.

    `busy`: a process has the index open. `damage`: why the index cannot be used.
    """

    documents: int
    passages: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    busy: bool
    damage: str


def status(settings: Settings = SETTINGS, seconds: float = 1.0) -> Status:
    """Compare the index with the documents; new ones are test-read for at most `seconds`."""
    busy, known, passages, damage = _is_held(settings.index), dict[str, str](), 0, ""
    try:
        known, passages = bm25.look(settings.index)
        if not (busy or settings.store_url) and settings.embedder and any(known.values()):
            damage = _vector_damage(settings.index)
            if not any((settings.index / "vectors").rglob("*.sqlite*")):
                damage = "the vectors are missing"
    except bm25.Damaged as error:
        damage = str(error)
    gone = _gone(known)
    names = [name for name in dict.fromkeys(_everything(known, settings)) if name not in gone]
    waiting, problems = _compare(names, known, settings)
    trial = threading.Thread(target=_try, args=(waiting, problems, settings), daemon=True)
    trial.start()
    trial.join(seconds)  # a single document may take minutes
    problems = problems.copy()
    fine = [name for name in waiting if name not in problems]
    return Status(
        documents=len(known), passages=passages,
        new=tuple(name for name in fine if name not in known),
        changed=tuple(name for name in fine if name in known),
        gone=tuple(gone),
        unreadable=tuple(f"{name}: {problem}" for name, problem in problems.items()),
        busy=busy, damage=damage,
    )  # fmt: skip


def _compare(
    names: Sequence[str], known: Mapping[str, str], settings: Settings
) -> tuple[list[str], dict[str, str]]:
    """The documents that an ingest would read, and the problems of others."""
    waiting, problems = list[str](), dict[str, str]()
    for name in names:
        try:
            if documents.is_url(name) or known.get(name) != _load(name, settings)[-1]:
                waiting.append(name)
        except Unreadable as error:
            problems[name] = str(error)
    return waiting, problems


def _try(names: Sequence[str], problems: dict[str, str], settings: Settings) -> None:
    """Read files as an ingest would, and collect the problems."""
    for name in names:
        try:
            if not documents.is_url(name):
                _read(name, None, settings)
        except Unreadable as error:
            problems[name] = str(error)


def _is_held(folder: Path) -> bool:
    """Whether a process has the index open, this one included."""
    with suppress(OSError):  # no permission to lock it, so no writer either
        try:
            if (folder / "writer.lock").is_file():
                FileLock(folder / "writer.lock", timeout=0).acquire().lock.release()
        except Timeout:
            return True
    return False
