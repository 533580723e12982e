"""What goes wrong as expected: what happened, and the command that mends it."""

from __future__ import annotations

from importlib.util import find_spec

INSTALL = "uv pip install --torch-backend auto -r pyproject.toml --extra train"


class TuneError(Exception):
    """Something that the team can mend; `fix` is what to type."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem}\nFix: {fix}" if fix else problem)
        self.problem, self.fix = problem, fix


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
