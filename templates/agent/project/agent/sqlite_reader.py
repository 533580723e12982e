"""Reads a SQLite database in a process of its own, which ends when its time is up.

SQLite cannot interrupt a single function, such as `replace` on a long text. `ask` starts this file
as a program, which imports nothing of the app: it reads JSON and prints JSON.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from itertools import islice
from typing import Any

TOO_LATE = 3  # the exit code when the time is up
CELL = 200  # characters of a value that are shown
MEMORY = 200_000_000  # bytes
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,  # bytes of a value
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}
READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
LOADING = (  # `_permit` would refuse the first use of functions and tables that are virtual
    "SELECT 1 FROM json_each('[]'), json_tree('[]')",
    "SELECT 1 FROM sqlite_master t, pragma_table_info(t.name) WHERE t.type = 'table'",
)
UNSAFE = {"load_extension", "fts3_tokenizer"}  # functions that can run code in this process


def ask(address: str, sql: str, rows: int, seconds: float) -> dict[str, Any]:
    """The answer to a query: its `names` and `rows`, or the `problem`; without SQL the tables.

    Raises TimeoutError.
    """
    asked = json.dumps({"address": address, "sql": sql, "rows": rows, "seconds": seconds})
    command = [sys.executable, "-I", "-S", __file__]
    done = subprocess.run(command, input=asked.encode(), capture_output=True)
    if done.returncode == TOO_LATE:
        raise TimeoutError
    return json.loads(done.stdout) if done.stdout else {"problem": "the query broke SQLite"}


def _answer(address: str, sql: str, rows: int) -> dict[str, Any]:
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
            _limit(db)
            return _query(db, sql, rows) if sql else {"rows": _tables(db)}
    except (sqlite3.Error, sqlite3.Warning, MemoryError) as error:
        return {"problem": str(error).rstrip(".") or "it needs too much memory"}


def _limit(db: sqlite3.Connection) -> None:
    for limit, most in LIMITS.items():
        db.setlimit(limit, most)
    db.text_factory = lambda data: data.decode(errors="replace")
    settings = f"hard_heap_limit = {MEMORY}", "temp_store = MEMORY", "query_only = ON"
    for sql in (*(f"PRAGMA {setting}" for setting in settings), *LOADING):
        db.execute(sql).fetchall()
    db.set_authorizer(_permit)


def _permit(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite's authorizer: called for each part of a statement before it runs."""
    allowed = action in READING
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second not in UNSAFE
    if action == sqlite3.SQLITE_PRAGMA:  # full-text search checks whether the file has changed
        allowed = first == "data_version" and second is None
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _query(db: sqlite3.Connection, sql: str, rows: int) -> dict[str, Any]:
    cursor = db.execute(sql)
    names = [column[0] for column in cursor.description or ()]
    return {"names": names, "rows": [_row(row) for row in islice(cursor, rows)]}


def _tables(db: sqlite3.Connection) -> list[str]:
    """Each table as SQL, with the number of its rows and an example."""
    lines = []
    for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql != ''").fetchall():
        lines.append(" ".join(sql.split()))
        with suppress(sqlite3.Error):  # an index, or a view of a table that is gone
            [count] = db.execute(f"SELECT count(*) FROM [{name}]").fetchone()
            example = db.execute(f"SELECT * FROM [{name}] LIMIT 1").fetchone()
            lines += [f"  {count} rows, for example: {_row(example)}"] if example else []
    return lines


def _row(values: tuple[object, ...]) -> str:
    return " | ".join(map(_cell, values))


def _cell(value: object) -> str:
    if isinstance(value, bytes | None):
        return "NULL" if value is None else f"({len(value):,} bytes)"
    text = f"{value:.12g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"


if __name__ == "__main__":
    asked = json.loads(sys.stdin.buffer.read())
    clock = threading.Timer(asked.pop("seconds"), os._exit, [TOO_LATE])
    clock.daemon = True
    clock.start()
    print(json.dumps(_answer(**asked)), flush=True)
    os._exit(0)
