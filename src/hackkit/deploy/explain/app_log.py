"""Says in words why an app did not start or broke, from what it printed."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.system import uv
from hackkit.system.command_line import line

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<file>[^"\n]+)", line (?P<line>[0-9]+)', re.MULTILINE)
_SYNTAX = re.compile(r"^(?:SyntaxError|IndentationError|TabError): (?P<words>.+)$", re.MULTILINE)
_MODULE = re.compile(r"^ModuleNotFoundError: No module named '(?P<name>[\w.]+)'", re.MULTILINE)
_NO_FILE = re.compile(r"can't open file '(?P<file>[^'\n]+)'")
_OWN_FIX = re.compile(r"^Fix: (?P<fix>.+)$", re.MULTILINE)
_FOREIGN = ("/site-packages/", "/dist-packages/", "/lib/python3", "/Lib/", "<")
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07?)|[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST = 300  # characters of what an app says that are repeated
# Packages that are not named like what they are imported as.
_SOLD_AS = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "pymupdf",
    "PIL": "pillow",
    "pptx": "python-pptx",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
_WHOSE = (
    "import importlib.metadata as m, sys;"
    "print(*m.packages_distributions().get(sys.argv[1], ())[:1])"
)


def cause(said: str, context: Context) -> HackkitError | None:
    """Return why it crashed and what mends it; None when what it said does not tell.

    `said`: all that the app printed, here or on a platform. Files are named as in the project.
    """
    said = _plain(said)
    for read in (_own_words, _missing_file, _syntax, _missing_module, _traceback):
        if found := read(said, context):
            return found
    return None


def last_words(said: str, count: int = 1) -> str:
    """Return the last lines that say something, as one."""
    lines = [text.strip() for text in _plain(said).splitlines() if text.strip()]
    return " ".join(lines[-count:])[-_LONGEST:]


def _plain(said: str) -> str:
    """Return the text without colours and whatever else a terminal would obey."""
    return _CONTROL.sub("", said.replace("\r\n", "\n").replace("\r", "\n"))


def _missing_file(said: str, _context: Context) -> HackkitError | None:
    match = _NO_FILE.search(said)
    if match is None:
        return None
    name = re.split(r"[/\\]", match["file"])[-1]
    return HackkitError(
        f"The app is to be started with {name}, which is not among the files that are sent.",
        fix="edit README.md: set app_file to a file that git tracks",
    )


def _syntax(said: str, context: Context) -> HackkitError | None:
    match = next(reversed([*_SYNTAX.finditer(said)]), None)
    frames = [*_FRAME.finditer(said, 0, match.start())] if match else []
    if match is None or not frames:
        return None
    file = _ours(frames[-1]["file"], context) or frames[-1]["file"]
    return HackkitError(
        f"{file}:{frames[-1]['line']} is not valid Python: {match['words'][:_LONGEST]}.",
        fix=f"edit {file}: mend line {frames[-1]['line']}",
    )


def _missing_module(said: str, context: Context) -> HackkitError | None:
    match = next(reversed([*_MODULE.finditer(said)]), None)
    if match is None:
        return None
    inside = match["name"].replace(".", "/")
    for path in (f"{inside}.py", inside):
        if (context.folder / path).exists():
            return HackkitError(
                f"The app imports {path}, which is not among the files that are sent: "
                "git does not track it.",
                fix=line(["git", "add", "--", path]),
            )
    module = match["name"].partition(".")[0]
    package = _package(module, context)
    known_as = package if package == module else f"{package} (imported as {module})"
    return HackkitError(
        f"The app needs {known_as}, which its requirements do not list.",
        fix=uv.typed("add", package),
    )


def _package(module: str, context: Context) -> str:
    """Return the package that a module comes from: the project's environment may know it."""
    if context.project and context.project.python.is_file():
        ran = context.run(str(context.project.python), "-c", _WHOSE, module, seconds=5)
        if ran and ran.ok and re.fullmatch(r"[\w.-]+", ran.out):
            return ran.out
    return _SOLD_AS.get(module, module)


def _traceback(said: str, context: Context) -> HackkitError | None:
    start = said.rfind(_TRACEBACK)
    if start < 0:
        return None
    block = said[start:].splitlines()[1:]
    words = next((text.strip() for text in block if text.strip() and text[0] != " "), "")
    ours = [*_our_frames(said[start:], context)]
    if not words:
        return None
    if not ours:
        return HackkitError(f"The app crashed: {_sentence(words)}")
    file, number = ours[-1]
    return HackkitError(
        f"The app crashed at {file}:{number}: {_sentence(words)}",
        fix=f"edit {file}: mend line {number}",
    )


def _own_words(said: str, _context: Context) -> HackkitError | None:
    """Return the app's own last message, which ends with its fix."""
    match = next(reversed([*_OWN_FIX.finditer(said)]), None)
    if match is None or said.find(_TRACEBACK, match.end()) >= 0:
        return None
    words = last_words(said[: match.start()])
    return HackkitError(_sentence(words), fix=match["fix"]) if words else None


def _sentence(words: str) -> str:
    words = words[:_LONGEST]
    return words if words.endswith((".", "…")) else f"{words}."


def _our_frames(text: str, context: Context) -> Iterator[tuple[str, str]]:
    for frame in _FRAME.finditer(text):
        if file := _ours(frame["file"], context):
            yield file, frame["line"]


def _ours(path: str, context: Context) -> str:
    """Return the project's own path of a file that was run somewhere else; empty when foreign."""
    path = path.replace("\\", "/")
    if any(mark in path for mark in _FOREIGN):
        return ""
    parts = PurePosixPath(path).parts
    for number in range(len(parts)):
        rest = "/".join(parts[number:])
        if not rest.startswith("/") and (context.folder / rest).is_file():
            return rest
    return ""
