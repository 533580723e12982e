"""Was a `.env` ever committed?

Fails when git tracks one now, or when one is in the history of any branch: everyone with a copy of
the repository has its keys, so they must be replaced.
"""

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped
from hackkit.project.context import Context
from hackkit.project.leaks import PAGES, is_env_file
from hackkit.system import git
from hackkit.system.command_line import hackkit, line
from hackkit.system.wording import listed

TITLE = ".env in git"
CATEGORY = Category.PROJECT

_SECONDS = 3
_FEW = 3
# Paths from the top of the repository, as a push contains all of it.
_ENV_FILES = (":(top,glob)**/.env", ":(top,glob)**/.env.*")
_COMMIT = "commit "


def check(context: Context) -> Finding:
    words = ("ls-files", "-z", "--full-name", "--", *_ENV_FILES)
    tracked = git.ask(context.run, context.folder, *words, seconds=_SECONDS)
    if tracked.problem:
        return skipped(tracked.problem)
    names = [name for name in tracked.names if is_env_file(name)]
    if names:
        at_top = git.root(context.folder) == context.folder
        paths = names if at_top else [f":/{name}" for name in names]
        return failure(
            f"git tracks {listed(names, _FEW)}",
            fix=line(["git", "rm", "--cached", "--", *paths]),
            details=(_replace_keys(), "Then commit: git does not track it from that commit on."),
        )
    return _past(context)


def _past(context: Context) -> Finding:
    words = (
        "-c",
        "log.showRoot=true",
        "log",
        "--exclude=refs/stash",
        "--all",
        "--full-history",
        "--diff-filter=A",
    )
    how = ("--no-renames", "--name-only", "-z", f"--format={_COMMIT}%h")
    answer = git.ask(context.run, context.folder, *words, *how, "--", *_ENV_FILES, seconds=_SECONDS)
    if answer.problem:
        return skipped(answer.problem)
    found, commit = [], ""
    for part in (piece.strip("\n") for piece in answer.out.split("\0")):
        if part.startswith(_COMMIT):
            commit = part.removeprefix(_COMMIT)
        elif is_env_file(part):
            found.append(f"{commit}:{part}")
    if not found:
        return ok("never committed")
    return failure(
        f"in the history: {listed(found, _FEW)}",
        fix=f"open {PAGES['a Mistral API key']} and make a new key: the history keeps the old one",
        details=(
            _replace_keys(),
            "When all keys are replaced: "
            + hackkit("doctor", "--skip", "env-history", folder=context.folder),
        ),
    )


def _replace_keys() -> str:
    return "Replace every key in it: deleting the file leaves it in the history."
