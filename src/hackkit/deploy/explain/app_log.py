"""Turns an app's log into a cause and a fix."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.project.module_names import package_of
from hackkit.system import uv
from hackkit.system.command_line import line

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>[0-9]+)', re.MULTILINE)
_SYNTAX = re.compile(r"^(?:SyntaxError|IndentationError|TabError): (?P<text>.+)$", re.MULTILINE)
_MODULE = re.compile(r"^ModuleNotFoundError: No module named '(?P<name>[\w.]+)'", re.MULTILINE)
_NO_FILE = re.compile(r"can't open file '(?P<file>[^'\n]+)'")
_OWN_FIX = re.compile(r"^Fix: (?P<fix>.+)$", re.MULTILINE)
_OTHER_CODE = ("/site-packages/", "/dist-packages/", "/lib/python3", "/Lib/", "<")
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07?)|[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST = 300  # characters of an app's output that a message quotes
_FIND_PACKAGE = (
    "import importlib.metadata as m, sys;"
    "print(*m.packages_distributions().get(sys.argv[1], ())[:1])"
)


def explain(output: str, context: Context) -> Problem | None:
    """Return why an app crashed, and the fix; None when its output does not show it.

    `output`: all that the app printed, here or on a platform. Files are named as in the project.
    """
    output = _plain(output)
    for read in (_own_message, _missing_file, _syntax, _missing_module, _traceback):
        if found := read(output, context):
            return found
    return None


def last_lines(output: str, count: int = 1) -> str:
    """Return the last lines that are not empty, as one line."""
    lines = [text.strip() for text in _plain(output).splitlines() if text.strip()]
    return " ".join(lines[-count:])[-_LONGEST:]


def _plain(output: str) -> str:
    """Return the text without colours and other control characters."""
    return _CONTROL.sub("", output.replace("\r\n", "\n").replace("\r", "\n"))


def _missing_file(output: str, _context: Context) -> Problem | None:
    match = _NO_FILE.search(output)
    if match is None:
        return None
    name = re.split(r"[/\\]", match["file"])[-1]
    return Problem(
        f"The app's start file {name} is not among the files that are sent.",
        fix="edit README.md: set app_file to a file that git tracks",
    )


def _syntax(output: str, context: Context) -> Problem | None:
    match = next(reversed([*_SYNTAX.finditer(output)]), None)
    frames = [*_FRAME.finditer(output, 0, match.start())] if match else []
    if match is None or not frames:
        return None
    file = _ours(frames[-1]["file"], context) or frames[-1]["file"]
    return Problem(
        f"{file}:{frames[-1]['line']} is not valid Python: {match['text'][:_LONGEST]}.",
        fix=f"edit {file}: correct line {frames[-1]['line']}",
    )


def _missing_module(output: str, context: Context) -> Problem | None:
    match = next(reversed([*_MODULE.finditer(output)]), None)
    if match is None:
        return None
    inside = match["name"].replace(".", "/")
    for path in (f"{inside}.py", inside):
        if (context.folder / path).exists():
            return Problem(
                f"The app imports {path}, which is not sent: git does not track it.",
                fix=line(["git", "add", "--", path]),
            )
    module = match["name"].partition(".")[0]
    package = _package(module, context)
    name = package if package == module else f"{package} (imported as {module})"
    return Problem(
        f"The app needs {name}, which its requirements do not list.",
        fix=uv.typed("add", package),
    )


def _package(module: str, context: Context) -> str:
    """Return the package of a module: as the project's environment names it, else the usual one."""
    if context.project and context.project.python.is_file():
        ran = context.run(str(context.project.python), "-c", _FIND_PACKAGE, module, seconds=5)
        if ran and ran.ok and re.fullmatch(r"[\w.-]+", ran.out):
            return ran.out
    return package_of(module)


def _traceback(output: str, context: Context) -> Problem | None:
    start = output.rfind(_TRACEBACK)
    if start < 0:
        return None
    block = output[start:].splitlines()[1:]
    error = next((text.strip() for text in block if text.strip() and text[0] != " "), "")
    ours = [*_our_frames(output[start:], context)]
    if not error:
        return None
    if not ours:
        return Problem(f"The app crashed: {_sentence(error)}")
    file, number = ours[-1]
    return Problem(
        f"The app crashed at {file}:{number}: {_sentence(error)}",
        fix=f"edit {file}: correct line {number}",
    )


def _own_message(output: str, _context: Context) -> Problem | None:
    """Return the app's own last message, which ends with its fix."""
    match = next(reversed([*_OWN_FIX.finditer(output)]), None)
    if match is None or output.find(_TRACEBACK, match.end()) >= 0:
        return None
    message = last_lines(output[: match.start()])
    return Problem(_sentence(message), fix=match["fix"]) if message else None


def _sentence(text: str) -> str:
    text = text[:_LONGEST]
    return text if text.endswith((".", "…")) else f"{text}."


def _our_frames(text: str, context: Context) -> Iterator[tuple[str, str]]:
    for frame in _FRAME.finditer(text):
        if file := _ours(frame["file"], context):
            yield file, frame["line"]


def _ours(path: str, context: Context) -> str:
    """Return a file's path in the project, wherever it was run; empty for other code."""
    path = path.replace("\\", "/")
    if any(part in path for part in _OTHER_CODE):
        return ""
    parts = PurePosixPath(path).parts
    for number in range(len(parts)):
        rest = "/".join(parts[number:])
        if not rest.startswith("/") and (context.folder / rest).is_file():
            return rest
    return ""
