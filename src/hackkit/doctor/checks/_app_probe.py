"""Reads a project's Python files, then imports its app.py: run by the project's own Python.

The check `app` starts it as `python -P _app_probe.py FOLDER`. It uses only the standard library and
prints one line of JSON, whose `kind` is the first of these that is true:

- `broken`: a file is not valid Python
- `missing`: modules are not installed
- `starts`: importing app.py would start a server, so it is not imported
- `stopped`: the import raised SystemExit
- `failed`: the import raised another error
- `fine`: the import succeeded

`strays` are broken files that the app does not import.
"""

import ast
import importlib
import importlib.util
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from os import environ
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

_SERVES = re.compile(r"\.(launch|serve_forever)$|^uvicorn\.run$")
_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NOT_CODE = {"__pycache__", "node_modules", "docs", "index", "venv"}
_MOST_FILES = 2000


class _ServerStarted(BaseException):
    """Raised when the app would start to listen on a port."""


class Reader:
    """The files that a file imports, directly or not; `walk` yields the nodes to look at."""

    def __init__(self, root: Path, walk: Callable[[ast.AST], Iterator[ast.AST]]) -> None:
        self.root = root
        self.walk = walk
        self.trees: dict[Path, ast.Module] = {}

    def follow(self, path: Path) -> None:
        """Read a file and every file of the project that it imports. Raises SyntaxError."""
        if path in self.trees or len(self.trees) > _MOST_FILES:
            return
        self.trees[path] = tree = _parse(path)
        for node in self.walk(tree):
            for name in _imported(node, path.relative_to(self.root).parts[:-1]):
                for found in self._files(name):
                    self.follow(found)

    def missing(self) -> dict[str, tuple[str, int]]:
        """Return the third-party modules that are not installed, and where they are imported."""
        places: dict[str, tuple[str, int]] = {}
        for path, tree in self.trees.items():
            for node in self.walk(tree):
                for name in _imported(node, None):
                    place = (_relative(str(path), self.root), getattr(node, "lineno", 1))
                    places.setdefault(name.split(".")[0], place)
        return {name: place for name, place in places.items() if not _is_there(name)}

    def _files(self, name: str) -> Iterator[Path]:
        place = self.root
        for part in name.split("."):
            for found in (place / f"{part}.py", place / part / "__init__.py"):
                if found.is_file():
                    yield found
            place /= part


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except ValueError as error:  # a null byte, in some Pythons
        raise SyntaxError(str(error), (str(path), 1, 1, "")) from error


def _launch(tree: ast.Module) -> int:
    """Return the line that starts a server when the file is imported, or 0."""
    starters = {
        each.name
        for each in tree.body
        if isinstance(each, ast.FunctionDef) and any(map(_serves, ast.walk(each)))
    }
    for node in _at_import(tree):
        if isinstance(node, ast.Call) and (ast.unparse(node.func) in starters or _serves(node)):
            return node.lineno
    return 0


def _imported(node: ast.AST, package: tuple[str, ...] | None) -> Iterator[str]:
    """Yield the modules that a statement may import; without a package, only absolute ones."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not (node.level and package is None):
        above = (package or ())[: len(package or ()) + 1 - node.level] if node.level else ()
        name = ".".join([*above, *([node.module] if node.module else [])])
        yield from ([name] if name else [])
        if package is not None:
            yield from (".".join(filter(None, [name, alias.name])) for alias in node.names)


def _at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a file is imported, except those whose errors it handles."""
    for node in ast.iter_child_nodes(tree):
        guarded = (isinstance(node, ast.Try | ast.TryStar) and bool(node.handlers)) or (
            isinstance(node, ast.With) and "suppress(" in ast.unparse(node)
        )
        condition = ast.unparse(node.test) if isinstance(node, ast.If) else ""
        never = "__name__" in condition or "TYPE_CHECKING" in condition
        if not (guarded or never or isinstance(node, _LATER)):
            yield node
            yield from _at_import(node)


def _serves(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and bool(_SERVES.search(ast.unparse(node.func)))


def _is_there(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True  # unclear: the import itself will show it


def probe(root: Path) -> dict[str, Any]:
    """Read the project's files, then import app.py."""
    app = root / "app.py"
    all_files, needed = Reader(root, ast.walk), Reader(root, _at_import)
    try:
        all_files.follow(app)
        needed.follow(app)
    except SyntaxError as error:
        return _broken(error, root)
    strays = [_broken(error, root) for error in _strays(all_files)]
    read = {"strays": strays, "files": len(all_files.trees)}
    missing = needed.missing()
    if missing:
        file, number = next(iter(missing.values()))
        return read | {"kind": "missing", "names": list(missing), "file": file, "line": number}
    line = _launch(needed.trees[app])
    if line:
        return read | {"kind": "starts", "file": "app.py", "line": line}
    return read | _import(root)


def _broken(error: SyntaxError, root: Path) -> dict[str, Any]:
    file = _relative(error.filename or "", root)
    return {"kind": "broken", "file": file, "line": error.lineno or 1, "message": error.msg}


def _strays(reader: Reader) -> Iterator[SyntaxError]:
    seen = 0
    for folder, folders, files in os.walk(reader.root):
        folders[:] = [name for name in folders if name[0] != "." and name not in _NOT_CODE]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".py" and path not in reader.trees and seen < _MOST_FILES:
                seen += 1
                try:
                    _parse(path)
                except SyntaxError as error:
                    yield error


def _import(root: Path) -> dict[str, Any]:
    environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    sys.addaudithook(_refuse_to_listen)
    try:
        importlib.import_module("app")
    except _ServerStarted as error:
        return {"kind": "starts", **_where(error.__traceback__, root)}
    except SystemExit as error:
        return {"kind": "stopped", "message": str(error.code)}
    except BaseException as error:  # noqa: BLE001 - the check reports it, whatever it is
        message = traceback.format_exception_only(error)[-1].strip()
        message = message.replace(f"{root}{os.sep}", "")
        name = (isinstance(error, ModuleNotFoundError) and error.name) or ""
        where = _where(error.__traceback__, root)
        if isinstance(error, SyntaxError) and error.filename:
            where = {"file": _relative(error.filename, root), "line": error.lineno or 1}
        names = [top for top in [name.split(".")[0]] if top and not _is_there(top)]
        return {"kind": "failed", "message": message, "names": names, **where}
    return {"kind": "fine"}


def _refuse_to_listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.bind":
        address = arguments[1]
        # Port 0 is for a process's own use: on Windows, every event loop asks for one.
        if isinstance(address, tuple) and address[1] != 0:
            raise _ServerStarted


def _where(trace: TracebackType | None, root: Path) -> dict[str, Any]:
    """Return the last place in the project that a traceback names."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(trace)]
    inside = [(file, line) for file, line in places if _is_code(Path(file), root)]
    file, line = (inside or [("app.py", 1)])[-1]
    return {"file": _relative(file, root), "line": line}


def _is_code(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and ".venv" not in path.relative_to(root).parts


def _relative(file: str, root: Path) -> str:
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file


def main(folder: str) -> NoReturn:
    """Print the result and exit, without waiting for threads that the app has started."""
    warnings.simplefilter("ignore")
    root = Path(folder).resolve()
    sys.path.insert(0, str(root))
    seen = probe(root)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\n" + json.dumps(seen).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
