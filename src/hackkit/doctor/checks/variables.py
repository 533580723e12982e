"""Are the app's variables spelt correctly, with values that it can use?

Warns about a name in `.env` that looks like a typo, about lines that cannot be read, about a file
that is too large, and about a variable of the environment that overrides another value in `.env`.
Fails when a required variable is empty, when the app cannot use a value, and when `.env` is not
UTF-8.
"""

import ast
import difflib
import re
from collections.abc import Iterator

from hackkit.doctor.findings import (
    Category,
    Finding,
    Repair,
    failure,
    ok,
    skipped,
    together,
    warning,
)
from hackkit.project.app_status import STATUS_SECONDS
from hackkit.project.context import Context
from hackkit.project.files import (
    LARGEST_ENV,
    ProjectFiles,
    env_encoding_problem,
    write_env_as_utf8,
)
from hackkit.system.command_line import hackkit
from hackkit.system.wording import counted, listed

TITLE = "Variables"
CATEGORY = Category.PROJECT
SECONDS = STATUS_SECONDS + 1  # so that the app has its whole time

_ALIKE = 0.8  # from 0 to 1: MISTRAL_KEY and MISTRAL_API_KEY are 0.85
_HINT = "Fix: correct it in .env"  # in the app's message about a value that it cannot use
_NAMED = re.compile(r"([A-Z][A-Z0-9_]*):|.*?field \"(\w+)\"")  # how that message names the variable
_FEW = 3


def check(context: Context) -> Finding:
    project = context.project
    if project is None or not project.example_variables:
        return skipped("the project has no .env.example")
    found = [*_unreadable(context, project), *_refused(context), *_names(context, project)]
    if found:
        return together(found)
    given = [name for name in project.example_variables if context.value(name)]
    return ok(f"{counted(len(project.example_variables), 'variable')}, {len(given)} set")


def _unreadable(context: Context, project: ProjectFiles) -> Iterator[Finding]:
    if not (project.folder / ".env").is_file():
        return
    size = (project.folder / ".env").stat().st_size
    if size > LARGEST_ENV:
        seen = f".env has {size / 1000:,.0f} kB: too large to be read"
        yield warning(seen, fix="edit .env: keep the lines that .env.example has")
        return
    path = project.folder / ".env"
    try:
        problem = env_encoding_problem(path)
        bad = project.unreadable_lines
    except OSError as error:
        yield failure(f".env cannot be read: {error.strerror}", fix=context.shell.unlock(".env"))
        return
    if problem:
        fix = hackkit("doctor", "--fix", "--only", "variables", folder=context.folder)
        repair = Repair("write .env again in UTF-8", lambda: write_env_as_utf8(path))
        yield failure(f".env {problem}", fix, repair)
    if bad:
        where = _joined("line", [str(number) for number in bad])
        yield warning(
            f".env: {where} cannot be read", fix=f"edit .env: write {where} as NAME=value"
        )


def _refused(context: Context) -> Iterator[Finding]:
    problem = context.app().problem
    if _HINT not in problem:
        return
    message = problem.split(_HINT)[0].strip().rstrip(".")
    named = _NAMED.match(message)
    name = (named[1] or named[2]).upper() if named else ""
    if name and context.origin(name) == "the environment":
        yield failure(message, context.shell.unset(name))
    elif name:
        yield failure(message, f"edit .env: give {name} another value")
    else:
        yield failure(message, "edit .env: correct it as .env.example shows")


def _names(context: Context, project: ProjectFiles) -> Iterator[Finding]:
    fields = _fields(project)
    known = {*project.example_variables, *fields}
    for name, required in fields.items():
        if required and not context.value(name):
            yield failure(f"{name} is not set and has no default", fix=f"edit .env: set {name}")
    for name in project.dotenv:
        right = "" if name.upper() in known else _meant(name, known)
        if right and not context.value(right):
            yield warning(
                f".env sets {name}, which nothing reads", fix=f"edit .env: rename it to {right}"
            )
    hidden = [
        name
        for name, value in project.dotenv.items()
        if context.env.get(name) not in {None, "", value}
    ]
    if hidden:
        names = ", ".join(hidden)
        message = f"the environment overrides the value of {names} in .env"
        yield warning(message, context.shell.unset(hidden[0]))


def _fields(project: ProjectFiles) -> dict[str, bool]:
    """Return the variables of the project's settings classes, and whether each must be set.

    The classes are read, not run.
    """
    found: dict[str, bool] = {}
    for path in sorted(project.folder.glob("*/settings.py")):
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):  # the check `app` reports it
            continue
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        found |= {
            node.target.id.upper(): _is_required(node.value)
            for node in (each for one in classes for each in one.body)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }
    return found


def _is_required(default: ast.expr | None) -> bool:
    if default is None:
        return True
    if not (isinstance(default, ast.Call) and ast.unparse(default.func).endswith("Field")):
        return False
    named = any(each.arg in {"default", "default_factory"} for each in default.keywords)
    given = [each for each in default.args if not _is_ellipsis(each)]
    return not (named or given)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is Ellipsis


def _meant(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=_ALIKE)
    return near[0] if near else ""


def _joined(word: str, items: list[str]) -> str:
    return f"{word if len(items) == 1 else word + 's'} {listed(items, _FEW)}"
