"""What an app imports, read from its files without running it, and whether it is there."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hackkit.deploy.explain import app_log
from hackkit.deploy.manifest import Order, Outgoing
from hackkit.deploy.rehearsal.stage import Stage

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_HANDLED = {"ImportError", "ModuleNotFoundError", "Exception"}
# Is run by the Python that is to have the modules; says what Python itself would.
_LOOK = (
    "import importlib.util as u, sys\n"
    "missing = [name for name in sys.argv[1:] if u.find_spec(name) is None]\n"
    "for name in missing: print(f\"ModuleNotFoundError: No module named '{name}'\")\n"
    "sys.exit(bool(missing))"
)
_SECONDS = 30.0


def find(stage: Stage, order: Order, python: Path, files: Sequence[Outgoing], script: str) -> None:
    """See as a step of a rehearsal that a Python has all that the script imports.

    Raises HackkitError for what it lacks.
    """
    with stage.step("Find what the app imports") as note:
        wanted = foreign(files, script)
        stage.run(
            *(str(python), "-c", _LOOK, *wanted),
            folder=stage.folder,
            seconds=_SECONDS,
            explain=lambda said: app_log.cause(said, order.context),
        )
        note.outcome = f"{len(wanted)} packages"


def foreign(files: Sequence[Outgoing], start: str) -> tuple[str, ...]:
    """Return the modules of others that a script and the files that it imports ask for.

    Also those that are imported only when they are used; not those that the code can do without,
    nor, when they are used, those that the project lists as an extra.
    """
    sources = {each.path: each for each in files if each.path.endswith(".py")}
    extras = _extras(files)
    found, waiting, seen = set[str](), [start], set[str]()
    while waiting:
        path = waiting.pop()
        if path in seen or path not in sources:
            continue
        seen.add(path)
        for name in _names(sources[path].read(), path, extras):
            own = [each for each in _places(name) if each in sources]
            waiting += own
            top = name.partition(".")[0]
            if not own and not any(each.startswith((f"{top}/", f"{top}.py")) for each in sources):
                found.add(top)
    return tuple(sorted(found - sys.stdlib_module_names))


def _places(name: str) -> list[str]:
    """Return where a module of the app may be; its packages are run, too."""
    parts = name.split(".")
    packages = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return [f"{packages[-1]}.py", *(f"{each}/__init__.py" for each in packages)]


def _extras(files: Sequence[Outgoing]) -> set[str]:
    """Return what pyproject.toml lists as optional, each as the module is usually called."""
    text = next((each.read() for each in files if each.path == "pyproject.toml"), b"")
    try:
        extras = tomllib.loads(text.decode("utf-8"))["project"]["optional-dependencies"]
        lines = [line for extra in extras.values() for line in extra]
        return {re.split(r"[^\w.-]", line, maxsplit=1)[0].replace("-", "_") for line in lines}
    except (ValueError, KeyError, TypeError, AttributeError):  # starting the app tells
        return set()


def _names(source: bytes, path: str, extras: set[str]) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # starting the app tells
        return
    optional = _inside(tree, _is_optional)
    late = _inside(tree, lambda node: isinstance(node, _FUNCTIONS))
    for node in ast.walk(tree):
        if node in optional:
            continue
        spared = extras if node in late else set[str]()
        yield from (name for name in _asked(node, path) if name.partition(".")[0] not in spared)


def _inside(tree: ast.AST, chosen: Callable[[ast.AST], bool]) -> set[ast.AST]:
    return {inner for node in ast.walk(tree) if chosen(node) for inner in ast.walk(node)}


def _asked(node: ast.AST, path: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = path.split("/")[: -node.level] if node.level else []
        whole = ".".join([*base, *filter(None, [node.module])])
        yield from filter(None, [whole])
        yield from (f"{whole}.{alias.name}".lstrip(".") for alias in node.names)


def _is_optional(node: ast.AST) -> bool:
    """Tell whether the code goes on without what is imported in there."""
    if isinstance(node, ast.Try):
        caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type)
        bare = any(each.type is None for each in node.handlers)
        return bare or any(name in caught for name in _HANDLED)
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
