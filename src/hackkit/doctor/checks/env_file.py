"""Is there a `.env` that only its owner can read and that git ignores?

Warns when there is none, and when other users of this machine can read its secrets. Fails when
git does not ignore it, since the next commit could contain the keys, and when it is a folder.
"""

import re
from collections.abc import Iterator
from pathlib import Path

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
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles, create_env_file, ignores_env
from hackkit.project.leaks import secrets_among
from hackkit.system import git

TITLE = ".env file"
CATEGORY = Category.PROJECT

_OWNER_ONLY = 0o600
_OTHERS = 0o077
_RULE = re.compile(
    r"(?P<source>.+?):[0-9]+:(?P<pattern>.*)\t"
)  # how git names the rule that ignores it


def check(context: Context) -> Finding:
    project = context.project
    if project is None:
        return skipped("this folder is not in a hackkit project")
    if (project.folder / ".env").is_dir():
        fix = context.shell.move(".env", "env.old")
        return failure(".env is a folder: the app needs a file of that name", fix)
    exists = (project.folder / ".env").is_file()
    if not exists and not (project.folder / ".env.example").is_file():
        return skipped("the project has no .env.example")
    found = [
        *_ignored(context, project.folder),
        *([] if exists else [_absent(context, project.folder)]),
        *(_mode(context, project) if exists else []),
    ]
    return together(found) if found else ok("exists, and git ignores it")


def _ignored(context: Context, folder: Path) -> Iterator[Finding]:
    add = Repair("add .env to .gitignore", lambda: _ignore(folder))
    fix = context.shell.append(".env", ".gitignore")
    words = ("check-ignore", "--verbose", "--no-index", ".env")
    answer = git.ask(context.run, folder, *words)
    if answer.problem:  # no repository yet: its .gitignore counts
        if not ignores_env(folder):
            yield warning(".gitignore does not list .env", fix, add)
        return
    rule = _RULE.match(answer.out)
    if rule is None or rule["pattern"].startswith("!"):
        yield failure("git does not ignore .env: a commit could contain the keys", fix, add)
    elif not rule["source"].strip('"').endswith(".gitignore") or Path(rule["source"]).is_absolute():
        yield warning("git ignores .env on this machine only, not in your team's clones", fix, add)


def _absent(context: Context, folder: Path) -> Finding:
    shell = context.shell
    fix = shell.then(shell.copy(".env.example", ".env"), shell.only_for_owner(".env"))
    action = "create .env from .env.example, readable only by its owner"
    return warning("there is no .env", fix, Repair(action, lambda: _create(folder, fix)))


def _mode(context: Context, project: ProjectFiles) -> Iterator[Finding]:
    path = project.folder / ".env"
    mode = path.stat().st_mode & 0o777
    if context.system == "windows" or not mode & _OTHERS or not secrets_among(project.dotenv):
        return
    seen = f"other users of this machine can read the secrets in .env (mode {mode:o})"
    action = "make .env readable only by its owner (mode 600)"
    fix = context.shell.only_for_owner(".env")
    yield warning(seen, fix, Repair(action, lambda: _restrict(path)))


def _ignore(folder: Path) -> None:
    path = folder / ".gitignore"
    before = path.read_bytes() if path.exists() else b""
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    path.write_bytes(before + gap + b".env\n")


def _create(folder: Path, fix: str) -> None:
    if create_env_file(folder) is None:
        raise HackkitError(".env was not created: .gitignore does not list it.", fix=fix)


def _restrict(path: Path) -> None:
    path.chmod(_OWNER_ONLY)
    if path.stat().st_mode & _OTHERS:
        raise HackkitError(
            "This drive does not support file modes: other users can still read .env."
        )
