"""How large a generated project may be: its code, its files, its functions, its tests.

`python tests/support/budgets.py FOLDER` prints the table of a generated project.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LONGEST_FILE = 250
LONGEST_FUNCTION = 25  # from `def` to its last line
MOST_TESTS = 0.8  # lines of tests for each line of code
SERVER = "tests/mistral_server.py"  # the test server that the templates share
LONGEST_SERVER = 250
DOCUMENTED = "os._exit"  # private by its name only


@dataclass(frozen=True)
class Budget:
    """The most lines and files of a template's code, and lines of tests for each line of it."""

    lines: int
    files: int
    tests: float = MOST_TESTS


@dataclass(frozen=True)
class Exemption:
    """A file (`app.py`) or a function (`app.py:build`) that may be longer, and why."""

    where: str
    lines: int
    reason: str


# A template that needs more room raises a number, with its reason beside it.
BUDGETS = {
    # Issue 13 aims at 2,600 lines in 20 files. Without its document readers and the download of web
    # pages (issue 15 brings libraries for them) it is there; their tests count here in full.
    # 25 lines more read a `.env` in any encoding, and in all three plumbing/guard.py (250 lines)
    # decides who may use a page, and is attacked in tests (issue 14).
    "rag-app": Budget(lines=3110, files=22, tests=0.87),
    # Trust: downloads as copies, approvals by call, and SQL in a process of its own are files.
    "agent": Budget(lines=4350, files=30, tests=0.85),
    # Issue 13 aims at 5,200 lines in 24 files. What is above it is safety that teams feel: exact
    # resume, evaluations that go on after a stop, checks with file and line, a fix for each error;
    # 75 lines are generated patterns of keys (issue 14). Some 100 use, name or refuse every column
    # of a row (`tune/conversations.py`): else teams train on answers without their context,
    # and on bad answers as good ones.
    "fine-tune": Budget(lines=7050, files=36),
}
EXEMPTIONS: tuple[Exemption, ...] = ()


@dataclass(frozen=True)
class Row:
    """One line of the table: what was counted, how much there is, and how much there may be."""

    what: str
    count: int
    most: int

    @property
    def over(self) -> bool:
        return self.count > self.most


@dataclass(frozen=True)
class Size:
    """The lines of a project's files and functions, by `app.py` and `app.py:build`."""

    code: Mapping[str, int]
    functions: Mapping[str, int]
    tests: Mapping[str, int]
    private: tuple[str, ...]  # places where a test uses a private name


def measure(folder: Path) -> Size:
    """Count a generated project: the .py files below its folder, without its environment."""
    paths = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*.py"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    code = {name: path for name, path in paths.items() if not name.startswith("tests/")}
    tests = {name: path for name, path in paths.items() if name not in code}
    return Size(
        code={name: _lines(path) for name, path in code.items()},
        functions=dict(_functions(code)),
        tests={name: _lines(path) for name, path in tests.items()},
        private=tuple(place for name, path in tests.items() for place in _private(name, path)),
    )


def table(template: str, size: Size, exemptions: tuple[Exemption, ...] = EXEMPTIONS) -> list[Row]:
    """Compare a project with the budget of its template: totals first, then what is too long."""
    allowed = {each.where: each.lines for each in exemptions}
    budget, lines = BUDGETS[template], sum(size.code.values())
    rows = [
        Row("lines of code", lines, budget.lines),
        Row("files of code", len(size.code), budget.files),
        Row("lines of tests", sum(size.tests.values()), int(lines * budget.tests)),
        Row(f"lines of {SERVER}", size.tests.get(SERVER, 0), LONGEST_SERVER),
        Row("private names in tests", len(size.private), 0),
    ]
    for counts, most in ((size.code, LONGEST_FILE), (size.functions, LONGEST_FUNCTION)):
        sizes = [Row(where, count, allowed.get(where, most)) for where, count in counts.items()]
        longest = max(sizes, key=lambda row: row.count)
        rows += [row for row in sizes if row.over or row is longest]
    return rows


def needed(exemption: Exemption, size: Size) -> bool:
    """Return whether the file or function would be too long without its exemption."""
    where = exemption.where
    most = LONGEST_FUNCTION if ":" in where else LONGEST_FILE
    return {**size.code, **size.functions}.get(where, 0) > most


def shown(rows: list[Row], private: tuple[str, ...] = ()) -> str:
    """Write the table, with a mark at each row that is over its budget."""
    width = max(len(row.what) for row in rows)
    lines = [
        f"{row.what:{width}} {row.count:6} of {row.most:5}{'  over' if row.over else ''}"
        for row in rows
    ]
    return "\n".join((*lines, *private))


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _functions(paths: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    for name, path in paths.items():
        for scope, node in _definitions(ast.parse(path.read_text("utf-8"))):
            yield f"{name}:{scope}", (node.end_lineno or 0) - node.lineno + 1


def _definitions(
    tree: ast.AST, scope: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield all functions with their names, such as `Class.method` or `outer.inner`."""
    for node in ast.iter_child_nodes(tree):
        inner = scope
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{scope}.{node.name}".removeprefix(".")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner, node
        yield from _definitions(node, inner)


def _private(name: str, path: Path) -> Iterator[str]:
    """Yield the places where a test uses a private name of what it imports."""
    tree = ast.parse(path.read_text("utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(each.asname or each.name).split(".")[0] for each in node.names}
    found = [
        (getattr(node, "lineno", 0), used)
        for node in ast.walk(tree)
        for used in _private_names(node, imported)
    ]
    yield from (f"{name}:{line}: {used}" for line, used in sorted(found) if used != DOCUMENTED)


def _private_names(node: ast.AST, imported: set[str]) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [each.name for each in node.names if _is_private(each.name)]
    if isinstance(node, ast.Attribute):
        root = ast.unparse(node).split(".")[0].split("(")[0]
        return [ast.unparse(node)] if root in imported and _is_private(node.attr) else []
    # Names as texts, for monkeypatch, getattr and mock.patch.
    if isinstance(node, ast.Call) and re.search(r"(attr|patch)$", ast.unparse(node.func)):
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        names = [text for text in texts if isinstance(text, str)]
        return [text for text in names if _is_private(text.rpartition(".")[2])]
    return []


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _main(folder: Path) -> int:
    answers = (folder / ".hackkit.yml").read_text("utf-8")
    template = re.search(r"^template: (\S+)", answers, re.MULTILINE)
    if not template:
        raise SystemExit(f"{folder} does not name its template")
    size = measure(folder)
    rows = table(template[1], size)
    print(shown(rows, size.private))  # noqa: T201 - this is what the command is for
    return int(any(row.over for row in rows))


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
