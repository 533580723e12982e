"""Does the README say what the project is and how to run it?

Warns when there is none, when it lacks a title, a description, or the commands to install, start
or test, and when it is still the template's after ten commits.
"""

import re

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.system import git

TITLE = "README"
CATEGORY = Category.PROJECT

_MANY_COMMITS = 10
_LEAST_PROSE = 40  # characters of a line that counts as a description
_HEADER = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*$", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_NO_PROSE = re.compile(r"^\s*(?:[#|>!<*+-]|\[!|\d+\.)")
_TITLE = re.compile(r"^#[ \t]+\S|^\S.*\n=+[ \t]*$|<h1", re.MULTILINE)
_START = (
    r"(?:uv run|python3?) (?!(?:python )?(?:-m )?(?:pytest|unittest|ruff|mypy|pre-commit|pip))"
    r"|streamlit |gradio |uvicorn |docker (?:compose|run)|npm (?:run|start)|make "
)
# The commands of each part; these are the same in every human language.
_COMMANDS = {
    "how to install it": re.compile(r"uv sync|uv pip|pip3? install|poetry|conda|npm |docker|make "),
    "how to start it": re.compile(_START),
    "how to test it": re.compile(r"pytest|unittest|\btox\b|\bnox\b|(?:npm|make|run) test"),
}


def check(context: Context) -> Finding:
    project = context.project
    if project is None:
        return skipped("this folder is not in a hackkit project")
    path = project.folder / "README.md"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        return _unreadable(error, context)
    missing = _missing(text)
    if missing:
        lacks = ", ".join(missing)
        return warning(f"README.md lacks {lacks}", fix=f"edit README.md: add {lacks}")
    commits = _commits_without_it(context)
    if commits:
        fix = "edit README.md: say what your app does"
        return warning(f"README.md is still the template's after {commits} commits", fix)
    return ok("title, description, and how to install, start and test it")


def _unreadable(error: Exception, context: Context) -> Finding:
    if isinstance(error, FileNotFoundError):
        return warning("there is no README.md", fix=_restore(context))
    if isinstance(error, OSError):
        message = "README.md cannot be read: permission denied"
        return warning(message, context.shell.unlock("README.md"))
    return warning("README.md cannot be read as UTF-8", fix="edit README.md: save it as UTF-8")


def _missing(text: str) -> list[str]:
    body = _HEADER.sub("", text)
    prose = _FENCED.sub("", body)
    described = any(
        len(each) >= _LEAST_PROSE and not _NO_PROSE.match(each) for each in prose.splitlines()
    )
    return [
        *([] if _TITLE.search(prose) else ["a title"]),
        *([] if described else ["what it does"]),
        *(part for part, command in _COMMANDS.items() if not command.search(body)),
    ]


def _commits_without_it(context: Context) -> int:
    """Return the number of commits if there are many and only the first has changed the README."""
    words = ("rev-list", "--count", "--max-count=500", "HEAD")
    all_of_them = git.ask(context.run, context.folder, *words, "--", ".").out
    if not all_of_them.isdigit() or int(all_of_them) < _MANY_COMMITS:
        return 0
    touched = git.ask(context.run, context.folder, *words, "--", "README.md").out
    changed = git.ask(context.run, context.folder, "status", "-z", "--", "README.md").out
    return int(all_of_them) if touched == "1" and not changed else 0


def _restore(context: Context) -> str:
    tracked = git.ask(context.run, context.folder, "ls-files", "README.md").out
    return "git checkout HEAD -- README.md" if tracked else "edit README.md: say what your app does"
