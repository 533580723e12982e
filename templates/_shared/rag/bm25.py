"""The index of the documents, in SQLite: their chunks, and keyword search (BM25) in them.

BM25 over stems and, unless the question is clearly English, over five-letter n-grams of words:
they find compounds and endings that a stemmer misses ("Netzwerk" in "Netzwerkadministrator").
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rag.chunks import Chunk
from rag.text import STOP_WORDS, guess_language, ngrams, stem, without, words

FILE, MARK = "keywords.db", "keywords.db-damaged"  # the second is created when corruption is found
VERSION = 3
WORDS = 64  # of a long question, only the longest words are searched for
STEP = 3  # neighbouring n-grams overlap: every third one finds as much, twice as fast
WAIT = 30  # seconds for another process to finish its write

_TERMS = (
    "CREATE VIRTUAL TABLE terms USING fts5 (stems, ngrams, tokenize = \"ascii tokenchars '_'\")"
)
_SCHEMA = (
    "CREATE TABLE sources (source TEXT PRIMARY KEY, digest TEXT NOT NULL)",
    "CREATE TABLE chunks (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, "
    "source TEXT NOT NULL, text TEXT NOT NULL, page INTEGER, section TEXT NOT NULL, "
    "start INTEGER NOT NULL, language TEXT NOT NULL)",
    "CREATE INDEX by_source ON chunks (source)",
    "CREATE INDEX by_language ON chunks (language)",
    _TERMS,
)
_FROM_VERSION_2 = (
    "ALTER TABLE passages RENAME TO chunks",
    _TERMS,
    "INSERT INTO terms (rowid, stems, ngrams) SELECT rowid, stems, pieces FROM words",
    "DROP TABLE words",
)


class IndexCorrupted(Exception):
    """The index cannot be read; the text names the file and the error."""


def ledger(folder: Path) -> dict[str, str]:
    """Every source in the index with its digest; "" where indexing was interrupted."""
    with _database(folder) as db:
        return dict(db.execute("SELECT source, digest FROM sources"))


def begin(folder: Path, source: str) -> None:
    """Mark a source as unfinished, before its vectors and chunks are written."""
    with _database(folder) as db:
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, '')", (source,))


def add(folder: Path, source: str, digest: str, chunks: Sequence[Chunk]) -> None:
    """Replace a source's chunks and mark it complete, in one transaction."""
    with _database(folder) as db:
        _delete_chunks(db, source)
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, digest))
        fallback = guess_language(" ".join(chunk.text[:200] for chunk in chunks[:50]))
        for chunk in chunks:
            _insert(db, chunk, guess_language(chunk.text, fallback))


def _insert(db: sqlite3.Connection, chunk: Chunk, language: str) -> None:
    text = chunk.text.encode(errors="replace").decode()  # SQLite cannot store lone surrogates
    row = db.execute(
        "INSERT INTO chunks VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
        (chunk.id, chunk.source, text, chunk.page, chunk.section, chunk.start, language),
    )
    found = words(f"{chunk.section} {chunk.text}")
    stems = " ".join(stem(word, language) for word in found)
    grams = " ".join(gram for word in found for gram in ngrams(word))
    values = (row.lastrowid, stems, grams)
    db.execute("INSERT INTO terms (rowid, stems, ngrams) VALUES (?, ?, ?)", values)


def remove(folder: Path, source: str) -> None:
    """Delete a source and its chunks."""
    with _database(folder) as db:
        _delete_chunks(db, source)
        db.execute("DELETE FROM sources WHERE source = ?", (source,))


def _delete_chunks(db: sqlite3.Connection, source: str) -> None:
    own = "SELECT number FROM chunks WHERE source = ?"
    db.execute(f"DELETE FROM terms WHERE rowid IN ({own})", (source,))
    db.execute("DELETE FROM chunks WHERE source = ?", (source,))


def search(folder: Path, question: str, limit: int) -> list[str]:
    """The ids of the best chunks for a question, best first; any text is a valid question."""
    with _database(folder) as db:
        query = _query(db, question)
        if not query or limit < 1:
            return []
        rows = db.execute(
            "SELECT id FROM chunks JOIN (SELECT rowid, rank AS score FROM terms "
            "WHERE terms MATCH ? ORDER BY rank LIMIT ?) AS best ON number = best.rowid "
            "ORDER BY score",
            (query, limit),
        )
        return [name for (name,) in rows]


def _query(db: sqlite3.Connection, question: str) -> str:
    """An FTS query: any stem, in each language of the documents, or any n-gram of a word."""
    here = "SELECT EXISTS (SELECT 1 FROM chunks WHERE language = ?)"
    languages = [name for name in STOP_WORDS if db.execute(here, (name,)).fetchone()[0]]
    spoken = guess_language(question, "")
    common = (STOP_WORDS[name] for name in ([spoken] if spoken else languages))
    content = without(dict.fromkeys(words(question)), frozenset().union(*common))
    longest = sorted(content, key=len, reverse=True)[:WORDS]
    stems = _any(stem(word, name) for name in languages for word in longest)
    grams = _any(gram for word in longest for gram in ngrams(word)[::STEP])
    if not stems:
        return ""
    use_ngrams = grams and spoken != "english"
    return f"stems : ({stems}) OR ngrams : ({grams})" if use_ngrams else f"stems : ({stems})"


def _any(terms: Iterable[str]) -> str:
    return " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))


def fetch(folder: Path, ids: Sequence[str]) -> list[Chunk]:
    """The chunks with these ids, in this order; unknown ids are left out."""
    query = "SELECT id, source, text, page, section, start FROM chunks WHERE id = ?"
    with _database(folder) as db:
        rows = [db.execute(query, (name,)).fetchone() for name in ids]
    return [Chunk(*row) for row in rows if row]


def count(folder: Path, complete: bool = False) -> int:
    """The number of chunks in the index, or only of those of complete documents."""
    query = "SELECT count(*) FROM chunks"
    if complete:
        query += " JOIN sources USING (source) WHERE digest != ''"
    with _database(folder) as db:
        return int(db.execute(query).fetchone()[0])


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction; safe in any thread. Raises IndexCorrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(folder / FILE, timeout=WAIT)) as db:
            if version(db) != VERSION:
                _create(db)
            db.execute("PRAGMA synchronous = NORMAL")
            with db:
                yield db
    except sqlite3.DatabaseError as error:
        # Bad pages, not a database, or invalid text.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        corrupt = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        if not corrupt and "decode" not in str(error):
            raise
        with suppress(OSError):
            (folder / MARK).touch()
        problem, *_ = str(error).partition(" with text ")  # what follows is text of a document
        raise IndexCorrupted(f"{FILE}: {problem}") from error


def version(db: sqlite3.Connection) -> int:
    """The version of an index; 0 when it is new."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create(db: sqlite3.Connection) -> None:
    """Create the tables, or convert those of the version before."""
    with suppress(sqlite3.OperationalError):  # another process is doing it
        db.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not block each other
    with db:
        db.execute("BEGIN IMMEDIATE")
        old = version(db)
        if old not in (0, 2, VERSION):
            raise IndexCorrupted(f"{FILE}: version {old} is unknown")
        if old != VERSION:  # another process may have been faster
            for statement in _FROM_VERSION_2 if old else _SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
