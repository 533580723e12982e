"""This computer: the only module that knows psutil, and the one that runs others' commands."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# Set while git itself runs something (a hook, a rebase): they would aim our commands elsewhere.
_AIMED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit code, or `timed_out`, and what it printed."""

    code: int
    out: str = ""
    err: str = ""
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out


class Run(Protocol):
    """Runs a command, without a terminal; None when there is no such command."""

    def __call__(self, *words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        """Run `words` in `folder` for at most so many seconds."""


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes."""

    total: int
    available: int


def runner(env: Mapping[str, str]) -> Run:
    """Return a function that runs commands with this environment."""

    def run(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        program = shutil.which(words[0], path=env.get("PATH"))
        if program is None:
            return None
        return _run([program, *words[1:]], folder, env, seconds)

    return run


def _run(words: list[str], folder: Path | None, env: Mapping[str, str], seconds: float) -> Ran:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe
    ) as child:
        try:
            out, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            # What a grandchild that holds the pipes would still say is given up.
            child.kill()
            return Ran(-1, timed_out=True)
        return Ran(child.returncode, _text(out), _text(err))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def memory() -> Memory:
    """Measure main memory."""
    import psutil  # noqa: PLC0415 - only some commands measure

    seen = psutil.virtual_memory()
    return Memory(seen.total, seen.available)


def disk_free(folder: Path) -> int:
    """Return the bytes that are free on the drive of a folder, or of the nearest one above it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def listener(port: int) -> str:
    """Name the process that listens on a TCP port of this machine; empty when none is seen.

    Another user's process may be hidden by the system: then it is called "another user's process".
    """
    import psutil  # noqa: PLC0415 - only some commands look

    with contextlib.suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            here = listens and getattr(connection.laddr, "port", None) == port
            if here and connection.pid:
                with contextlib.suppress(psutil.Error):
                    return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            if here:
                return "another user's process"
    return ""


def environment() -> dict[str, str]:
    """Return this process's environment without what would aim git at another repository."""
    return {key: value for key, value in os.environ.items() if key not in _AIMED}
