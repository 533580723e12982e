import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.sandbox import query
from agent.settings import SETTINGS
from agent.tools import ToolError
from agent.tools.database import list_tables, query_database

SHOP = """
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL);
CREATE TABLE orders (id INTEGER UNIQUE, product_id INTEGER REFERENCES products (id), status TEXT);
INSERT INTO products VALUES (1, 'Earl Grey', 'tea', 9.2), (2, 'Decaf', 'coffee', 15.9);
WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
INSERT INTO orders SELECT x, 1 + x % 2, 'open' FROM n;
"""
PARTS = """
CREATE TABLE parts (id, data, note);
INSERT INTO parts VALUES (1, x'00ff', NULL);
INSERT INTO parts VALUES (1.10000000000001, 'a' || char(10) || 'b', hex(zeroblob(999)));
CREATE VIRTUAL TABLE notes USING fts5(body);
INSERT INTO notes VALUES ('green tea');
CREATE VIEW broken AS SELECT * FROM gone;
"""


def ask(sql: str, database: str = "") -> str:
    return query_database.invoke({"sql": sql, "database": database})


@pytest.fixture(autouse=True)
def shop(tmp_path: Path) -> Iterator[Path]:
    """The only database, in place of your own ones."""
    folder, aside = SETTINGS.databases, tmp_path / "aside"
    shutil.move(folder, aside)
    folder.mkdir()
    make(folder / "shop.db", SHOP)
    yield folder / "shop.db"
    shutil.rmtree(folder)
    shutil.move(aside, folder)


@pytest.fixture
def second(shop: Path) -> Path:
    """A second database."""
    return make(shop.with_name("parts.sqlite"), PARTS)


def make(file: Path, script: str) -> Path:
    with closing(sqlite3.connect(file)) as db:
        db.executescript(f"BEGIN; {script} COMMIT;")  # one transaction, so one write to the disk
    return file


# What is refused


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO products VALUES (9, 'x', 'x', 1)",
        "UPDATE products SET price = 0",
        "DELETE FROM orders",
        "WITH x AS (SELECT 9) INSERT INTO orders SELECT 9, 1, 'open' FROM x",
        "DROP TABLE orders",
        "CREATE TEMP TABLE mine (x)",
        "ALTER TABLE orders RENAME TO mine",
        "ATTACH DATABASE 'mine.db' AS mine",
        "VACUUM INTO 'mine.db'",
        "PRAGMA query_only = OFF",
        "SELECT * FROM pragma_database_list",
        "BEGIN IMMEDIATE",
        "ANALYZE",
    ],
)
def test_only_reading_is_allowed(shop: Path, sql: str) -> None:
    before = shop.read_bytes()
    with pytest.raises(ToolError, match="Only reading is allowed"):
        ask(sql)
    assert shop.read_bytes() == before
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT load_extension('mine')", "Only reading is allowed|no such function"),
        ("SELECT fts3_tokenizer('simple')", "Only reading is allowed|no such function"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT zeroblob(1000000000)", "too big"),
        ("SELECT nme FROM products", "no such column: nme. list_tables shows"),
        ("SELEC 1", "syntax error"),
        ("", "not a query"),
        ("-- nothing", "not a query"),
    ],
)
def test_a_query_that_cannot_run_says_why(sql: str, problem: str) -> None:
    with pytest.raises(ToolError, match=problem):
        ask(sql)


LONG = "hex(zeroblob(4000000))"


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM orders, orders, orders, orders, orders",
        f"SELECT instr({LONG}, substr({LONG}, 4000000) || '1')",  # nothing in it can be interrupted
        f"SELECT replace({LONG}, substr({LONG}, 4000000) || '1', '')",
    ],
)
def test_an_endless_query_is_given_up(shop: Path, sql: str) -> None:
    with pytest.raises(ToolError, match="longer than 0.5 seconds"):
        query(shop, sql, 0.5)


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT {', '.join([LONG] * 99)}",
        f"SELECT {LONG} AS x FROM orders ORDER BY x",
    ],
)
def test_a_query_cannot_fill_the_memory(sql: str) -> None:
    with pytest.raises(ToolError, match="too much memory|out of memory|too big"):
        ask(sql)


@pytest.mark.parametrize("name", ["../shop.db", "/etc/passwd", "file:shop.db?mode=rw", ".hidden"])
def test_a_database_is_chosen_by_name_and_not_by_path(shop: Path, name: str) -> None:
    with pytest.raises(ToolError, match=r"Name one of the databases: shop\.db"):
        ask("SELECT 1", name)


# What it does


def test_tables_are_listed_as_sql_with_their_counts_and_an_example(shop: Path) -> None:
    lines = list_tables.invoke({}).splitlines()
    assert lines[0] == "shop.db:"
    assert lines[1].startswith("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT")
    assert lines[2] == "  2 rows, for example: 1 | Earl Grey | tea | 9.2"
    assert "REFERENCES products (id)" in lines[3]
    assert lines[4] == "  2000 rows, for example: 1 | 2 | open"


def test_a_query_gives_a_table_and_the_count_of_its_rows(shop: Path) -> None:
    result = ask(
        "SELECT category, count(*) AS n FROM products GROUP BY category ORDER BY category;"
    )
    assert result == "category | n\ncoffee | 1\ntea | 1\nAll rows: 2"


def test_a_long_result_is_cut_and_says_so(shop: Path) -> None:
    *rows, last = ask("SELECT id FROM orders").splitlines()
    assert len(rows) == SETTINGS.rows + 1
    assert last.startswith(f"Only the first {SETTINGS.rows} rows")


def test_of_several_databases_one_must_be_named(second: Path) -> None:
    with pytest.raises(ToolError, match=r"parts\.sqlite, shop\.db"):
        ask("SELECT 1")
    assert ask("SELECT count(*) AS n FROM products", "Shop").startswith("n\n2\n")


def test_values_of_all_kinds_fit_on_a_line(second: Path) -> None:
    _, first, next_row, _ = ask("SELECT * FROM parts", second.name).splitlines()
    assert first == "1 | (2 bytes) | NULL"
    assert next_row.startswith("1.1 | a b | 000") and len(next_row) < 250


def test_json_and_full_text_search_work(second: Path) -> None:
    assert "\n6\n" in ask("SELECT sum(value) FROM json_each('[1, 2, 3]')", second.name)
    assert "\ngreen tea\n" in ask("SELECT body FROM notes('tea')", second.name)


def test_a_broken_view_does_not_hide_the_other_tables(second: Path) -> None:
    result = list_tables.invoke({})
    assert "CREATE VIEW broken" in result and "2 rows, for example: 1 | (2 bytes)" in result


def test_a_file_that_is_not_a_database_says_so(shop: Path) -> None:
    shop.with_name("broken.db").write_text("no database" * 100)
    assert "broken.db: file is not a database" in list_tables.invoke({})
    with pytest.raises(ToolError, match="file is not a database"):
        ask("SELECT 1", "broken")


def test_without_a_database_nothing_breaks(shop: Path) -> None:
    shop.unlink()
    assert list_tables.invoke({}) == "There are no databases."
    with pytest.raises(ToolError, match="There are no databases"):
        ask("SELECT 1")
