"""What leaves a project: an allow-list of files, the variables, and the search for secrets."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from hackkit.deploy.manifest import Objection, Outgoing
from hackkit.deploy.secret_scan import scan
from hackkit.errors import HackkitError
from hackkit.network.urls import is_loopback
from hackkit.project.context import Context
from hackkit.project.leaks import is_env_file, is_secret_name, telling
from hackkit.system import git
from hackkit.system.command_line import line

# The platform decides where the app listens, and how it is reached.
_OURS_ALONE = {"HOST", "PORT"}
_NEVER = {
    *(".git", ".venv", "venv", "node_modules", ".gradio", "index", "__pycache__"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"),
}
_NEVER_FILES = {"feedback.jsonl", "evals/report.json", ".DS_Store"}
_NEVER_BELOW = ("docs/uploads/",)
_MB = 1_000_000


def files(context: Context) -> tuple[Outgoing, ...]:
    """Return the files that git tracks, as they are now, without what never leaves.

    Raises HackkitError when git cannot tell.
    """
    tracked = git.ask(context.run, context.folder, "ls-files", "-z", "--cached", seconds=10)
    if tracked.problem or not tracked.names:
        raise HackkitError(
            "Only files that git tracks are sent, and git tracks none here"
            + (f": {tracked.problem}." if tracked.problem else "."),
            fix="git init && git add --all && git commit --message Start",
        )
    return tuple(_outgoing(context.folder, tracked.names))


def untracked(context: Context) -> tuple[str, ...]:
    """Return the files that git neither tracks nor ignores: they stay here."""
    words = ("ls-files", "-z", "--others", "--exclude-standard")
    return git.ask(context.run, context.folder, *words, seconds=10).names


def made(path: str, text: str) -> Outgoing:
    """Return a file that is made on the way."""
    data = text.encode()
    return Outgoing(path, data, len(data))


def together(*groups: Sequence[Outgoing]) -> tuple[Outgoing, ...]:
    """Return the files of all groups by path; a later group's file replaces an earlier's."""
    by_path = {each.path: each for group in groups for each in group}
    return tuple(by_path[path] for path in sorted(by_path))


def _outgoing(folder: Path, names: Collection[str]) -> Iterator[Outgoing]:
    inside = folder.resolve()
    for name in sorted(names):
        path = folder / name
        # A link that leads out of the project would carry a stranger's file along.
        if leaves(name) and path.is_file() and path.resolve().is_relative_to(inside):
            yield Outgoing(name, path, path.stat().st_size)


def leaves(name: str) -> bool:
    """Tell whether a file of this path may leave at all."""
    parts = name.split("/")
    never = _NEVER & set(parts) or name in _NEVER_FILES or name.startswith(_NEVER_BELOW)
    return not (never or is_env_file(name) or name.endswith((".pyc", ".pyo")))


def variables(context: Context) -> tuple[dict[str, str], dict[str, str]]:
    """Return the secrets and the other variables to set: those of `.env.example` with a value."""
    names = context.project.example_variables if context.project else ()
    values = {name: context.value(name) for name in names if name not in _OURS_ALONE}
    found = {name: value for name, value in values.items() if value}
    secret = set(filter(is_secret_name, found))
    return (
        {name: value for name, value in found.items() if name in secret},
        {name: value for name, value in found.items() if name not in secret},
    )


def variable_notes(values: Mapping[str, str]) -> Iterator[str]:
    """Say which variables lead to this machine: nobody else reaches that."""
    for name, value in values.items():
        if "://" in value and is_loopback(value):
            yield f"{name} leads to this machine, which the platform cannot reach"


def objections(
    outgoing: Sequence[Outgoing], context: Context, most_mb: float
) -> Iterator[Objection]:
    """Say what stops these files from leaving: one that is too large, one that holds a secret."""
    large = [each for each in outgoing if each.size > most_mb * _MB]
    for each in large:
        yield Objection(
            f"{each.path} is {each.size / _MB:.1f} MB; at most {most_mb:g} MB are taken.",
            fix=line(["git", "rm", "--cached", "--", each.path]),
        )
    known = telling(context.secrets)
    for each in outgoing:
        if each not in large:  # those stay here, and take long to read
            yield from scan(each, known)


@contextlib.contextmanager
def staged(outgoing: Sequence[Outgoing]) -> Iterator[Path]:
    """Copy the files into a clean temporary folder, the only one that an uploader ever sees."""
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
