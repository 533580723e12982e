"""The whole app on one screen: ingest documents, search them, answer from them."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout

from rag import documents, keywords, llm, offline, prompts
from rag.documents import Unreadable
from rag.passages import Citation, Hit, Passage, split
from rag.settings import ROOT, SETTINGS, Settings

log = logging.getLogger(__name__)

INGEST_PATIENCE = 600  # seconds that embedding may be held up by the rate limit
BATCH = 500  # passages that are embedded and stored together
DEPTH = 50  # hits of each half of search that are fused
RANK_OFFSET = 10  # the k of reciprocal rank fusion (Cormack and others, 2009), by measurement
HISTORY = 6  # earlier messages that the model sees
FOLLOW_UP_WORDS = 4  # a question this short is searched together with the one before it
QUESTION_CHARS = 8000  # what a model reads of a question
DAMAGED = "The index is damaged. Restart the app, or press “Read docs/ again”: it is made anew."

Progress = Callable[[int, int, str], None]  # documents done, documents in all, what happens now


@dataclass(frozen=True)
class Ingested:
    """What an ingest did; `problems` has a line for each document that could not be read."""

    changed: int
    removed: int
    passages: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A passage and how well it fits the question: higher is better, only the order counts."""

    passage: Passage
    score: float


@dataclass(frozen=True)
class Answer:
    """The answer so far. `notice` says why the stand-in speaks when a model should have."""

    text: str
    citations: tuple[Citation, ...] = ()
    model: str = offline.NAME
    seconds: float = 0.0
    notice: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


class IndexBusy(Exception):
    """Another process is writing the index."""


# Ingest: file or URL → pages → passages → vectors and keywords


def ingest(
    paths: Sequence[str | Path] | None = None,
    settings: Settings = SETTINGS,
    progress: Progress = lambda done, total, now: None,
) -> Ingested:
    """Bring the index up to date with files, folders and URLs; without any, with docs/.

    Unchanged documents cost nothing, changed ones are replaced, deleted ones disappear. May be
    killed anywhere: the next ingest does again what was cut short. What is damaged is put aside,
    and all documents are read again. Raises IndexBusy.
    """
    folder = settings.index
    with _one_at_a_time:
        _claim(folder)
        known, whole = _mended(folder, settings)
        gone = _gone(known)
        for name in gone:
            _forget(folder, name, settings)
        names = _names(paths, known, settings)
        if not whole:  # then not only what was asked for
            names += _names(None, known, settings)
        names = [name for name in dict.fromkeys(names) if name not in gone]
        changed, problems, batch = 0, list[str](), list[_Document]()
        for done, name in enumerate(names):
            tell = partial(progress, done, len(names))
            tell(name)
            try:
                document = _read(name, known.get(name), settings)
            except Unreadable as error:
                problems.append(f"{name}: {error}")
                continue
            if document:
                changed += 1
                batch.append(document)
            if sum(len(each.passages) for each in batch) >= BATCH:
                problems += _write(folder, batch, settings, tell)
                batch = []
        tell = partial(progress, len(names), len(names))
        problems += _write(folder, batch, settings, tell)
        tell("")
    return Ingested(changed, len(gone), keywords.count(folder), tuple(dict.fromkeys(problems)))


@dataclass(frozen=True)
class _Document:
    name: str
    digest: str
    passages: list[Passage]


def _names(
    paths: Sequence[str | Path] | None, known: Mapping[str, str], settings: Settings
) -> list[str]:
    """The documents to look at, each once, by the names that they have in the index."""
    again = []
    if paths is None:  # what is known is looked at again, pages of the web only if cut short
        paths = [settings.docs]
        again = [name for name, digest in known.items() if not (_is_url(name) and digest)]
    files = documents.find(Path(path) for path in paths if not _is_url(path))
    urls = (str(path) for path in paths if _is_url(path))
    return list(dict.fromkeys([*urls, *map(_name, files), *again]))


def _gone(known: Mapping[str, str]) -> list[str]:
    return [name for name in known if not _is_url(name) and not (ROOT / name).is_file()]


def _name(file: Path) -> str:
    """A file's one name in the index: its path from the project, if it lies there."""
    for path in (Path(os.path.abspath(file)), file.resolve()):
        if path.is_relative_to(ROOT):
            return path.relative_to(ROOT).as_posix()
    return Path(os.path.abspath(file)).as_posix()


def _read(name: str, known_digest: str | None, settings: Settings) -> _Document | None:
    """The document cut into passages; None when it is in the index as it is."""
    if _is_url(name):
        kind, data = documents.fetch(name, settings.max_file_mb)
    else:
        kind, data = Path(name).suffix, documents.load(ROOT / name, settings.max_file_mb)
    digest = _digest(data, settings)
    if digest == known_digest:
        return None
    pages = documents.read(kind, data)
    return _Document(
        name, digest, split(name, pages, settings.passage_chars, settings.overlap_chars)
    )


def _digest(data: bytes, settings: Settings) -> str:
    cut = f"{settings.passage_chars} {settings.overlap_chars} "
    return hashlib.sha256(cut.encode() + data).hexdigest()


def _write(
    folder: Path, batch: Sequence[_Document], settings: Settings, tell: Callable[[str], None]
) -> list[str]:
    """Store documents; the ledger calls each complete only once all of it is written."""
    problem = _embed(folder, batch, settings, tell)
    for document in batch:  # without vectors it stays "begun", and the next ingest tries again
        keywords.add(folder, document.name, "" if problem else document.digest, document.passages)
    return [problem] if problem else []


def _embed(
    folder: Path, batch: Sequence[_Document], settings: Settings, tell: Callable[[str], None]
) -> str:
    """Put the passages' vectors into the store; says so in a line when the model fails."""
    if not settings.embedder or not batch:
        return ""
    from rag import store  # here, not above: without an embedding model nobody waits for it

    passages = [passage for document in batch for passage in document.passages]
    texts, done = [prompts.embedded(passage) for passage in passages], 0
    try:
        for document in batch:
            keywords.begin(folder, document.name)
            store.remove(folder, document.name)
        for vectors in llm.embed(texts, settings, INGEST_PATIENCE):
            store.add(folder, passages[done : done + len(vectors)], vectors)
            done += len(vectors)
            tell(f"{done} of {len(passages)} passages embedded")
    except llm.ModelUnavailable as error:
        return f"{error} Until {settings.embedder} answers, search goes by keywords alone."
    except Exception as error:  # a damaged store must not keep the app from starting
        log.warning("the vector store failed: %s: %s", type(error).__name__, error)
        return (
            f"The vector store failed. Delete {folder.name} in {settings.index_dir} to rebuild it."
        )
    return ""


def _forget(folder: Path, name: str, settings: Settings) -> None:
    keywords.begin(folder, name)
    if settings.embedder:
        from rag import store

        store.remove(folder, name)
    keywords.remove(folder, name)


def _is_url(name: object) -> bool:
    return "://" in str(name)


# Search: by words and by meaning, fused


def search(question: str, limit: int = 0, settings: Settings = SETTINGS) -> list[Found]:
    """The passages that fit a question best, best first; any text is a valid question.

    Both halves rank, and the ranks are added up by weight: reciprocal rank fusion. Raises
    keywords.Damaged.
    """
    folder, scores = settings.index, dict[str, float]()
    halves = (
        (settings.keyword_weight, keywords.search(folder, question, DEPTH)),
        (settings.meaning_weight, _by_meaning(folder, question, settings)),
    )
    for weight, hits in halves:
        for rank, hit in enumerate(hits, start=1):
            scores[hit.id] = scores.get(hit.id, 0.0) + weight / (RANK_OFFSET + rank)
    best = sorted(scores, key=lambda id: -scores[id])[: limit or settings.passages]
    return [Found(passage, scores[passage.id]) for passage in keywords.fetch(folder, best)]


def _by_meaning(folder: Path, question: str, settings: Settings) -> list[Hit]:
    if not settings.embedder or not question.strip():
        return []
    from rag import store

    try:
        [[vector]] = llm.embed([question[:QUESTION_CHARS]], settings)
        return store.search(folder, vector, DEPTH)
    except llm.ModelUnavailable:
        return []  # logged where it happened; the keywords alone still find
    except Exception as error:  # a damaged store must not take the demo down
        log.warning("the vector store failed, keywords alone: %s: %s", type(error).__name__, error)
        return []


# Answer: passages → prompt → model (or the stand-in) → text with citations


def answer(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Answer:
    """The whole answer at once."""
    return list(stream(question, history, settings))[-1]


def stream(
    question: str, history: Sequence[prompts.Message] = (), settings: Settings = SETTINGS
) -> Iterator[Answer]:
    """The answer as it grows; the last one is whole. No model and no damage makes it raise."""
    started = time.perf_counter()
    question, notice = question.strip()[:QUESTION_CHARS], ""
    if not question:
        yield Answer(prompts.NO_QUESTION)
        return
    try:
        found = search(_with_context(question, history), 0, settings)
    except keywords.Damaged as error:
        log.warning("the index is damaged: %s", error)
        yield Answer(DAMAGED)
        return
    passages = [each.passage for each in found]
    if settings.provider != "offline":
        messages = prompts.build(question, passages, history[-HISTORY:])
        try:
            for step in _ask(messages, passages, settings):
                yield replace(step, seconds=time.perf_counter() - started)
            return
        except llm.ModelUnavailable as error:
            notice = str(error)
    text, citations = prompts.cited(offline.answer(question, passages), passages)
    yield Answer(text, citations, seconds=time.perf_counter() - started, notice=notice)


def _ask(
    messages: Sequence[prompts.Message], passages: Sequence[Passage], settings: Settings
) -> Iterator[Answer]:
    said = Answer("", model=settings.chat)
    raw = ""
    for piece in llm.chat(messages, settings):
        raw += piece.text
        text, citations = prompts.cited(raw, passages, whole=False)
        said = replace(said, text=text, citations=citations,
                       tokens_in=said.tokens_in + piece.tokens_in,
                       tokens_out=said.tokens_out + piece.tokens_out)  # fmt: skip
        yield said
    text, citations = prompts.cited(raw, passages)
    if not text.strip():
        raise llm.ModelUnavailable("The model had nothing to say.")
    yield replace(said, text=text, citations=citations)


def _with_context(question: str, history: Sequence[prompts.Message]) -> str:
    """A short follow-up ("and the second one?") is searched together with what it follows."""
    if len(question.split()) > FOLLOW_UP_WORDS:
        return question
    earlier = [turn["content"] for turn in history if turn["role"] == "user"]
    return " ".join([question, *earlier[-1:]])


def warm_up(settings: Settings = SETTINGS) -> None:
    """Load what the first question needs, so that it is as fast as the second."""
    if settings.provider != "offline":
        llm.client(settings)
    if settings.embedder:
        from rag import store

        store.count(settings.index)


# One writer at a time: two processes that write one vector store corrupt it silently

_one_at_a_time = threading.Lock()
_refused: set[Path] = set()


@cache
def _claim(folder: Path) -> FileLock:
    """Take the index for this process, until it ends. Raises IndexBusy."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "writer.lock", timeout=0, thread_local=False)
    try:
        if folder not in _refused:  # a store that was opened beside a writer is stale for good
            lock.acquire()
            _put_bad_vectors_aside(folder)
            return lock
    except Timeout:
        _refused.add(folder)
    raise IndexBusy(
        "Another process is using this index (the app, perhaps). Stop it, or add documents there."
    )


# What is damaged is put aside and made anew


def _mended(folder: Path, settings: Settings) -> tuple[dict[str, str], bool]:
    """The ledger, and whether it can be trusted: if not, every document is unfinished."""
    try:
        known, _ = keywords.look(folder)
        if not any(known.values()) or not _lacks_vectors(folder, settings):
            return known, True
    except keywords.Damaged as error:
        known = dict.fromkeys(keywords.rescue(folder), "")
        _put_aside(folder, "keywords.db*", error)
    for name in known:
        keywords.begin(folder, name)
    return dict.fromkeys(known, ""), False


def _lacks_vectors(folder: Path, settings: Settings) -> bool:
    """Whether passages that the ledger calls complete have no vector."""
    if not settings.embedder:
        return False
    from rag import store

    finished = keywords.finished(folder)
    try:
        missing = finished - store.count(folder)
    except Exception as error:  # a server that is away, perhaps
        log.warning("the vector store failed: %s: %s", type(error).__name__, error)
        return False
    if missing > 0:
        log.warning("%d vectors are missing: the documents are embedded again.", missing)
    return missing > 0


def _put_bad_vectors_aside(folder: Path) -> None:
    """Only before the store opens them: what is open cannot be moved."""
    try:
        if (folder / "vectors").exists():
            _look_at_vectors(folder / "vectors")
    except keywords.Damaged as error:
        _put_aside(folder, "vectors", error)


def _put_aside(folder: Path, part: str, damage: keywords.Damaged) -> None:
    """Move a part of the index into a folder beside it, in place of what lay there."""
    aside = folder.with_name(f"{folder.name}.damaged")
    aside.mkdir(exist_ok=True)
    for old in aside.glob(part):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for path in sorted(folder.glob(part), reverse=True):  # a database's log goes before it
        path.rename(aside / path.name)
    log.warning("The index was damaged (%s): put aside in %s, made anew.", damage, _name(aside))


# Status: who would answer, and what an ingest would find. Looks only: nothing is made or changed


@dataclass(frozen=True)
class Status:
    """Documents that an ingest would take in (`new`, `changed`), drop (`gone`) or complain about.

    `busy`: another process has the index open. `damage`: why the index cannot be used.
    """

    provider: str
    chat_model: str
    embed_model: str
    host: str
    port: int
    question: str
    docs: str
    index: str
    documents: int
    passages: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    busy: bool
    damage: str


def status(settings: Settings = SETTINGS, seconds: float = 0.25) -> Status:
    """How things stand. New documents are read on trial, as far as `seconds` allow."""
    busy = _is_held(settings.index)
    known, passages, damage = dict[str, str](), 0, ""
    try:
        known, passages = keywords.look(settings.index)
        if settings.embedder and not settings.store_url and any(known.values()) and not busy:
            _look_at_vectors(settings.index / "vectors")
    except keywords.Damaged as error:
        damage = str(error)
    gone, waiting, problems = _gone(known), list[str](), dict[str, str]()
    for name in _names(None, known, settings):
        if name not in gone:
            try:
                if _is_url(name) or _differs(name, known.get(name), settings):
                    waiting.append(name)
            except Unreadable as error:
                problems[name] = str(error)
    problems |= _trial(waiting, settings, seconds)
    return Status(
        provider=settings.provider, chat_model=settings.chat, embed_model=settings.embedder,
        host=settings.host, port=settings.port, question=next(iter(settings.examples), ""),
        docs=_name(settings.docs), index=_name(settings.index),
        documents=len(known), passages=passages,
        new=tuple(name for name in waiting if name not in problems and name not in known),
        changed=tuple(name for name in waiting if name not in problems and name in known),
        gone=tuple(gone),
        unreadable=tuple(f"{name}: {problem}" for name, problem in problems.items()),
        busy=busy, damage=damage,
    )  # fmt: skip


def _differs(name: str, known_digest: str | None, settings: Settings) -> bool:
    documents.reader(Path(name).suffix)
    return _digest(documents.load(ROOT / name, settings.max_file_mb), settings) != known_digest


def _trial(names: Sequence[str], settings: Settings, seconds: float) -> dict[str, str]:
    """What is wrong with those files that could be read in time; one alone may take minutes."""
    problems: dict[str, str] = {}

    def look() -> None:
        for name in names:
            if not _is_url(name):
                try:
                    _read(name, None, settings)
                except Unreadable as error:
                    problems[name] = str(error)

    reading = threading.Thread(target=look, daemon=True)
    reading.start()
    reading.join(seconds)
    return problems.copy()


def _look_at_vectors(folder: Path) -> None:
    """Raises Damaged. The files alone are looked at: to load the store takes a second."""
    files = sorted(folder.rglob("*.sqlite*"))
    if not files:
        raise keywords.Damaged("the vectors are missing")
    for file in files:
        with keywords.untouched(file):
            pass


def _is_held(folder: Path) -> bool:
    file = folder / "writer.lock"
    with suppress(OSError):  # not ours to lock: then we cannot be in its way either
        try:
            if file.is_file():
                FileLock(file, timeout=0).acquire().lock.release()
        except Timeout:
            return True
    return False
