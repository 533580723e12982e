"""Does a pre-commit hook stop commits that contain a key?

Warns when the project's hook is not installed in this clone, or cannot run.
"""

import re
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Repair, ok, skipped, warning
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system import git
from hackkit.system.uv import typed

TITLE = "Secret scan"
CATEGORY = Category.PROJECT

_CONFIG = ".pre-commit-config.yaml"
_RUNNER = re.compile(r"^INSTALL_PYTHON=(['\"]?)(.+)\1$", re.MULTILINE)
_INSTALL = ("run", "pre-commit", "install")
_SECONDS = 60


def check(context: Context) -> Finding:
    project = context.project
    if project is None:
        return skipped("this folder is not in a hackkit project")
    answer = git.ask(context.run, context.folder, "rev-parse", "--git-path", "hooks")
    if answer.problem:
        return skipped(answer.problem)
    if not (project.folder / _CONFIG).is_file():
        return _without_config(context)
    problem = _problem(context.folder / answer.out / "pre-commit", context.system)
    return _repairable(context, project, problem) if problem else ok("runs before each commit")


def _repairable(context: Context, project: ProjectFiles, problem: str) -> Finding:
    elsewhere = git.ask(context.run, context.folder, "config", "core.hooksPath").out
    if elsewhere:
        fix = "git config --unset-all core.hooksPath"
        return warning(f"{problem}: git uses the hooks in {elsewhere}", fix)
    if not _installed(project):
        return warning(f"{problem}, and the project's environment is missing", fix=typed("sync"))
    repair = Repair("install the secret scan before each commit", lambda: _install(context))
    return warning(problem, typed(*_INSTALL), repair if context.uv else None)


def _problem(hook: Path, system: str) -> str:
    try:
        text = hook.read_text("utf-8", "replace")
    except (OSError, ValueError):
        return "not installed in this clone"
    if "pre-commit" not in text and "pre_commit" not in text:
        return "another hook is installed in its place"
    if system != "windows" and not hook.stat().st_mode & 0o100:
        return "its hook is not executable"
    runner = _RUNNER.search(text)
    if runner and not Path(runner[2]).exists():
        return "its hook starts a Python that no longer exists"
    return ""


def _installed(project: ProjectFiles) -> bool:
    return any(project.python.with_name(f"pre-commit{end}").is_file() for end in ("", ".exe"))


def _install(context: Context) -> None:
    words = (*context.uv, "run", "--no-sync", *_INSTALL[1:])
    ran = context.run(*words, folder=context.folder, seconds=_SECONDS)
    if ran is None or not ran.ok:
        lines = (ran.out or ran.err).splitlines() if ran else []
        why = lines[-1] if lines else "it could not be started"
        raise HackkitError(f"pre-commit did not install its hook: {why}", fix=typed(*_INSTALL))


def _without_config(context: Context) -> Finding:
    past = ("log", "--max-count=1", "--format=%h")
    removed = git.ask(context.run, context.folder, *past, "--diff-filter=D", "--", _CONFIG)
    ever = git.ask(context.run, context.folder, *past, "--", _CONFIG)
    fix = "open https://pre-commit.com"
    if ever.out:
        commit = f"{removed.out}~1" if removed.out else "HEAD"
        fix = f"git checkout {commit} -- {_CONFIG}"
    return warning(f"there is no {_CONFIG}: nothing stops a commit with a key", fix)
