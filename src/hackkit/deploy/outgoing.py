"""Chooses what a deployment sends: tracked files and variables; finds secrets in the files."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hackkit.deploy.manifest import OutgoingFile
from hackkit.deploy.secret_scan import scan, unread_notes
from hackkit.errors import HackkitError, Problem
from hackkit.network.urls import is_loopback
from hackkit.project.context import Context
from hackkit.project.files import env_encoding_problem
from hackkit.project.leaks import is_env_file, is_secret, unique
from hackkit.system import git
from hackkit.system.command_line import hackkit, line
from hackkit.system.wording import listed

# The platform decides where the app listens.
_SET_BY_PLATFORM = {"HOST", "PORT"}
_STAYS = "HF_TOKEN"  # it may write to the whole account, and an app only reads
_NEVER = {
    *(".git", ".venv", "venv", "node_modules", ".gradio", "index", "__pycache__"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
}
_NEVER_FILES = {"feedback.jsonl", "evals/report.json", ".DS_Store"}
_NEVER_BELOW = ("docs/uploads/",)
_SUBMODULE, _LINK = "160000 ", "120000 "  # git's modes
_MB = 1_000_000
_MOST_NAMED = 5  # files in one note


def tracked_files(context: Context) -> tuple[OutgoingFile, ...]:
    """Return the files that git tracks, in their current state, without those never sent.

    Raises HackkitError when git fails or tracks nothing.
    """
    tracked = git.ask(context.run, context.folder, "ls-files", "-z", "--cached", seconds=10)
    if tracked.problem or not tracked.names:
        raise HackkitError(
            "Only files that git tracks are sent, and git tracks none here"
            + (f": {tracked.problem}." if tracked.problem else "."),
            fix=context.shell.then("git init", "git add --all", "git commit --message Start"),
        )
    return tuple(_existing(context.folder, tracked.names))


def _unreadable(context: Context) -> Iterator[tuple[str, str]]:
    """Yield the tracked names that are no files of this project, and what they are."""
    words = ("ls-files", "-z", "--stage")
    for entry in git.ask(context.run, context.folder, *words, seconds=10).names:
        about, _, name = entry.partition("\t")
        if about.startswith(_SUBMODULE):
            yield name, "a submodule, whose files are in another repository"
        elif about.startswith(_LINK) and _leads_out(context.folder, name):
            yield name, "a link to a file outside the project"


def _leads_out(folder: Path, name: str) -> bool:
    return not (folder / name).resolve().is_relative_to(folder.resolve())


def untracked(context: Context) -> tuple[str, ...]:
    """Return the files that git neither tracks nor ignores: they are not sent."""
    words = ("ls-files", "-z", "--others", "--exclude-standard")
    return git.ask(context.run, context.folder, *words, seconds=10).names


def left_out_notes(context: Context, sent: Sequence[OutgoingFile]) -> Iterator[str]:
    """Yield which files and which token are left out, and what cannot be searched."""
    paths = {each.path for each in sent}
    left = [each for each in untracked(context) if each not in paths]
    if left:
        yield f"left out, because git does not track them: {listed(left, _MOST_NAMED)}"
    for name, what in _unreadable(context):
        yield f"left out: {name} is {what}; copy what the app needs into the project"
    if context.project and _STAYS in context.project.example_variables and context.value(_STAYS):
        yield (
            f"{_STAYS} is not sent: it may write to your whole account. An app that reads a private"
            " or gated model needs a token of its own, with read access: set it on the platform"
        )
    yield from unread_notes(sent)


def generated(path: str, text: str) -> OutgoingFile:
    """Return a file that is generated for the upload."""
    data = text.encode()
    return OutgoingFile(path, data, len(data))


def merged(*groups: Sequence[OutgoingFile]) -> tuple[OutgoingFile, ...]:
    """Return the files of all groups, sorted by path; a later group replaces an earlier one's."""
    by_path = {each.path: each for group in groups for each in group}
    return tuple(by_path[path] for path in sorted(by_path))


def _existing(folder: Path, names: Collection[str]) -> Iterator[OutgoingFile]:
    inside = folder.resolve()
    for name in sorted(names):
        path = folder / name
        # A link that points outside the project would send a file of another project.
        if may_leave(name) and path.is_file() and path.resolve().is_relative_to(inside):
            yield OutgoingFile(name, path, path.stat().st_size)


def may_leave(name: str) -> bool:
    """Return whether a file with this path may be sent at all."""
    parts = name.split("/")
    never = _NEVER & set(parts) or name in _NEVER_FILES or name.startswith(_NEVER_BELOW)
    return not (never or is_env_file(name) or name.endswith((".pyc", ".pyo")))


def variables(context: Context) -> tuple[dict[str, str], dict[str, str]]:
    """Return the secrets and the other variables to set: those of `.env.example` with a value."""
    names = context.project.example_variables if context.project else ()
    own = {*_SET_BY_PLATFORM, _STAYS}
    values = {name: context.value(name) for name in names if name not in own}
    found = {name: value for name, value in values.items() if value}
    secret = {name for name, value in found.items() if is_secret(name, value)}
    return (
        {name: value for name, value in found.items() if name in secret},
        {name: value for name, value in found.items() if name not in secret},
    )


def variable_notes(values: Mapping[str, str]) -> Iterator[str]:
    """Yield a note for each variable that points to this machine."""
    for name, value in values.items():
        if "://" in value and is_loopback(value):
            yield f"{name} points to this machine, which the platform cannot reach"


def problems(
    outgoing: Sequence[OutgoingFile], context: Context, most_mb: float
) -> Iterator[Problem]:
    """Yield what stops these files from being sent: one is too large, or holds a secret.

    A `.env` that is not UTF-8 stops them too: the platforms' programs cannot read it.
    """
    problem = ""
    with contextlib.suppress(OSError):  # then nothing in it is used
        problem = env_encoding_problem(context.folder / ".env")
    if problem:
        fix = hackkit("doctor", "--fix", "--only", "variables", folder=context.folder)
        yield Problem(f".env {problem}.", fix)
    large = [each for each in outgoing if each.size > most_mb * _MB]
    for each in large:
        yield Problem(
            f"{each.path} is {each.size / _MB:.1f} MB (limit {most_mb:g} MB).",
            fix=line(["git", "rm", "--cached", "--", each.path]),
        )
    known = unique(context.secrets)
    for each in outgoing:
        if each not in large:  # they are not sent, and take long to read
            yield from scan(each, known)


@contextlib.contextmanager
def copied(outgoing: Sequence[OutgoingFile]) -> Iterator[Path]:
    """Copy the files into a clean temporary folder, the only one that an uploader sees."""
    folder = Path(tempfile.mkdtemp(prefix="hackkit-"))
    try:
        for each in outgoing:
            path = folder / each.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each.read())
            if isinstance(each.content, Path):
                shutil.copymode(each.content, path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=os.name == "nt")
