"""The SQLite databases in data/: lists their tables and answers queries, read-only."""

from __future__ import annotations

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
            lines += [f"{file.name}:", *sandbox.query(file, "")[1]]
        except ToolError as error:  # the other databases are listed all the same
            lines.append(str(error))
    return "\n".join(fitting(lines)) or "There are no databases."


@tool
def query_database(sql: str, database: str = "") -> str:
    """Query a database with one SELECT in SQLite's SQL; it is read-only.

    `database` is a name from list_tables; leave it out if there is only one. Count, sum and sort
    in SQL, and select few columns: long results are cut.
    """
    names, rows = sandbox.query(sandbox.database(database), sql.strip() or ";")
    if not names:
        raise ToolError("This is not a query: write one SELECT.")
    shown = fitting([" | ".join(names), *rows[: SETTINGS.rows]])
    cut = f"Only the first {len(shown) - 1} rows: narrow the query, or count and sum in SQL."
    return "\n".join([*shown, cut if len(shown) <= len(rows) else f"All rows: {len(rows)}"])
