"""Does `app.py` import?

Fails when a file that the app uses is not valid Python, when a module is missing, and when
importing `app.py` raises an error. Warns about a broken file that the app does not use. The import
takes seconds, so after a success it is repeated only when something has changed.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.project.module_names import package_of
from hackkit.system import uv
from hackkit.system.processes import Ran
from hackkit.system.wording import listed
from hackkit.version import VERSION

TITLE = "App imports"
CATEGORY = Category.PROJECT
SECONDS = 30.0

_IMPORT_SECONDS = 25.0
_PROBE = Path(__file__).with_name("_app_probe.py")
_NOT_CODE = {"__pycache__", "node_modules", "docs", "index", "venv"}
_MOST_FILES = 2000
_CLOSED = re.compile(r"Permission denied: '([^'\n]+)'")


@dataclass(frozen=True)
class _Seen:
    """What the probe printed; its docstring lists the kinds."""

    kind: str = ""
    file: str = "app.py"
    line: int = 0
    message: str = ""
    names: tuple[str, ...] = ()
    files: int = 0
    strays: tuple["_Seen", ...] = field(default=())

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def check(context: Context) -> Finding:
    project = context.project
    if project is None or not (project.folder / "app.py").is_file():
        return skipped("the project has no app.py")
    if not project.installed:
        return skipped("the project's environment is not installed")
    state = _state(context, project)
    note = project.folder / ".venv" / "hackkit-imported"
    with contextlib.suppress(OSError):
        if note.read_text("utf-8") == state:
            return ok("imports (unchanged since the last successful import)")
    words = (str(project.python), "-P", str(_PROBE), str(project.folder))
    ran = context.run(*words, folder=project.folder, seconds=_IMPORT_SECONDS)
    if ran is None or ran.timed_out:
        return warning(f"importing it took longer than {_IMPORT_SECONDS:g} s", _try())
    seen = _read(ran)
    if seen.kind in {"fine", "starts"} and not seen.strays:
        with contextlib.suppress(OSError):
            note.write_text(state, "utf-8")
    return _finding(seen, ran, context)


def _read(ran: Ran) -> _Seen:
    """Parse the last line of the output: the app may have printed something before it."""
    try:
        content = json.loads(ran.out.splitlines()[-1])
        strays = tuple(_Seen(**each) for each in content.pop("strays", ()))
        names = tuple(content.pop("names", ()))
        return _Seen(**content, names=names, strays=strays)
    except (IndexError, ValueError, TypeError, AttributeError):
        return _Seen()


def _finding(seen: _Seen, ran: Ran, context: Context) -> Finding:
    closed = _CLOSED.search(seen.message or ran.err)
    if closed:
        message = f"{closed[1]} cannot be read: permission denied"[:120]
        return failure(message, context.shell.unlock(closed[1]))
    if seen.names:
        return _missing(seen, context.folder)
    if seen.kind in {"broken", "failed"}:
        return failure(f"{seen.place}: {seen.message}"[:120], _edit(seen))
    if seen.kind == "stopped":
        first = (seen.message.splitlines() or ["no message"])[0]
        return skipped(f"it exits when it is imported: {first}"[:120])
    if seen.strays:
        stray = seen.strays[0]
        message = f"{stray.place}, which the app does not use: {stray.message}"
        return warning(message[:120], _edit(stray))
    return _imported(seen) if seen.kind else _crashed(ran)


def _imported(seen: _Seen) -> Finding:
    if seen.kind == "starts":
        return ok(f"its files are valid; not imported, as {seen.place} would start the app")
    return ok(f"imports, with {seen.files} files of the project")


def _crashed(ran: Ran) -> Finding:
    lines = [each.strip() for each in ran.err.splitlines() if each.strip()]
    last = (lines or ["no message"])[-1]
    return failure(f"the import crashed with exit code {ran.code}: {last}"[:120], _try())


def _edit(seen: _Seen) -> str:
    return f"edit {seen.file}: correct line {seen.line}"


def _try() -> str:
    return uv.typed("run", "python", "-c", "import app")


def _missing(seen: _Seen, folder: Path) -> Finding:
    """Name the command that installs the missing modules: `uv sync` if uv.lock has them."""
    packages = [package_of(name).replace("_", "-") for name in seen.names]
    lock = ""
    with contextlib.suppress(OSError):
        lock = (folder / "uv.lock").read_text("utf-8").lower()
    unknown = [each for each in packages if f'name = "{each.lower()}"' not in lock]
    fix = uv.typed("add", *unknown) if unknown else uv.typed("sync")
    message = f"{seen.place}: not installed: {listed(seen.names, 1)}"
    return failure(message, fix, details=seen.names)


def _state(context: Context, project: ProjectFiles) -> str:
    """Return a digest of all that an import depends on, except files that the app itself reads."""
    names = {*project.example_variables, "PYTHONPATH"}
    facts = [VERSION, *(f"{name}={context.env.get(name, '')}" for name in sorted(names))]
    paths = [project.folder / name for name in (".env", "uv.lock")]
    paths += sorted((project.folder / ".venv").glob("[lL]ib/**/site-packages"))
    for path in (*paths, *sorted(_python_files(project.folder))):
        with contextlib.suppress(OSError):
            seen = path.stat()
            facts.append(f"{path} {seen.st_size} {seen.st_mtime_ns}")
    return hashlib.sha256("\n".join(facts).encode(errors="replace")).hexdigest()


def _python_files(root: Path) -> Iterator[Path]:
    left = _MOST_FILES
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name[0] != "." and name not in _NOT_CODE]
        for name in files:
            if name.endswith(".py") and left:
                left -= 1
                yield Path(folder, name)
