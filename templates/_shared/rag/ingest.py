"""Keeps the index in sync with docs/: adds, updates, removes."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plumbing.readers import Unreadable
from plumbing.retries import ModelUnavailable
from rag import bm25, chunks, index_state, llm, prompts
from rag.chunks import Document
from rag.settings import SETTINGS, Settings

log = logging.getLogger(__name__)

PATIENCE = 600  # seconds that embedding may wait for the rate limit
BATCH = 500  # chunks that are embedded and stored together

Progress = Callable[[int, int, str], None]  # documents done, documents in total, current step
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Ingested:
    """The result of an ingest; `problems` has a line for each document that failed."""

    changed: int
    removed: int
    chunks: int
    problems: tuple[str, ...]


# Ingest: file or URL → pages → chunks → vectors and keywords


def ingest(
    paths: Sequence[str | Path] | None = None,
    settings: Settings = SETTINGS,
    progress: Progress = lambda done, total, now: None,
) -> Ingested:
    """Bring the index up to date with these files, folders and URLs; by default with docs/.

    Unchanged documents are skipped, changed ones replaced, deleted ones removed. Safe to kill at
    any time: the next ingest completes it. A corrupted index is moved away, and all documents are
    read again. Raises IndexBusy.
    """
    with _one_at_a_time:
        index_state.claim(settings.index)
        known, sound = _ledger(settings)
        gone = chunks.find_gone(known)
        for name in gone:
            _remove(name, settings)
        names = list(chunks.find(paths or []))
        if paths is None or not sound:
            names += chunks.find_all(known, settings)
        names = [name for name in dict.fromkeys(names) if name not in gone]
        changed, problems = _update(names, known, settings, progress)
    return Ingested(changed, len(gone), bm25.count(settings.index), problems)


def _update(
    names: Sequence[str], known: Mapping[str, str], settings: Settings, progress: Progress
) -> tuple[int, tuple[str, ...]]:
    """Read these documents and store the changed ones: their number, a line per problem."""
    changed, problems, batch = 0, list[str](), list[Document]()
    for done, name in enumerate(names):
        report = partial(progress, done, len(names))
        report(name)
        try:
            document = chunks.load(name, known.get(name), settings)
        except Unreadable as error:
            problems.append(f"{name}: {error}")
            continue
        if document:
            changed += 1
            batch.append(document)
        if sum(len(each.chunks) for each in batch) >= BATCH:
            problems += _write(batch, settings, report)
            batch = []
    report = partial(progress, len(names), len(names))
    problems += _write(batch, settings, report)
    report("")
    return changed, tuple(dict.fromkeys(problems))


def _write(
    batch: Sequence[Document], settings: Settings, report: Callable[[str], None]
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
        bm25.add(settings.index, document.name, digest, document.chunks)
    return problems


def _embed(batch: Sequence[Document], settings: Settings, report: Callable[[str], None]) -> None:
    """Embed the chunks and store their vectors."""
    from rag import vector_store  # slow to import, and not needed without an embedding model

    for document in batch:
        bm25.begin(settings.index, document.name)
        vector_store.remove(settings.index, document.name)
    pending = [chunk for document in batch for chunk in document.chunks]
    texts, done = [prompts.embedded(chunk) for chunk in pending], 0
    for vectors in llm.embed(texts, settings, PATIENCE):
        vector_store.add(settings.index, pending[done : done + len(vectors)], vectors)
        done += len(vectors)
        report(f"{done} of {len(pending)} chunks embedded")


def _remove(name: str, settings: Settings) -> None:
    bm25.begin(settings.index, name)
    if settings.embedder:
        from rag import vector_store

        vector_store.remove(settings.index, name)
    bm25.remove(settings.index, name)


def _ledger(settings: Settings) -> tuple[dict[str, str], bool]:
    """Every document with its digest; and False if damage made all of them unfinished."""
    folder = settings.index
    try:
        known, _ = index_state.look(folder)
        if not _lacks_vectors(settings):
            return known, True
    except bm25.IndexCorrupted as error:
        known = dict.fromkeys(index_state.rescue(folder), "")
        index_state.move_away(folder, f"{bm25.FILE}*", str(error))
    for name in known:
        bm25.begin(folder, name)
    return dict.fromkeys(known, ""), False


def _lacks_vectors(settings: Settings) -> bool:
    """Whether chunks of complete documents have no vector."""
    complete = bm25.count(settings.index, complete=True)
    if not settings.embedder or not complete:
        return False
    from rag import vector_store

    try:
        missing = complete - vector_store.count(settings.index)
    except Exception as error:  # for example a server that is down
        log.warning("the vector store failed: %s: %s", type(error).__name__, error)
        return False
    if missing > 0:
        log.warning("%d vectors are missing: embedding the documents again.", missing)
    return missing > 0
