"""Is the project's environment installed, and in step with its lock?

Fails when the packages are not installed, when the environment's Python does not run, or when uv
cannot make sense of the project's files. Warns when there is no lock, when the lock does not fit
`pyproject.toml`, when packages differ from the lock, and when the folder was moved since.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hackkit.doctor.findings import Category, Finding, Mend, failure, ok, skipped, warning
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system import uv

TITLE = "Environment"
CATEGORY = Category.PROJECT

_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
# Packages beyond the lock (an extra, something tried out) are left alone, as `uv run` leaves them.
_COMPARE = ("sync", "--check", "--locked", "--inexact", "--offline")


def check(context: Context) -> Finding:
    project = context.project
    if project is None or not (project.folder / "pyproject.toml").is_file():
        return skipped("the project has no pyproject.toml")
    try:
        _read(project.folder / "pyproject.toml")
    except PermissionError:
        return failure("pyproject.toml may not be read", "chmod u+rw pyproject.toml")
    except (OSError, ValueError) as error:
        fix = "edit pyproject.toml: correct what cannot be read"
        return failure(f"pyproject.toml cannot be read: {error}"[:100], fix)
    python, problem = _python(context, project)
    return problem or _lock(context, project, f"Python {python}")


def _python(context: Context, project: ProjectFiles) -> tuple[str, Finding | None]:
    """Return the version of the environment's Python, or what is wrong with it."""
    fix, mend = uv.typed("sync"), _install(project)
    if _is_closed(project.folder / ".venv"):
        return "", failure(".venv is not yours to use", "sudo chown -R $USER .venv")
    if not project.installed:
        return "", failure("not installed", fix, mend)
    ran = context.run(str(project.python), "-I", "-c", _VERSION)
    if ran is None or not ran.ok:
        return "", failure("its Python does not run", fix, mend)
    if _made_elsewhere(project):
        then = "; " if context.system == "windows" else " && "
        fix = then.join([uv.typed("venv", "--clear"), uv.typed("sync")])
        moved = "the folder was moved since: its commands still point to the old place"
        return "", warning(moved, fix)
    return ran.out, None


def _is_closed(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def _install(project: ProjectFiles) -> Mend:
    def do() -> None:
        if not uv.succeeds(project.folder, "sync"):
            raise HackkitError("The packages could not be installed.", fix=uv.typed("sync"))

    return Mend("install the project's packages with `uv sync`", do)


def _made_elsewhere(project: ProjectFiles) -> bool:
    """Tell whether the environment was made for another folder: its scripts name that one."""
    try:
        script = (project.python.parent / "activate").read_text("utf-8", errors="replace")
    except OSError:
        return False
    named = re.search(r"""^VIRTUAL_ENV=['"]?(/[^'"\n]+)""", script, re.MULTILINE)
    return named is not None and Path(named[1]).resolve() != project.python.parent.parent.resolve()


def _lock(context: Context, project: ProjectFiles, python: str) -> Finding:
    if not (project.folder / "uv.lock").is_file():
        return warning(f"{python}, but no uv.lock", uv.typed("sync"), _install(project))
    if not context.uv:
        return ok(f"{python}; without uv it cannot be compared with the lock")
    ran = context.run(*context.uv, *_COMPARE, folder=project.folder)
    if ran is None or ran.timed_out:
        return skipped(f"{python}; uv did not say in time whether the packages fit the lock")
    said = f"{ran.out}\n{ran.err}"
    if ran.ok:
        count = re.search(r"Checked (\d+) package", said)
        return ok(f"{python}, {count[1] if count else 'its'} packages in step with uv.lock")
    return _out_of_step(said, project, python)


def _out_of_step(said: str, project: ProjectFiles, python: str) -> Finding:
    fix, mend = uv.typed("sync"), _install(project)
    differ = re.findall(r"^ [+~-] (\S+?)==", said, re.MULTILINE)
    if differ:
        others = f" and {len(differ) - 1} more" if differ[1:] else ""
        message = f"{python}, out of step with uv.lock: {differ[0]}{others}"
        return warning(message, fix, mend, tuple(differ[:20]))
    if "needs to be updated" in said:
        return warning("uv.lock does not fit pyproject.toml", fix, mend)
    if "network was disabled" in said:
        return _without_network(project, python, fix, mend)
    if "environment is outdated" in said:
        return warning(f"{python}, out of step with uv.lock", fix, mend)
    if "parse `uv.lock`" in said:  # two branches that each added a package, merged by hand
        return failure("uv.lock cannot be read", "git checkout HEAD -- uv.lock")
    return failure(f"uv cannot use the project: {_error(said)}"[:100], fix)


def _without_network(project: ProjectFiles, python: str, fix: str, mend: Mend) -> Finding:
    """Tell a lock that lacks a package from one that another index made, which is no fault."""
    missing = sorted(set(_wanted(project.folder)) - set(_locked(project.folder)))
    if missing:
        return warning(f"uv.lock lacks {missing[0]}, which pyproject.toml asks for", fix, mend)
    # uv would look at the index that is configured here before it says more.
    return ok(f"{python}; uv.lock holds every package that pyproject.toml asks for")


def _wanted(folder: Path) -> Iterator[str]:
    content = _read(folder / "pyproject.toml")
    project = content.get("project", {})
    groups = (*project.get("optional-dependencies", {}).values(),)
    groups += (*content.get("dependency-groups", {}).values(),)
    for group in (project.get("dependencies", []), *groups):
        for requirement in group:
            name = re.match(r"[\w.-]+", requirement) if isinstance(requirement, str) else None
            if name:
                yield re.sub(r"[-_.]+", "-", name[0]).lower()


def _locked(folder: Path) -> Iterator[str]:
    for package in _read(folder / "uv.lock").get("package", []):
        yield str(package.get("name"))


def _error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("error:", "cause:"))]
    return (errors or lines or ["it gave no reason"])[-1].partition(": ")[2] or "it gave no reason"
