"""Is there a `.env` that only its owner reads and that git leaves out?

Warns when there is none, and when others on this machine can read the secrets in it. Fails when
git does not ignore it, since the next commit could hold the keys, and when it is a folder.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from hackkit.doctor.findings import (
    Category,
    Finding,
    Mend,
    failure,
    ok,
    skipped,
    together,
    warning,
)
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles, create_env_file
from hackkit.project.leaks import secrets_among
from hackkit.system import git

TITLE = ".env file"
CATEGORY = Category.PROJECT

_OWNER_ONLY = 0o600
_OTHERS = 0o077
_RULE = re.compile(r"(?P<source>.+?):[0-9]+:(?P<pattern>.*)\t")  # as git says which one ignores


def check(context: Context) -> Finding:
    project = context.project
    if project is None:
        return skipped("this folder belongs to no hackkit project")
    if (project.folder / ".env").is_dir():
        fix = ("ren" if context.system == "windows" else "mv") + " .env env.old"
        return failure(".env is a folder: the app reads a file of that name", fix)
    exists = (project.folder / ".env").is_file()
    if not exists and not (project.folder / ".env.example").is_file():
        return skipped("the project has no .env.example")
    found = [
        *_ignored(context, project.folder),
        *([] if exists else [_absent(context, project.folder)]),
        *(_mode(context, project) if exists else []),
    ]
    return together(found) if found else ok("there, and ignored by git")


def _ignored(context: Context, folder: Path) -> Iterator[Finding]:
    add = Mend("add .env to .gitignore", lambda: _ignore(folder))
    fix = "printf '\\n.env\\n' >> .gitignore"
    if context.system == "windows":
        fix = "edit .gitignore: add the line .env"
    words = ("check-ignore", "--verbose", "--no-index", ".env")
    answer = git.ask(context.run, folder, *words)
    if answer.problem:  # no repository yet: what its .gitignore would do
        if not _listed(folder):
            yield warning(".gitignore does not list .env", fix, add)
        return
    rule = _RULE.match(answer.out)
    if rule is None or rule["pattern"].startswith("!"):
        yield failure("git does not ignore .env: a commit could hold the keys", fix, add)
    elif not rule["source"].strip('"').endswith(".gitignore") or Path(rule["source"]).is_absolute():
        yield warning("git ignores .env on this machine only, not in the team's clones", fix, add)


def _absent(context: Context, folder: Path) -> Finding:
    fix = "cp .env.example .env && chmod 600 .env"
    if context.system == "windows":
        fix = "copy .env.example .env"
    says = "create .env from .env.example, for its owner only"
    return warning("there is no .env", fix, Mend(says, lambda: _create(folder, fix)))


def _mode(context: Context, project: ProjectFiles) -> Iterator[Finding]:
    path = project.folder / ".env"
    mode = path.stat().st_mode & 0o777
    if context.system == "windows" or not mode & _OTHERS or not secrets_among(project.dotenv):
        return
    seen = f"others on this machine can read the secrets in .env (mode {mode:o})"
    says = "let only the owner of .env read it (mode 600)"
    yield warning(seen, "chmod 600 .env", Mend(says, lambda: _restrict(path)))


def _listed(folder: Path) -> bool:
    try:
        lines = (folder / ".gitignore").read_text("utf-8").splitlines()
    except (OSError, UnicodeError):
        return False
    return bool({".env", "/.env", ".env*", "/.env*", "*.env"} & {line.strip() for line in lines})


def _ignore(folder: Path) -> None:
    path = folder / ".gitignore"
    before = path.read_bytes() if path.exists() else b""
    gap = b"" if not before or before.endswith(b"\n") else b"\n"
    path.write_bytes(before + gap + b".env\n")


def _create(folder: Path, fix: str) -> None:
    if create_env_file(folder) is None:
        raise HackkitError(".gitignore does not list .env, so it was not created.", fix=fix)


def _restrict(path: Path) -> None:
    path.chmod(_OWNER_ONLY)
    if path.stat().st_mode & _OTHERS:
        raise HackkitError("This drive keeps no modes: others can still read .env.")
