"""Multi-GPU helpers: number of processes, main process, sharing a decision."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from tune.errors import TuneError

T = TypeVar("T")


def count() -> int:
    """The number of processes that `accelerate launch` started for this training."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_main() -> bool:
    """Whether this process writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def broadcast(decide: Callable[[], T]) -> T:
    """Run `decide` in the main process and send the result to the others.

    Its TuneError is raised in all processes.
    """
    if count() == 1:
        return decide()
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    outcome: list[Any] = [_decided(decide) if is_main() else None]
    decided, problem, fix = broadcast_object_list(outcome)[0]
    if problem:
        raise TuneError(problem, fix)
    return decided


def _decided(decide: Callable[[], T]) -> tuple[T | None, str, str]:
    try:
        return decide(), "", ""
    except TuneError as error:
        return None, error.problem, error.fix
