"""Finds what an app imports, without running it, and checks that it is installed."""

import ast
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hackkit.deploy.explain import app_log
from hackkit.deploy.manifest import OutgoingFile
from hackkit.deploy.rehearsal.workspace import Workspace
from hackkit.project.context import Context
from hackkit.project.lockfile import parse_toml
from hackkit.system.wording import counted

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception"}
# Runs in the environment to check; prints the same error as Python itself.
_CHECK = (
    "import importlib.util as u, sys\n"
    "missing = [name for name in sys.argv[1:] if u.find_spec(name) is None]\n"
    "for name in missing: print(f\"ModuleNotFoundError: No module named '{name}'\")\n"
    "sys.exit(bool(missing))"
)
_SECONDS = 30.0


def check(
    workspace: Workspace, context: Context, files: Sequence[OutgoingFile], python: Path, script: str
) -> None:
    """Check as a step of a rehearsal that all imports of the script are installed.

    Raises HackkitError for the first that is missing.
    """
    with workspace.step("Find what the app imports") as outcome:
        wanted = third_party(files, script)
        workspace.run(
            *(str(python), "-c", _CHECK, *wanted),
            folder=workspace.folder,
            seconds=_SECONDS,
            explain=lambda output: app_log.explain(output, context),
        )
        outcome.append(counted(len(wanted), "package"))


def third_party(files: Sequence[OutgoingFile], start: str) -> tuple[str, ...]:
    """Return the third-party modules that a script and its imports need.

    Imports inside functions count, unless the project lists the package as an extra. Imports that
    the code can do without do not count.
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
    """Return the files that importing a module of the app may run, its packages included."""
    parts = name.split(".")
    packages = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    return [f"{packages[-1]}.py", *(f"{each}/__init__.py" for each in packages)]


def _extras(files: Sequence[OutgoingFile]) -> set[str]:
    """Return the optional dependencies of pyproject.toml, by their usual module names."""
    text = next((each.read() for each in files if each.path == "pyproject.toml"), b"")
    try:
        extras = parse_toml(text.decode("utf-8"))["project"]["optional-dependencies"]
        lines = [line for extra in extras.values() for line in extra]
        return {re.split(r"[^\w.-]", line, maxsplit=1)[0].replace("-", "_") for line in lines}
    except (ValueError, KeyError, TypeError, AttributeError):  # starting the app shows the error
        return set()


def _names(source: bytes, path: str, extras: set[str]) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # starting the app shows the error
        return
    optional = _inside(tree, _is_optional)
    late = _inside(tree, lambda node: isinstance(node, _FUNCTIONS))
    for node in ast.walk(tree):
        if node in optional:
            continue
        ignored = extras if node in late else set[str]()
        yield from (name for name in _imported(node, path) if name.partition(".")[0] not in ignored)


def _inside(tree: ast.AST, chosen: Callable[[ast.AST], bool]) -> set[ast.AST]:
    return {inner for node in ast.walk(tree) if chosen(node) for inner in ast.walk(node)}


def _imported(node: ast.AST, path: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = path.split("/")[: -node.level] if node.level else []
        whole = ".".join([*base, *filter(None, [node.module])])
        yield from filter(None, [whole])
        yield from (f"{whole}.{alias.name}".lstrip(".") for alias in node.names)


def _is_optional(node: ast.AST) -> bool:
    """Return whether the code works without the imports inside this node."""
    if isinstance(node, ast.Try):
        caught = " ".join(ast.unparse(each.type) for each in node.handlers if each.type)
        bare = any(each.type is None for each in node.handlers)
        return bare or any(name in caught for name in _CAUGHT)
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
