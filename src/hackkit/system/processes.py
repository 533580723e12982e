"""Runs other programs, with a time limit, and ends them with all that they have started."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import psutil

# Set while git itself runs something (a hook, a rebase): git commands would use that repository.
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")
_NOT_RUNNABLE = 126  # the exit code that shells have for it
_MOST_OUTPUT = 20_000_000  # bytes that are read of what a command prints


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
    """Runs a command without a terminal; None when it is not installed."""

    def __call__(self, *words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        """Run `words` in `folder` for at most `seconds`."""


class Stream(Protocol):
    """Runs a command with very much output, and yields the output while it comes."""

    def __call__(
        self, *words: str, folder: Path | None = None, seconds: float = 3, most: int = 10**8
    ) -> Iterator[bytes]:
        """Yield pieces of output. Raises OSError when the command is not installed or fails.

        Raises TimeoutError after `seconds`, or after `most` bytes.
        """


def runner(env: Mapping[str, str]) -> Run:
    """Return a function that runs commands with this environment."""

    def run(*words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:
        if shutil.which(words[0], path=env.get("PATH")) is None:
            return None
        return run_once(words, folder=folder, env=env, seconds=seconds)

    return run


def run_once(
    words: Sequence[str],
    *,
    folder: Path | None,
    env: Mapping[str, str],
    seconds: float,
    given: str = "",
) -> Ran:
    """Run a command to its end; `given` is what it reads from its standard input.

    A command that is not installed, or may not be run, has the exit code 126. The output goes to
    files: unlike a pipe, a file does not keep us waiting for a grandchild that holds it open.
    """
    program = shutil.which(words[0], path=env.get("PATH"))
    if program is None:
        return Ran(_NOT_RUNNABLE, err=f"{words[0]} was not found")
    late = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                [program, *words[1:]],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.PIPE if given else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        except OSError as error:  # no permission, or a program for another system
            return Ran(_NOT_RUNNABLE, err=str(error))
        with child, _alarm(seconds, late.set, lambda: _kill_tree(child.pid)):
            _feed(child, given)
        code = -1 if late.is_set() else child.returncode
        return Ran(code, _text(out), _text(err), timed_out=late.is_set())


def _feed(child: subprocess.Popen[bytes], given: str) -> None:
    """Write to a command's standard input, and wait for its end."""
    try:
        child.communicate(given.encode() if given else None)
    except BaseException:  # Ctrl-C: nothing that we started runs on
        _kill_tree(child.pid)
        raise


def streamer(env: Mapping[str, str]) -> Stream:
    """Return a function that streams commands with this environment."""

    def stream(
        *words: str, folder: Path | None = None, seconds: float = 3, most: int = 10**8
    ) -> Iterator[bytes]:
        program = shutil.which(words[0], path=env.get("PATH"))
        if program is None:
            raise FileNotFoundError(f"{words[0]} was not found")
        with subprocess.Popen(
            [program, *words[1:]],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        ) as child:
            late = threading.Event()
            try:
                with _alarm(seconds, late.set, lambda: _kill_tree(child.pid)):
                    yield from _pieces(child.stdout, most)
                    code = child.wait()
            finally:
                child.kill()  # the caller may stop reading before the end
        if late.is_set():
            raise TimeoutError(f"{words[0]} took longer than {seconds:g} s")
        if code:
            raise OSError(f"{words[0]} ended with exit code {code}")

    return stream


def _kill_tree(number: int) -> None:
    """Kill a process and all that it has started: a command may be a script that starts another."""
    import psutil  # noqa: PLC0415 - only what hangs is ended

    with contextlib.suppress(psutil.Error):
        process = psutil.Process(number)
        for each in (*process.children(recursive=True), process):
            with contextlib.suppress(psutil.Error):
                each.kill()


def _pieces(pipe: IO[bytes] | None, most: int) -> Iterator[bytes]:
    while pipe and (piece := pipe.read(1 << 16)):
        yield piece
        most -= len(piece)
        if most <= 0:
            raise TimeoutError("it printed more than is read")


@contextlib.contextmanager
def _alarm(seconds: float, *actions: Callable[[], object]) -> Iterator[None]:
    """Run the actions when the block takes longer than `seconds`."""
    timer = threading.Timer(seconds, lambda: [action() for action in actions])
    timer.daemon = True  # hackkit must end even if a command cannot be killed
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MOST_OUTPUT).decode("utf-8", "replace").strip()


def stop_gracefully(child: subprocess.Popen[bytes], grace: float = 3.0) -> None:
    """End a process that `begin` started, and all that it has started; kill what does not end."""
    import psutil  # noqa: PLC0415 - only some commands end others

    group = family(child.pid) if child.poll() is None else []
    try:
        for each in group:
            with contextlib.suppress(psutil.Error):
                each.terminate()
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and not all(map(_is_over, group)):
            time.sleep(0.02)
    finally:  # a second Ctrl-C skips the wait
        for each in group:
            with contextlib.suppress(psutil.Error):
                each.kill()
        if os.name != "nt":  # also those whose parents have ended: they are in its group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace)


def begin(
    words: Sequence[str], folder: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes] | None:
    """Start a command in its own process group; None when it is not installed.

    Its stdout and stderr both come through `stdout`.
    """
    program = shutil.which(words[0], path=env.get("PATH"))
    if program is None:
        return None
    return subprocess.Popen(
        [program, *words[1:]],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def family(process: int) -> "list[psutil.Process]":
    """Return a process and all that it has started; nothing when it has ended."""
    import psutil  # noqa: PLC0415 - only some commands look

    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _is_over(process: "psutil.Process") -> bool:
    """Return whether a process has ended; one that its parent has not waited for counts."""
    import psutil  # noqa: PLC0415 - only some commands look

    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def inherited_environment() -> dict[str, str]:
    """Return this process's environment, without variables that name another repository."""
    return {key: value for key, value in os.environ.items() if key not in GIT_VARIABLES}
