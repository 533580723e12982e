"""Puts a finished project into its folder: all of it, or nothing, and never over another one."""

import contextlib
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from hackkit.system.processes import family

_CLAIM = ".hackkit-new"  # the folder is being filled, by the process with the number in _OWNER
_OWNER = "process"


@contextlib.contextmanager
def workshop(directory: Path) -> Iterator[Path]:
    """Yield an empty folder of the same name among the temporary ones; it is removed afterwards.

    A process that is killed while it writes leaves nothing beside the team's other folders.
    """
    room = Path(tempfile.mkdtemp(prefix="hackkit-"))
    made = room / (directory.resolve().name or "project")
    made.mkdir()
    try:
        yield made
    finally:
        with _ignoring_interrupts():
            _delete(room)


def remove_leftovers(directory: Path) -> None:
    """Remove what a process left in the folder that was killed before it had moved anything."""
    claim = directory / _CLAIM
    with contextlib.suppress(OSError, ValueError):
        if not family(int((claim / _OWNER).read_text("utf-8"))):
            _delete(claim)


def place(made: Path, directory: Path) -> None:
    """Move a finished project into its folder, which is absent or empty.

    Raises FileExistsError when something is in it: another process was faster.
    """
    with _ignoring_interrupts():
        missing = [path for path in directory.parents if not path.exists()]
        try:
            _fill(made, directory) if directory.is_dir() else _become(made, directory)
        except OSError:
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise


def _become(made: Path, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".hackkit-", dir=directory.parent))
    try:
        # The temporary folders may be on another disk: then this copies. Renaming is one step.
        shutil.move(made, beside / "project")
        _refuse(directory, full=os.path.lexists(directory))
        with contextlib.suppress(OSError):
            (beside / "project").rename(directory)
            return
        _refuse(directory, full=os.path.lexists(directory))  # since a moment ago
        (beside / "project").rename(directory)  # raises what is wrong
    finally:
        _delete(beside)


def _fill(made: Path, directory: Path) -> None:
    """Move what is in the project: the empty folder itself may be where the user's shell is."""
    claim = directory / _CLAIM
    claim.mkdir()  # only one process can
    (claim / _OWNER).write_text(str(os.getpid()), "utf-8")
    moved: list[Path] = []
    try:
        _refuse(directory, full=any(each != claim for each in directory.iterdir()))
        # The temporary folders may be on another disk: then this copies. A kill leaves the claim.
        shutil.move(made, claim / "project")
        for each in list((claim / "project").iterdir()):
            moved.append(directory / each.name)
            each.rename(moved[-1])
    except BaseException:
        for path in moved:
            _delete(path)
        raise
    finally:
        _delete(claim)


def _refuse(directory: Path, *, full: bool) -> None:
    if full:
        raise FileExistsError(directory)


def _delete(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Windows does not delete read-only files, such as git's objects.
    for item in path.rglob("*"):
        if os.name == "nt" and not item.is_symlink():
            item.chmod(stat.S_IWRITE)
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C until the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
