"""The keyword index (BM25, in SQLite), and the store of the passages.

BM25 over stems and, unless the question is clearly English, over five-letter n-grams of words
(`pieces`): they find compounds and endings that a stemmer misses ("Netzwerk" in
"Netzwerkadministrator"). Hashed vectors are not used: they lowered MRR@10 in English, French and
Spanish and changed nothing in German.
"""

import re
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import snowballstemmer

from rag.chunks import Hit, Passage

WORDS = 64  # of a long question, only the longest words are searched for
WAIT = 30  # seconds for another process to finish its write
PIECE, STEP = 5, 3  # letters; of a word in the question, every third n-gram is searched for

_MARK = "keywords.db-damaged"  # a file, created when damage is found: `look` may miss it
_VERSION = 2  # an index of another version is emptied; the next ingest refills it
_SCHEMA = (
    "DROP TABLE IF EXISTS sources",
    "DROP TABLE IF EXISTS passages",
    "DROP TABLE IF EXISTS words",
    "CREATE TABLE sources (source TEXT PRIMARY KEY, digest TEXT NOT NULL)",
    "CREATE TABLE passages (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
    "source TEXT NOT NULL, text TEXT NOT NULL, page INTEGER, section TEXT NOT NULL, "
    "start INTEGER NOT NULL, language TEXT NOT NULL)",
    "CREATE INDEX by_source ON passages (source)",
    "CREATE INDEX by_language ON passages (language)",
    "CREATE VIRTUAL TABLE words USING fts5 (stems, pieces, tokenize = \"ascii tokenchars '_'\")",
    f"PRAGMA user_version = {_VERSION}",
)

# Stop words: they identify a language, and search ignores them.
_STOP_WORDS = {
    "english": "the of and to in is that for it was on are as with be by this from or an a at "
    "which have has had not what who whom how when where why did does do many much were their "
    "they you i we he she his her its if but can will would could should about into than then "
    "there these s t",
    "french": "le la les l des d et est en que qu qui dans un une du de pour pas sur au aux avec "
    "ce il elle ils on plus par son sa ses ou sont cette ces ne n se s quel quelle quels quelles "
    "y comment combien quand où pourquoi quoi à a je nous vous être c j m",
    "german": "der die das den dem des und ist sind in im von vom zu zum zur mit nicht ein eine "
    "einen einem einer eines auf für sich auch als es an am wird werden wurde sie er ich man oder "
    "was wie wer wann warum wo welche welcher welches bei aus nach hat haben kann",
    "spanish": "el la los las de del y en que es un una por con para se no al su sus lo le más "
    "como son o ser ha qué quién cuál cuáles cuándo cómo dónde cuánto cuánta cuántos cuántas a fue "
    "este esta",
    "italian": "il lo la gli le i di e che è un una per con del della dei delle in non si da nel "
    "al sono come più o quale quali chi quando quanto quanti dove perché cosa a l d su ha",
    "portuguese": "o a os as de e em que é um uma por com para do da dos das não se no na nos nas "
    "ao mais como são ou qual quais quem quando quanto quantos onde foi ser",
    "dutch": "de het een en van in is dat op te voor met zijn niet aan er door die om ook als bij "
    "of wat wie hoe hoeveel wanneer waar waarom welke worden wordt kan",
}
_STOP = {name: frozenset(words.split()) for name, words in _STOP_WORDS.items()}
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")

_stemming = Lock()


class Damaged(Exception):
    """The index is damaged; the text names the file and the error."""


def ledger(folder: Path) -> dict[str, str]:
    """Every source in the index with its digest; "" where indexing was interrupted."""
    with _database(folder) as db:
        return dict(db.execute("SELECT source, digest FROM sources"))


def begin(folder: Path, source: str) -> None:
    """Mark a source as unfinished, before its vectors and passages are written."""
    with _database(folder) as db:
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, '')", (source,))


def add(folder: Path, source: str, digest: str, passages: Sequence[Passage]) -> None:
    """Replace a source's passages and mark it complete, in one transaction."""
    with _database(folder) as db:
        _forget(db, source)
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, digest))
        fallback = guess_language(" ".join(passage.text[:200] for passage in passages[:50]))
        for passage in passages:
            language = guess_language(passage.text, fallback)
            row = db.execute(
                "INSERT INTO passages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                (passage.id, source, _storable(passage.text), passage.page, passage.section,
                 passage.start, language),
            )  # fmt: skip
            words = _words(f"{passage.section} {passage.text}")
            db.execute(
                "INSERT INTO words (rowid, stems, pieces) VALUES (?, ?, ?)",
                (row.lastrowid, " ".join(_stem(word, language) for word in words),
                 " ".join(piece for word in words for piece in _pieces(word))),
            )  # fmt: skip


def remove(folder: Path, source: str) -> None:
    """Delete a source and its passages."""
    with _database(folder) as db:
        _forget(db, source)
        db.execute("DELETE FROM sources WHERE source = ?", (source,))


def search(folder: Path, question: str, limit: int) -> list[Hit]:
    """The best hits for a question, best first; any text is a valid question."""
    with _database(folder) as db:
        query = _query(db, question)
        if not query or limit < 1:
            return []
        rows = db.execute(
            "SELECT id, -score FROM passages JOIN (SELECT rowid, rank AS score "
            "FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?) AS best ON number = best.rowid "
            "ORDER BY score",
            (query, limit),
        )
        return [Hit(name, score) for name, score in rows]


def fetch(folder: Path, ids: Sequence[str]) -> list[Passage]:
    """The passages with these ids, in this order; unknown ids are left out."""
    query = "SELECT id, source, text, page, section, start FROM passages WHERE id = ?"
    with _database(folder) as db:
        rows = [db.execute(query, (name,)).fetchone() for name in ids]
    return [Passage(*row) for row in rows if row]


def count(folder: Path) -> int:
    """The number of passages in the index."""
    with _database(folder) as db:
        return int(db.execute("SELECT count(*) FROM passages").fetchone()[0])


def finished(folder: Path) -> int:
    """The number of passages of documents that are complete."""
    mine = "SELECT count(*) FROM passages JOIN sources USING (source) WHERE digest != ''"
    with _database(folder) as db:
        return int(db.execute(mine).fetchone()[0])


def stems(text: str, language: str = "") -> list[str]:
    """The stems of a text, as search compares them; the language is guessed if not given."""
    language = language or guess_language(text)
    return [_stem(word, language) for word in _words(text)]


def content(text: str, language: str = "") -> list[str]:
    """The stems of a text without its stop words, unless it has no other words."""
    language = language or guess_language(text)
    return [_stem(word, language) for word in _without_stop_words(_words(text), _STOP[language])]


def guess_language(text: str, fallback: str = "english") -> str:
    """The language with the most stop words in the text; `fallback` when it is not clear."""
    words = _WORD.findall(text[:2000].lower())
    hits = {name: sum(word in known for word in words) for name, known in _STOP.items()}
    best, second = sorted(hits.values(), reverse=True)[:2]
    return max(hits, key=lambda name: hits[name]) if best > second + 1 else fallback


def look(folder: Path) -> tuple[dict[str, str], int]:
    """The ledger and the number of passages; creates and repairs nothing. Raises Damaged."""
    file = folder / "keywords.db"
    if not file.is_file():
        return {}, 0
    if (folder / _MARK).exists():
        raise Damaged(f"{file.name}: a part could not be read")
    with inspecting(file) as db:
        if _version(db) != _VERSION:
            return {}, 0
        [[passages]] = db.execute("SELECT count(*) FROM passages")
        return dict(db.execute("SELECT source, digest FROM sources")), passages


def rescue(folder: Path) -> list[str]:
    """The sources that can still be read from a damaged index."""
    names = []
    with suppress(sqlite3.Error), closing(_read_only(folder / "keywords.db")) as db:
        db.execute("PRAGMA writable_schema = ON")  # otherwise a truncated file gives nothing
        for (name,) in db.execute("SELECT source FROM sources"):
            names.append(name)
    return [name for name in names if isinstance(name, str)]


@contextmanager
def inspecting(file: Path, seconds: float = 0.1) -> Iterator[sqlite3.Connection]:
    """Open an SQLite file read-only, checked for at most `seconds`. Raises Damaged."""
    try:
        with closing(_read_only(file)) as db:
            end = time.monotonic() + seconds
            db.set_progress_handler(lambda: time.monotonic() > end, 1000)
            with suppress(sqlite3.OperationalError):  # out of time: no damage found so far
                [[found]] = db.execute("PRAGMA quick_check(1)")
                if found != "ok":
                    raise Damaged(f"{file.name}: {found.splitlines()[-1]}")
            db.set_progress_handler(None, 0)
            yield db
    except sqlite3.Error as error:
        raise Damaged(f"{file.name}: {error}") from error


def _read_only(file: Path) -> sqlite3.Connection:
    # `ro` also reads the write-ahead log; without one, `immutable` creates none.
    mode = "mode=ro" if Path(f"{file}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True)


def _query(db: sqlite3.Connection, question: str) -> str:
    """An FTS query: any stem, in each language of the documents, or any n-gram of a word."""
    here = "SELECT EXISTS (SELECT 1 FROM passages WHERE language = ?)"
    languages = [name for name in _STOP if db.execute(here, (name,)).fetchone()[0]]
    spoken = guess_language(question, "")
    common = _STOP[spoken] if spoken else frozenset().union(*(_STOP[name] for name in languages))
    words = _without_stop_words(dict.fromkeys(_words(question)), common)
    longest = sorted(words, key=len, reverse=True)[:WORDS]
    stems = _any(_stem(word, name) for name in languages for word in longest)
    # Neighbouring n-grams overlap: every third one finds as much, twice as fast.
    pieces = _any(piece for word in longest for piece in _pieces(word)[::STEP])
    if not stems:
        return ""
    use_pieces = pieces and spoken != "english"
    return f"stems : ({stems}) OR pieces : ({pieces})" if use_pieces else f"stems : ({stems})"


def _any(terms: Iterable[str]) -> str:
    return " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))


def _without_stop_words(words: Iterable[str], common: frozenset[str]) -> list[str]:
    words = list(words)
    return [word for word in words if word not in common] or words


def _words(text: str) -> list[str]:
    """Lower-case words; text without spaces (Chinese, Japanese) gives pairs of characters."""
    found = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    if not _CJK.search(text):
        return found
    return [part for word in found for part in (_pairs(word) if _CJK.search(word) else [word])]


def _pairs(word: str) -> list[str]:
    return [word[at : at + 2] for at in range(max(1, len(word) - 1))]


@lru_cache(maxsize=200_000)
def _stem(word: str, language: str) -> str:
    with _stemming:  # a stemmer is not thread-safe
        return _plain(_stemmer(language).stemWord(word[:64])) or word


@lru_cache(maxsize=200_000)
def _pieces(word: str) -> tuple[str, ...]:
    """The five-letter n-grams of a word with marked ends: _wort_ gives _wort and wort_."""
    marked = f"_{_plain(word[:64])}_"
    return tuple(marked[at : at + PIECE] for at in range(len(marked) - PIECE + 1))


def _plain(word: str) -> str:
    """A word without its accents."""
    if word.isascii():
        return word
    marks = unicodedata.normalize("NFKD", word)
    return "".join(letter for letter in marks if letter.isalnum())


@cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(language)


def _storable(text: str) -> str:
    """Replace lone surrogates, which SQLite cannot store."""
    return text.encode(errors="replace").decode()


def _forget(db: sqlite3.Connection, source: str) -> None:
    mine = "SELECT number FROM passages WHERE source = ?"
    db.execute(f"DELETE FROM words WHERE rowid IN ({mine})", (source,))
    db.execute("DELETE FROM passages WHERE source = ?", (source,))


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction; safe in any thread. Raises Damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "keywords.db"
    try:
        with closing(sqlite3.connect(file, timeout=WAIT)) as db:
            if _version(db) != _VERSION:
                _create(db)
            db.execute("PRAGMA synchronous = NORMAL")
            with db:
                yield db
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        with suppress(OSError):
            (folder / _MARK).touch()
        problem, *_ = str(error).partition(" with text ")  # what follows is text of a document
        raise Damaged(f"{file.name}: {problem}") from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether an error means a damaged file: bad pages, not a database, or invalid text."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode" in str(error)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    _use_write_ahead_log(db)
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) != _VERSION:  # another process may have been faster
            for statement in _SCHEMA:
                db.execute(statement)


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Use write-ahead logging: readers and the writer do not block each other."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:  # this statement ignores the timeout
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
