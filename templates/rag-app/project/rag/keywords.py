"""Owns the keyword index: the only file that talks to SQLite."""

import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import snowballstemmer

from rag.passages import Hit, Passage

TERMS = 64  # of a long question, the most unusual words

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sources (source TEXT PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS passages (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, text TEXT NOT NULL,
  page INTEGER, section TEXT NOT NULL, start INTEGER NOT NULL, language TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_source ON passages (source);
CREATE INDEX IF NOT EXISTS by_language ON passages (language);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (stems, tokenize = 'ascii');
PRAGMA user_version = 1;
"""

# The words that give a language away.
_STOP_WORDS = {
    "english": "the of and to in is that for it was on are as with be by this from or an at which "
    "have has not what who how when where why did does do many much were their",
    "french": "le la les des et est en que qui dans une du pour pas sur au avec ce il plus par son "
    "aux ou sont cette ne se un quel quelle comment quand où pourquoi",
    "german": "der die das und ist in den von zu mit nicht ein eine auf für sich des dem im auch "
    "als es an werden wird sie oder was wie wer wann warum welche welcher wo",
    "spanish": "el la los las de y en que es un una por con para del se no al su lo más como son "
    "o cuál qué quién cuándo cómo dónde",
    "italian": "il lo la gli le di e che è un una per con del della in non si da dei nel sono al "
    "come più quale chi quando dove perché",
    "portuguese": "o a os as de e em que é um uma por com para do da não se no na dos das ao mais "
    "como são qual quem quando onde",
    "dutch": "de het een en van in is dat op te voor met zijn niet aan er door die om ook als bij "
    "wat wie hoe wanneer waar waarom",
}
_LANGUAGE_OF = {name: frozenset(words.split()) for name, words in _STOP_WORDS.items()}
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")

_stemming = Lock()


def ledger(folder: Path) -> dict[str, str]:
    """Every known source with the digest it was indexed at; "" where that was cut short."""
    with _database(folder) as db:
        return dict(db.execute("SELECT source, digest FROM sources"))


def begin(folder: Path, source: str) -> None:
    """Mark a source as unfinished, before anything of it is written anywhere."""
    with _database(folder) as db:
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, '')", (source,))


def add(folder: Path, source: str, digest: str, passages: Sequence[Passage]) -> None:
    """Replace a source's passages and mark it complete, in one transaction."""
    with _database(folder) as db:
        _forget(db, source)
        db.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, digest))
        fallback = _language(" ".join(passage.text[:200] for passage in passages[:50]), "english")
        for passage in passages:
            language = _language(passage.text, fallback)
            row = db.execute(
                "INSERT INTO passages VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                (passage.id, source, _clean(passage.text), passage.page, passage.section,
                 passage.start, language),
            )  # fmt: skip
            text = " ".join(stems(f"{passage.section} {passage.text}", language))
            db.execute("INSERT INTO words (rowid, stems) VALUES (?, ?)", (row.lastrowid, text))


def remove(folder: Path, source: str) -> None:
    """Forget a source and its passages."""
    with _database(folder) as db:
        _forget(db, source)
        db.execute("DELETE FROM sources WHERE source = ?", (source,))


def search(folder: Path, question: str, limit: int) -> list[Hit]:
    """The passages that match a question best, best first; any text is a valid question."""
    with _database(folder) as db:
        here = "SELECT EXISTS (SELECT 1 FROM passages WHERE language = ?)"
        languages = [name for name in _STOP_WORDS if db.execute(here, (name,)).fetchone()[0]]
        wanted = {stem: None for name in languages for stem in stems(question, name)}
        terms = sorted(wanted, key=len, reverse=True)[:TERMS]
        if not terms or limit < 1:
            return []
        rows = db.execute(
            "SELECT passages.id, -words.rank FROM words JOIN passages ON number = words.rowid "
            "WHERE words MATCH ? ORDER BY words.rank LIMIT ?",
            (" OR ".join(f'"{term}"' for term in terms), limit),
        )
        return [Hit(name, score) for name, score in rows]


def fetch(folder: Path, ids: Sequence[str]) -> list[Passage]:
    """The passages with these ids, in this order; unknown ids are left out."""
    query = "SELECT id, source, text, page, section, start FROM passages WHERE id = ?"
    with _database(folder) as db:
        rows = [db.execute(query, (name,)).fetchone() for name in ids]
    return [Passage(*row) for row in rows if row]


def count(folder: Path) -> int:
    """How many passages are indexed."""
    with _database(folder) as db:
        return int(db.execute("SELECT count(*) FROM passages").fetchone()[0])


def stems(text: str, language: str = "") -> list[str]:
    """The normalised words of a text that search compares; the language is guessed if not given."""
    language = language or _language(text, "english")
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFC", text).lower()):
        if _CJK.search(word):  # written without spaces: pairs of characters stand for words
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        else:
            found.append(_stem(word[:64], language))
    return found


@lru_cache(maxsize=100_000)
def _stem(word: str, language: str) -> str:
    with _stemming:  # a stemmer keeps its working state in itself
        stem = _stemmer(language).stemWord(word)
    marks = unicodedata.normalize("NFKD", stem)
    return "".join(letter for letter in marks if not unicodedata.combining(letter)) or word


@cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(language)


def _language(text: str, fallback: str) -> str:
    """The language whose stop words are the most frequent, when that is clear."""
    words = _WORD.findall(text[:2000].lower())
    hits = {name: sum(word in known for word in words) for name, known in _LANGUAGE_OF.items()}
    best, second = sorted(hits.values(), reverse=True)[:2]
    return max(hits, key=lambda name: hits[name]) if best > second + 1 else fallback


def _clean(text: str) -> str:
    """SQLite cannot store half a surrogate pair."""
    return text.encode(errors="replace").decode()


def _forget(db: sqlite3.Connection, source: str) -> None:
    mine = "SELECT number FROM passages WHERE source = ?"
    db.execute(f"DELETE FROM words WHERE rowid IN ({mine})", (source,))
    db.execute("DELETE FROM passages WHERE source = ?", (source,))


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, closed afterwards: safe in any thread."""
    folder.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(folder / "keywords.db", timeout=30)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] != 1:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)
        db.execute("PRAGMA synchronous = NORMAL")
        with db:
            yield db
    finally:
        db.close()
