"""Conversations: saved in one SQLite file, listed, resumed and deleted."""

from __future__ import annotations

import json
import logging
import re
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

from agent.events import Approval, Decision, Event, Task, as_dict, from_dict, pending

if TYPE_CHECKING:  # slow to import: the page is served before LangGraph is loaded
    from langgraph.checkpoint.sqlite import SqliteSaver

log = logging.getLogger(__name__)

WAIT = 30  # seconds to wait for another process's write
PROGRAMS = "programs"  # the owner of what REST starts; the command line's conversations have none
TITLE_CHARS = 70
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS chats (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS steps (
    number INTEGER PRIMARY KEY, chat TEXT NOT NULL, step TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_chat ON steps (chat);
"""
_opening = threading.Lock()  # two threads that turn on the write-ahead log lock each other out


@dataclass(frozen=True)
class Chat:
    """A conversation; `changed` is in seconds since 1970."""

    id: str
    title: str
    changed: float


def new_id() -> str:
    """The name of a new conversation; random, so that it cannot be guessed."""
    return secrets.token_hex(8)


def new_visitor() -> str:
    """The secret name of a browser: it owns the conversations that it starts."""
    return secrets.token_hex(16)


def is_visitor(name: object) -> bool:
    """Whether this can be the name of a browser; "" and PROGRAMS, for example, cannot."""
    return isinstance(name, str) and re.fullmatch(r"[0-9a-f]{16,32}", name) is not None


def is_owner(folder: Path, chat: str, owner: str) -> bool:
    """Whether a conversation is this browser's or a program's; a browser's may also be new."""
    with _database(folder) as db:
        row = db.execute("SELECT owner FROM chats WHERE id = ?", (str(chat),)).fetchone()
    if row is None:
        return bool(chat) and is_visitor(owner)
    return row[0] == owner and (owner == PROGRAMS or is_visitor(owner))


def chats(folder: Path) -> list[Chat]:
    """All conversations, the latest first."""
    return _chats(folder, "")


def chats_of(folder: Path, visitor: str) -> list[Chat]:
    """The conversations that one browser started, the latest first."""
    return _chats(folder, "WHERE owner = ?", visitor) if is_visitor(visitor) else []


def _chats(folder: Path, where: str, *values: str) -> list[Chat]:
    with _database(folder) as db:
        sql = f"SELECT id, title, changed FROM chats {where} ORDER BY changed DESC"
        return [Chat(*row) for row in db.execute(sql, values)]


def waiting(folder: Path) -> dict[str, list[Approval]]:
    """The calls that wait for approval, by conversation."""
    found = {each.id: pending(events(folder, each.id)) for each in chats(folder)}
    return {chat: calls for chat, calls in found.items() if calls}


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


def decide(folder: Path, chat: str, decision: Decision) -> bool:
    """Save a decision; False if the call has one, also of another process: it runs only once."""
    text = json.dumps(as_dict(decision), ensure_ascii=True, default=str)
    with _database(folder) as db:
        added = db.execute(
            "INSERT INTO steps (chat, step) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM steps "
            "WHERE chat = ?1 AND json_extract(step, '$.type') = 'decision' "
            "AND json_extract(step, '$.id') = ?3)",
            (chat, text, decision.id),
        )
        return added.rowcount == 1


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

    made = SqliteSaver(_connect(_file(folder)))
    with _opening:
        made.setup()  # here, not at its first use, which may be in several threads at once
    return made


@contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The connection of this process, for one transaction; safe in any thread."""
    db, lock = _open(folder)
    with lock, db:
        yield db


@cache
def _open(folder: Path) -> tuple[sqlite3.Connection, threading.Lock]:
    db = _connect(_file(folder))
    with _opening:
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
