"""The SQLite databases in data/: lists their tables and answers queries, read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent import sandbox
from agent.settings import SETTINGS
from agent.tools import ToolError, fitting, tool


@tool
def list_tables() -> str:
    """List the databases with their tables: the columns, the row count, and one row of each.

    Use it before the first query, so that its names are right.
    """
    lines = []
    for file in sandbox.databases():
        try:
            with sandbox.read_only(file) as db:
                lines += [f"{file.name}:", *_tables(db)]
        except ToolError as error:  # the other databases are listed all the same
            lines.append(str(error))
    return "\n".join(fitting(lines)) or "There are no databases."


@tool
def query_database(sql: str, database: str = "") -> str:
    """Query a database with one SELECT in SQLite's SQL; it is read-only.

    `database` is a name from list_tables; leave it out if there is only one. Count, sum and sort
    in SQL, and select few columns: long results are cut.
    """
    return query(sandbox.database(database), sql)


def query(file: Path, sql: str, **limits: Any) -> str:
    """The rows as lines of text below a line of column names. Raises ToolError."""
    with sandbox.read_only(file, **limits) as db:
        cursor = db.execute(sql)
        if cursor.description is None:
            raise ToolError("This is not a query: write one SELECT.")
        names = " | ".join(column[0] for column in cursor.description)
        rows = cursor.fetchmany(SETTINGS.rows + 1)
    lines = [" | ".join(map(_cell, row)) for row in rows]
    shown = fitting([names, *lines[: SETTINGS.rows]])
    cut = f"Only the first {len(shown) - 1} rows: narrow the query, or count and sum in SQL."
    return "\n".join([*shown, cut if len(shown) <= len(lines) else f"All rows: {len(lines)}"])


def _tables(db: sqlite3.Connection) -> Iterator[str]:
    """Each table as SQL, with the number of its rows and an example."""
    for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql != ''").fetchall():
        yield " ".join(sql.split())
        with suppress(sqlite3.Error):  # an index, or a view of a table that is gone
            [count] = db.execute(f"SELECT count(*) FROM [{name}]").fetchone()
            for row in db.execute(f"SELECT * FROM [{name}] LIMIT 1"):
                yield f"  {count} rows, for example: {' | '.join(map(_cell, row))}"


def _cell(value: object) -> str:
    if isinstance(value, bytes | None):
        return "NULL" if value is None else f"({len(value):,} bytes)"
    text = f"{value:.12g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:199]}…"
