import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from agent.settings import SETTINGS
from agent.tools import ToolError
from agent.tools.database import list_tables, query, query_database

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
        "WITH x AS (SELECT 1) DELETE FROM orders",
        "DROP TABLE orders",
        "CREATE TABLE mine (x)",
        "CREATE TEMP TABLE mine (x)",
        "ALTER TABLE orders RENAME TO mine",
        "REPLACE INTO products VALUES (1, 'x', 'x', 1)",
        "ATTACH DATABASE 'mine.db' AS mine",
        "DETACH DATABASE main",
        "VACUUM",
        "VACUUM INTO 'mine.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA journal_mode = WAL",
        "SELECT * FROM pragma_database_list",
        "BEGIN IMMEDIATE",
        "SAVEPOINT mine",
        "REINDEX",
        "ANALYZE",
    ],
)
def test_only_reading_is_allowed(shop: Path, sql: str) -> None:
    before = shop.read_bytes()
    with pytest.raises(ToolError, match="Only reading is allowed"):
        ask(sql)
    assert shop.read_bytes() == before
    assert [path.name for path in shop.parent.iterdir()] == ["shop.db"]


@pytest.mark.parametrize("call", ["load_extension('mine')", "fts3_tokenizer('simple')"])
def test_functions_that_run_code_are_refused(call: str) -> None:
    with pytest.raises(ToolError, match="Only reading is allowed|no such function"):
        ask(f"SELECT {call}")


@pytest.mark.parametrize("second", ["SELECT 2", "DELETE FROM orders"])
def test_two_statements_are_refused(shop: Path, second: str) -> None:
    before = shop.read_bytes()
    with pytest.raises(ToolError, match="one statement at a time"):
        ask(f"SELECT 1; {second}")
    assert shop.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM orders, orders, orders, orders, orders",
    ],
)
def test_an_endless_query_is_given_up(shop: Path, sql: str) -> None:
    looks = count()  # each look at the clock is a second later than the last
    with pytest.raises(ToolError, match="longer than 3 seconds"):
        query(shop, sql, seconds=3, clock=lambda: next(looks))
    assert next(looks) < 10


def test_an_endless_result_is_cut(shop: Path) -> None:
    result = ask("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n")
    assert f"Only the first {SETTINGS.rows} rows" in result


def test_a_huge_value_is_refused(shop: Path) -> None:
    with pytest.raises(ToolError, match="too big"):
        ask("SELECT zeroblob(1000000000)")


@pytest.mark.parametrize("name", ["../shop.db", "/etc/passwd", "file:shop.db?mode=rw", ".hidden"])
def test_a_database_is_chosen_by_name_and_not_by_path(shop: Path, name: str) -> None:
    with pytest.raises(ToolError, match=r"Name one of the databases: shop\.db"):
        ask("SELECT 1", name)


# What it does


def test_tables_are_listed_with_columns_links_counts_and_an_example(shop: Path) -> None:
    result = list_tables.invoke({})
    assert result.splitlines() == [
        "shop.db:",
        "products (2 rows): id INTEGER, name TEXT, category TEXT, price REAL",
        "  for example: 1 | Earl Grey | tea | 9.2",
        "orders (2000 rows): id INTEGER, product_id INTEGER → products.id, status TEXT",
        "  for example: 1 | 2 | open",
    ]


def test_a_query_gives_a_table_and_the_count_of_its_rows(shop: Path) -> None:
    result = ask(
        "SELECT category, count(*) AS n FROM products GROUP BY category ORDER BY category;"
    )
    assert result == "category | n\ncoffee | 1\ntea | 1\nAll rows: 2"


def test_a_query_may_begin_with_a_comment(shop: Path) -> None:
    assert ask("-- how many?\nSELECT count(*) AS n FROM orders").startswith("n\n2000\n")


def test_a_result_without_rows_says_so(shop: Path) -> None:
    assert ask("SELECT id FROM orders WHERE 0") == "id\nAll rows: 0"


def test_a_long_result_is_cut_and_says_so(shop: Path) -> None:
    *rows, last = ask("SELECT id FROM orders").splitlines()
    assert len(rows) == SETTINGS.rows + 1
    assert last.startswith(f"Only the first {SETTINGS.rows} rows")


def test_a_wide_result_stays_short(shop: Path) -> None:
    long = "hex(zeroblob(400))"
    result = ask(f"SELECT {long}, {long}, {long}, {long}, {long}, {long} FROM orders")
    assert len(result) <= SETTINGS.result_chars
    assert "Only the first" in result


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELECT nme FROM products", "no such column: nme"),
        ("SELECT * FROM product", "no such table: product"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_a_wrong_query_comes_back_with_the_tables(shop: Path, sql: str, problem: str) -> None:
    with pytest.raises(ToolError, match=problem) as caught:
        ask(sql)
    assert "products: id INTEGER, name TEXT" in str(caught.value)


@pytest.mark.parametrize("sql", ["", "-- nothing", "   "])
def test_an_empty_query_is_refused(shop: Path, sql: str) -> None:
    with pytest.raises(ToolError, match="not a query"):
        ask(sql)


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
    assert "broken (? rows)" in result and "parts (2 rows)" in result


def test_a_file_that_is_not_a_database_says_so(shop: Path) -> None:
    shop.with_name("broken.db").write_text("no database" * 100)
    assert "broken.db could not be read: file is not a database" in list_tables.invoke({})
    with pytest.raises(ToolError, match="file is not a database"):
        ask("SELECT 1", "broken")


def test_without_a_database_nothing_breaks(shop: Path) -> None:
    shop.unlink()
    assert list_tables.invoke({}) == "There are no databases."
    with pytest.raises(ToolError, match="There are no databases"):
        ask("SELECT 1")
