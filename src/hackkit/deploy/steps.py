"""Names and times the steps of a rehearsal or a deployment."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from hackkit.deploy.manifest import Progress, Step


@dataclass
class Steps:
    """The finished steps; `progress` gets the name of each new one."""

    progress: Progress
    done: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time the block as a step; what it appends to the list is the step's outcome."""
        self.progress(name)
        outcome, started = list[str](), time.monotonic()
        yield outcome
        self.done.append(Step(name, time.monotonic() - started, ", ".join(outcome)))
