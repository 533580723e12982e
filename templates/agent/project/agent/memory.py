"""Conversations: saved in one SQLite file, listed, resumed and deleted."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent.events import Event, Task, as_dict, from_dict

if TYPE_CHECKING:  # slow to import: the page is served before LangGraph is loaded
    from langgraph.checkpoint.sqlite import SqliteSaver

log = logging.getLogger(__name__)

WAIT = 30  # seconds to wait for another process's write
TITLE_CHARS = 70
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER PRIMARY KEY, chat TEXT NOT NULL, step TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_chat ON steps (chat);
"""
_opening = threading.Lock()


@dataclass(frozen=True)
class Chat:
    """A conversation; `changed` is in seconds since 1970."""

    id: str
    title: str
    changed: float


def new_id() -> str:
    """The name of a new conversation; random, so that it cannot be guessed."""
    return secrets.token_hex(8)


def chats(folder: Path, owner: str | None = None) -> list[Chat]:
    """All conversations, or those that one browser started, the latest first."""
    with _database(folder) as db:
        rows = db.execute(
            "SELECT id, title, changed FROM chats WHERE ?1 IS NULL OR owner = ?1 "
            "ORDER BY changed DESC",
            (owner,),
        )
        return [Chat(*row) for row in rows]


def events(folder: Path, chat: str) -> list[Event]:
    """All events of a conversation, in order."""
    with _database(folder) as db:
        rows = db.execute("SELECT step FROM steps WHERE chat = ? ORDER BY number", (chat,))
        return [from_dict(json.loads(row)) for (row,) in rows]


def add(folder: Path, chat: str, event: Event, owner: str = "") -> None:
    """Save an event; the first task gives a new conversation its title."""
    text = json.dumps(as_dict(event), ensure_ascii=True, default=str)
    with _database(folder) as db:
        if isinstance(event, Task):
            title = " ".join(event.text.split())[:TITLE_CHARS] or ", ".join(event.files)
            db.execute(
                "INSERT INTO chats VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET changed = excluded.changed",
                (chat, owner, title.encode(errors="replace").decode(), time.time()),
            )
        db.execute("INSERT INTO steps (chat, step) VALUES (?, ?)", (chat, text))


def delete(folder: Path, chat: str) -> None:
    """Delete a conversation permanently."""
    with _database(folder) as db:
        db.execute("DELETE FROM steps WHERE chat = ?", (chat,))
        db.execute("DELETE FROM chats WHERE id = ?", (chat,))
    saver(folder).delete_thread(chat)


@cache
def saver(folder: Path) -> SqliteSaver:
    """LangGraph's checkpointer: saves the messages and the calls that wait for approval."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    return SqliteSaver(_connect(_file(folder)))


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The connection of this process, for one transaction; safe in any thread."""
    db, lock = _open(folder)
    with lock, db:
        yield db


@cache
def _open(folder: Path) -> tuple[sqlite3.Connection, threading.Lock]:
    db = _connect(_file(folder))
    db.executescript(_SCHEMA)
    return db, threading.Lock()


@cache
def _file(folder: Path) -> Path:
    """The database's path; a damaged file is moved aside, and a new one is created."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "conversations.db"
    try:
        with _opening, closing(_connect(file)) as db:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, or the folder cannot be written
            raise
        for part in [file, *folder.glob(f"{file.name}-*")]:  # the logs of the damaged one, too
            part.replace(part.with_name(f"{part.name}.damaged"))
        log.warning("The conversations were damaged (%s): moved to %s.damaged", error, file.name)
    return file


def _connect(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=WAIT, check_same_thread=False)
    db.execute("PRAGMA synchronous = NORMAL")  # safe in a crash with the write-ahead log
    return db
