"""Is the project's environment installed, and in sync with `uv.lock`?

Fails when the packages are not installed, when the environment's Python does not run, or when uv
cannot read the project's files. Warns when there is no `uv.lock`, when it does not match
`pyproject.toml`, when packages differ from it, and when the folder was moved after the install.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Repair, failure, ok, skipped, warning
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.project.lockfile import load_toml, package_name
from hackkit.system import uv
from hackkit.system.wording import listed

TITLE = "Environment"
CATEGORY = Category.PROJECT

_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
# Packages that are not in uv.lock (an extra, an experiment) are ignored, as by `uv run`.
_COMPARE = ("sync", "--check", "--locked", "--inexact", "--offline")


def check(context: Context) -> Finding:
    project = context.project
    if project is None or not (project.folder / "pyproject.toml").is_file():
        return skipped("the project has no pyproject.toml")
    try:
        load_toml(project.folder / "pyproject.toml")
    except PermissionError:
        return failure(
            "pyproject.toml cannot be read: permission denied",
            context.shell.unlock("pyproject.toml"),
        )
    except (OSError, ValueError) as error:
        fix = "edit pyproject.toml: correct the syntax error"
        return failure(f"pyproject.toml cannot be read: {error}"[:100], fix)
    python, problem = _python(context, project)
    return problem or _lock(context, project, f"Python {python}")


def _python(context: Context, project: ProjectFiles) -> tuple[str, Finding | None]:
    """Return the version of the environment's Python, or what is wrong with it."""
    fix, repair = uv.typed("sync"), _install(context, project)
    if _is_closed(project.folder / ".venv"):
        return "", failure(".venv belongs to another user", _take_over(context))
    if not project.installed:
        return "", failure("not installed", fix, repair)
    ran = context.run(str(project.python), "-I", "-c", _VERSION)
    if ran is None or not ran.ok:
        return "", failure("its Python does not run", fix, repair)
    if _made_elsewhere(project):
        fix = context.shell.then(uv.typed("venv", "--clear"), uv.typed("sync"))
        moved = "the folder was moved: the environment's commands point to the old place"
        return "", warning(moved, fix)
    return ran.out, None


def _is_closed(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)


def _take_over(context: Context) -> str:
    windows = context.system == "windows"
    return "takeown /F .venv /R" if windows else "sudo chown -R $USER .venv"


def _install(context: Context, project: ProjectFiles) -> Repair:
    offline = ("--offline",) if context.offline else ()  # from uv's cache

    def run() -> None:
        if not uv.succeeds(project.folder, "sync", *offline):
            raise HackkitError("The packages could not be installed.", fix=uv.typed("sync"))

    return Repair("install the project's packages with `uv sync`", run)


def _made_elsewhere(project: ProjectFiles) -> bool:
    """Return whether the environment was made for another folder, which its scripts name."""
    try:
        script = (project.python.parent / "activate").read_text("utf-8", errors="replace")
    except OSError:
        return False
    named = re.search(r"""^VIRTUAL_ENV=['"]?(/[^'"\n]+)""", script, re.MULTILINE)
    return named is not None and Path(named[1]).resolve() != project.python.parent.parent.resolve()


def _lock(context: Context, project: ProjectFiles, python: str) -> Finding:
    if not (project.folder / "uv.lock").is_file():
        return warning(f"{python}, but no uv.lock", uv.typed("sync"), _install(context, project))
    if not context.uv:
        return ok(f"{python}; not compared with uv.lock, as there is no uv")
    ran = context.run(*context.uv, *_COMPARE, folder=project.folder)
    if ran is None or ran.timed_out:
        return skipped(f"{python}; uv took too long to compare the packages with uv.lock")
    output = f"{ran.out}\n{ran.err}"
    if ran.ok:
        count = re.search(r"Checked (\d+) package", output)
        return ok(f"{python}, {count[1] if count else 'its'} packages in sync with uv.lock")
    return _out_of_sync(context, project, output, python)


def _out_of_sync(context: Context, project: ProjectFiles, output: str, python: str) -> Finding:
    fix, repair = uv.typed("sync"), _install(context, project)
    differ = re.findall(r"^ [+~-] (\S+?)==", output, re.MULTILINE)
    if differ:
        message = f"{python}, out of sync with uv.lock: {listed(differ, 1)}"
        return warning(message, fix, repair, tuple(differ[:20]))
    if "needs to be updated" in output:
        return warning("uv.lock does not match pyproject.toml", fix, repair)
    if "network was disabled" in output:
        return _without_network(project, python, fix, repair)
    if "environment is outdated" in output:
        return warning(f"{python}, out of sync with uv.lock", fix, repair)
    if "parse `uv.lock`" in output:  # two branches that each added a package, merged by hand
        return failure("uv.lock cannot be read", "git checkout HEAD -- uv.lock")
    return failure(f"uv cannot use the project: {_error(output)}"[:100], fix)


def _without_network(project: ProjectFiles, python: str, fix: str, repair: Repair) -> Finding:
    """Warn if uv.lock lacks a package; not if it was only made with another package index."""
    missing = sorted(set(_wanted(project.folder)) - set(_locked(project.folder)))
    if missing:
        return warning(f"uv.lock lacks {missing[0]}, which pyproject.toml asks for", fix, repair)
    # To compare more, uv would need the index that is configured here.
    return ok(f"{python}; uv.lock has every package that pyproject.toml asks for")


def _wanted(folder: Path) -> Iterator[str]:
    content = load_toml(folder / "pyproject.toml")
    project = content.get("project", {})
    groups = (*project.get("optional-dependencies", {}).values(),)
    groups += (*content.get("dependency-groups", {}).values(),)
    for group in (project.get("dependencies", []), *groups):
        for requirement in group:
            if isinstance(requirement, str) and package_name(requirement):
                yield package_name(requirement)


def _locked(folder: Path) -> Iterator[str]:
    for package in load_toml(folder / "uv.lock").get("package", []):
        yield str(package.get("name"))


def _error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("error:", "cause:"))]
    return (errors or lines or [""])[-1].partition(": ")[2] or "no message"
