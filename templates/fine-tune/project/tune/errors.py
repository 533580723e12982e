"""What goes wrong as expected: what happened, and the command that mends it."""

from __future__ import annotations

import re
from importlib.util import find_spec

ROOM = "make room, or give yourself the right to it; RUNS_DIR in .env moves the runs elsewhere"
FULL = re.compile("out of memory|not enough memory|allocate memory|alloc_failed")
INSTALL = "uv pip install --torch-backend auto -r pyproject.toml --extra train"


class TuneError(Exception):
    """Something that the team can mend; `fix` is what to type."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\nFix: {fix}" if fix else problem)
        self.problem, self.fix = problem, fix


def explained(error: Exception) -> TuneError | None:
    """What a disk or a file of weights refused, and what to do; None for a mistake of ours."""
    if isinstance(error, TuneError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return TuneError(f"{where}{error.strerror or error}.", ROOM)
    if type(error).__name__ != "SafetensorError":  # by its name: its package may not be installed
        return None
    if "while serializing" in str(error):
        return TuneError(f"The weights cannot be written: {error}.", ROOM)
    fix = "copy its folder anew, or train again: uv run python -m tune train"
    return TuneError(f"A file of weights is damaged: {error}.", fix)


def is_memory_full(error: BaseException) -> bool:
    """Whether memory ran out, however PyTorch says it. An "illegal memory access" is no sign."""
    return isinstance(error, MemoryError) or bool(FULL.search(str(error).lower()))


def can_load() -> bool:
    """Tell whether what runs a model here is installed, without loading it."""
    return all(find_spec(name) for name in ("torch", "transformers", "peft"))


def can_train() -> bool:
    """The same of what trains one."""
    return can_load() and find_spec("trl") is not None


def need_loading() -> None:
    """Raise TuneError where nothing here can run a model."""
    if not can_load():
        raise TuneError("This needs PyTorch, Transformers and PEFT, not installed yet.", INSTALL)


def need_training() -> None:
    """Raise TuneError where PyTorch and its company are not installed."""
    if not can_train():
        raise TuneError(
            "This needs PyTorch, Transformers, TRL and PEFT, not installed yet.", INSTALL
        )
