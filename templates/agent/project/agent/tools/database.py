"""The SQLite databases in data/: lists their tables and answers queries, read-only."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

from agent.settings import SETTINGS
from agent.tools import ToolError, tool
from agent.tools._results import SECONDS, fitting, shortened

ENDINGS = {".db", ".sqlite", ".sqlite3"}
CELL_CHARS = 200
STEPS = 10_000  # of SQLite's virtual machine between two checks of the time limit
READING = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
UNSAFE = {"load_extension", "fts3_tokenizer"}  # functions that can run code in this process
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,  # bytes of a value
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}


@tool
def list_tables() -> str:
    """List the databases with their tables, columns, row counts, and one row of each table.

    Use it before the first query, so that its names are right.
    """
    lines = []
    for file in _files():
        try:
            with _opened(file, SECONDS) as db:
                tables = [_described(db, *table) for table in _tables(db).items()]
            lines += [f"{file.name}:", *chain.from_iterable(tables)]
        except sqlite3.Error as error:
            lines.append(f"{file.name} could not be read: {error}")
    shown = fitting(lines)
    more = [f"… and {len(lines) - len(shown)} more lines"] if len(shown) < len(lines) else []
    return "\n".join([*shown, *more]) or "There are no databases."


@tool
def query_database(sql: str, database: str = "") -> str:
    """Query a database with one SELECT in SQLite's SQL; it is read-only.

    `database` is a name from list_tables; leave it out if there is only one. Count, sum and sort
    in SQL, and select few columns: long results are cut.
    """
    return query(_file(database), sql)


def query(
    file: Path, sql: str, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
) -> str:
    """The rows as lines of text below a line of column names. Raises ToolError."""
    try:
        with _opened(file, seconds, clock) as db:
            tables = _tables(db)
            db.set_authorizer(_permit)
            try:
                return _answer(db.execute(sql))
            except (sqlite3.Error, sqlite3.Warning) as error:
                raise ToolError(_explained(error, tables, seconds)) from error
    except sqlite3.Error as error:
        raise ToolError(f"{file.name} could not be read: {error}.") from error


def _files() -> list[Path]:
    files = (file for file in SETTINGS.databases.glob("[!.]*") if file.is_file())
    return sorted(file for file in files if file.suffix.lower() in ENDINGS)


def _file(database: str) -> Path:
    """The database of this name; without a name the only one. Raises ToolError."""
    files = _files()
    if not database.strip() and len(files) == 1:
        return files[0]
    for file in files:
        if database.strip().lower() in (file.name.lower(), file.stem.lower()):
            return file
    names = ", ".join(file.name for file in files)
    raise ToolError(f"Name one of the databases: {names}." if files else "There are no databases.")


@contextmanager
def _opened(
    file: Path, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[sqlite3.Connection]:
    """A read-only connection with a time limit."""
    end = clock() + seconds
    address = f"{file.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as db:
        for limit, most in LIMITS.items():
            db.setlimit(limit, most)
        db.text_factory = lambda data: data.decode(errors="replace")
        db.set_progress_handler(lambda: clock() > end, STEPS)
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')")  # `_permit` denies a first use
        yield db


def _permit(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """SQLite's authorizer: called for each part of a statement before it runs."""
    allowed = action in READING
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second not in UNSAFE
    if action == sqlite3.SQLITE_PRAGMA:  # full-text search checks whether the file has changed
        allowed = first == "data_version" and second is None
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _tables(db: sqlite3.Connection) -> dict[str, str]:
    """The tables and views, each with its columns, their types and their foreign keys."""
    named = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND sql != ''"
    return {name: ", ".join(_columns(db, name)) for (name,) in db.execute(named).fetchall()}


def _columns(db: sqlite3.Connection, table: str) -> Iterator[str]:
    keys = db.execute('SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)', (table,))
    targets = {column: f" → {other}.{key}" if key else f" → {other}" for column, other, key in keys}
    with suppress(sqlite3.OperationalError):  # a view of a table that does not exist any more
        shown = "SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden != 1"
        for name, kind in db.execute(shown, (table,)):
            yield f"{name} {kind}".strip() + targets.get(name, "")


def _described(db: sqlite3.Connection, table: str, columns: str) -> list[str]:
    """A table's columns, its row count, and the first row as an example."""
    quoted, rows, first = table.replace('"', '""'), "?", None
    with suppress(sqlite3.Error):  # a very large table, or a broken view as above
        first = db.execute(f'SELECT * FROM "{quoted}" LIMIT 1').fetchone()
        rows = db.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0]
    example = [f"  for example: {_line(first)}"] if first else []
    return [f"{table} ({rows} rows): {columns}", *example]


def _answer(cursor: sqlite3.Cursor) -> str:
    """The first rows of a result, and a line that says whether there are more."""
    if cursor.description is None:
        raise ToolError("This is not a query: write one SELECT.")
    names = _line([column[0] for column in cursor.description])
    lines = [_line(row) for row in islice(cursor, SETTINGS.rows + 1)]
    shown = fitting([names, *lines[: SETTINGS.rows]])
    if len(shown) <= len(lines):
        note = f"Only the first {len(shown) - 1} rows: narrow the query, or count and sum in SQL."
    else:
        note = f"All rows: {len(lines)}"
    return "\n".join([*shown, note])


def _line(row: Sequence[object]) -> str:
    return " | ".join(map(_cell, row))


def _cell(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bytes():
            return f"({len(value):,} bytes)"
        case float():
            return f"{value:.12g}"
    return shortened(" ".join(str(value).split()), CELL_CHARS)


def _explained(
    error: sqlite3.Error | sqlite3.Warning, tables: Mapping[str, str], seconds: float
) -> str:
    """The problem with a query, and how to fix it."""
    problem = str(error).rstrip(".")
    if "interrupted" in problem:
        return f"The query took longer than {seconds:g} seconds: narrow the query."
    if "authoriz" in problem:  # "not authorized", "authorization denied"
        return f"Only reading is allowed: write one SELECT, no PRAGMA, no ATTACH ({problem})."
    if "one statement" in problem:
        return "Send one statement at a time."
    lines = fitting(f"{name}: {columns}" for name, columns in tables.items())
    return "\n".join([f"SQLite says: {problem}. The tables:", *lines])
