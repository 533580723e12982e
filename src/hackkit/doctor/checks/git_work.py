"""Is the team's work committed and pushed?

Warns when there is no repository or no remote, when commits are not pushed, when more than 20 files
are not committed, and when HEAD is detached. Fails when files contain conflict markers: they do not
run.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.doctor.findings import (
    Category,
    Finding,
    failure,
    ok,
    skipped,
    together,
    warning,
)
from hackkit.project.context import Context
from hackkit.system import git
from hackkit.system.command_line import line
from hackkit.system.wording import counted, listed

TITLE = "Work in git"
CATEGORY = Category.PROJECT

_MANY = 20  # files that are not committed
_FEW = 3
_MARKERS = ("^<<<<<<< ", "^=======$", "^>>>>>>> ")
# Files in git's folder while something is unfinished, and the command that continues it.
_UNFINISHED = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "MERGE_HEAD": "merge",
}


@dataclass
class _State:
    """What `git status` prints; `branch` is empty when HEAD is detached."""

    branch: str = ""
    upstream: str = ""
    commit: bool = True
    ahead: int | None = None
    behind: int = 0
    files: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def check(context: Context) -> Finding:
    words = ("status", "--porcelain=v2", "--branch", "-z")
    answer = git.ask(context.run, context.folder, *words)
    if git.root(context.folder) is None:
        return warning("no git repository: there is no history to go back to", fix="git init")
    if answer.problem.startswith("git:"):
        return _refusal(answer.problem.removeprefix("git: "), context)
    if answer.problem:
        return skipped(answer.problem)
    state = _read(answer.out)
    found = [*_conflicts(context, state), *_commits(context, state), *_files(state)]
    if found:
        return together(found)
    pending = f"{counted(len(state.files), 'file')} not committed, the rest is pushed"
    return ok(pending if state.files else "everything is committed and pushed", _behind(state))


def _refusal(problem: str, context: Context) -> Finding:
    """Return why git does not work here, with a fix that deletes nothing."""
    top = str(git.root(context.folder))
    if "dubious ownership" in problem:
        return failure(problem, line(["git", "config", "--global", "--add", "safe.directory", top]))
    if not os.access(Path(top, ".git"), os.R_OK):
        return failure(".git cannot be read: permission denied", context.shell.unlock(".git"))
    if "not a git repository" in problem or "invalid gitfile" in problem:
        fix = context.shell.then(context.shell.move(".git", "git.old"), "git init")
        return failure(f".git is damaged: {problem}", fix)
    return failure(problem, fix="git fsck")


def _read(status: str) -> _State:
    state = _State()
    entries = iter(status.split("\0"))
    for entry in entries:
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            _read_branch(state, *rest.partition(" ")[::2])
        elif kind == "u":
            state.conflicts.append(entry.split(" ", 10)[-1])
        elif kind in {"1", "2", "?"}:
            state.files.append(rest)
        if kind == "2":
            next(entries, "")  # a renamed file's old name
    return state


def _read_branch(state: _State, key: str, value: str) -> None:
    if key == "branch.oid":
        state.commit = value != "(initial)"
    elif key == "branch.head":
        state.branch = "" if value == "(detached)" else value
    elif key == "branch.upstream":
        state.upstream = value
    elif key == "branch.ab":
        state.ahead, state.behind = (abs(int(number)) for number in value.split())


def _conflicts(context: Context, state: _State) -> Iterator[Finding]:
    patterns = [word for each in _MARKERS for word in ("-e", each)]
    words = ("grep", "-I", "-z", "--files-with-matches", "--all-match", *patterns)
    marked = git.ask(context.run, context.folder, *words).names
    action = _unfinished(context.folder)
    names = list(dict.fromkeys([*state.conflicts, *marked]))
    if names:
        many = f"conflict markers in {listed(names, _FEW)}"
        then = f", then run git {action} --continue" if action else ""
        yield failure(many, fix=f"edit {names[0]}: keep one of the two versions{then}")
    elif action:
        yield warning(f"a {action} is not finished", fix=f"git {action} --continue")


def _unfinished(folder: Path) -> str:
    inside = git.git_folder(folder)
    found = [word for name, word in _UNFINISHED.items() if inside and (inside / name).exists()]
    return found[0] if found else ""


def _commits(context: Context, state: _State) -> Iterator[Finding]:
    if not state.commit:
        yield warning("nothing is committed yet", fix="git add .", details=("git commit",))
    elif not state.branch:
        if not _unfinished(context.folder):
            yield warning("HEAD is detached: new commits can get lost", fix="git switch -c work")
    elif state.upstream and state.ahead is not None:
        if state.ahead:
            yield warning(
                f"{counted(state.ahead, 'commit')} not pushed", "git push", details=_behind(state)
            )
    else:
        yield from _never_pushed(context, state)


def _never_pushed(context: Context, state: _State) -> Iterator[Finding]:
    remotes = git.ask(context.run, context.folder, "remote").out.split()
    if not remotes:
        yield warning(
            "no remote: the work is on this machine only",
            fix="open https://github.com/new",
            details=(
                "Then: git remote add origin ADDRESS",
                f"and: git push --set-upstream origin {state.branch}",
            ),
        )
        return
    words = ("rev-list", "--count", state.branch, "--not", "--remotes")
    count = git.ask(context.run, context.folder, *words).out
    if count != "0":
        fix = f"git push --set-upstream {remotes[0]} {state.branch}"
        many = counted(int(count), "commit") if count else "commits not counted"
        yield warning(f"the branch {state.branch} is not pushed ({many})", fix)


def _files(state: _State) -> Iterator[Finding]:
    if state.commit and len(state.files) > _MANY:
        seen = f"{len(state.files):,} files are not committed"
        yield warning(seen, fix="git add .", details=("git commit",))


def _behind(state: _State) -> tuple[str, ...]:
    if not state.behind:
        return ()
    return (f"{counted(state.behind, 'commit')} behind the remote: git pull --rebase",)
