"""How a command ends: expected errors, each with the command that fixes it, and Ctrl-C."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOM = "free some space, or check the permissions; RUNS_DIR in .env moves the runs elsewhere"
FULL = re.compile("out of memory|not enough memory|allocate memory|alloc_failed")
MISSING = "This needs PyTorch, Transformers, TRL and PEFT, which are not all installed."
INSTALL = "uv pip install --torch-backend auto -r pyproject.toml --extra train"


class TuneError(Exception):
    """An error that the team can fix; `fix` is what to type."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\nFix: {fix}" if fix else problem)
        self.problem, self.fix = problem, fix


def explained(error: Exception) -> TuneError | None:
    """Turn errors of the disk or of a weights file into advice; None for a bug of ours."""
    if isinstance(error, TuneError):
        return error
    if isinstance(error, RecursionError):
        return TuneError("A value in the data is nested too deeply.", "flatten it")
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return TuneError(f"{where}{error.strerror or error}.", ROOM)
    if type(error).__name__ != "SafetensorError":  # by its name: its package may not be installed
        return None
    if "while serializing" in str(error):
        return TuneError(f"The weights cannot be written: {error}.", ROOM)
    fix = "copy its folder again, or train again: uv run python -m tune train"
    return TuneError(f"A weights file is damaged: {error}.", fix)


def is_memory_full(error: BaseException) -> bool:
    """Whether memory ran out, in any of PyTorch's wordings; not an "illegal memory access"."""
    return isinstance(error, MemoryError) or bool(FULL.search(str(error).lower()))


def can_load() -> bool:
    """Whether the packages that run a model are installed; does not import them."""
    return all(find_spec(name) for name in ("torch", "transformers", "peft"))


def can_train() -> bool:
    """Whether the packages that train a model are installed."""
    return can_load() and find_spec("trl") is not None


def need_loading() -> None:
    """Raise TuneError if the packages that run a model are missing."""
    if not can_load():
        raise TuneError(MISSING, INSTALL)


def need_training() -> None:
    """Raise TuneError if the packages that train a model are missing."""
    if not can_train():
        raise TuneError(MISSING, INSTALL)


def note(line: str) -> None:
    """Print a message on stderr; scripts read stdout."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def stoppable(how: str = "", started: Path | None = None) -> Iterator[None]:
    """After Ctrl-C, say how to continue, if the file `started` is there, and end with 130."""
    try:
        yield
    except KeyboardInterrupt:
        there = started is None or started.is_file()
        note(f"Stopped. {how if there else 'The run was not created yet.'}".strip())
        raise SystemExit(130) from None


def run_app(app: Callable[..., object], name: str) -> int:
    """Run a command line; an expected error is two lines, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        app(prog_name=name)
    except Exception as error:
        expected = explained(error)
        if expected is None:
            raise
        note(str(expected))
        return 1
    return 0
