"""The steps that a run is told in: to the page, the command line, REST, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """What the person asked for, and the names of the files that came with it."""

    text: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thought:
    """What the model says before it acts. `agent` is the specialist's name in a team."""

    text: str
    agent: str = ""


@dataclass(frozen=True)
class Call:
    """A tool starts."""

    id: str
    tool: str
    args: Mapping[str, Any]
    agent: str = ""


@dataclass(frozen=True)
class Result:
    """A tool ended; `text` is what the model reads of it, `ok` whether it worked."""

    id: str
    tool: str
    text: str
    ok: bool
    seconds: float
    agent: str = ""


@dataclass(frozen=True)
class Approval:
    """A call waits for a person: nothing has happened yet."""

    id: str
    tool: str
    args: Mapping[str, Any]
    agent: str = ""


@dataclass(frozen=True)
class Decision:
    """What the person said to an approval: `approve`, `edit` (with new `args`) or `refuse`."""

    id: str
    choice: str
    reason: str = ""
    args: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Draft:
    """The words of the model as they come; each one replaces the one before."""

    text: str


@dataclass(frozen=True)
class Answer:
    """The last words of a run. `notice` says why the stand-in speaks when a model should have."""

    text: str
    model: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Notice:
    """A polite line about what went otherwise than planned."""

    text: str


@dataclass(frozen=True)
class Spent:
    """What the run has used so far; `cost` in US dollars, None when the price is not known."""

    steps: int = 0
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None


Step = Task | Thought | Call | Result | Approval | Decision | Draft | Answer | Notice | Spent
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in Step.__args__}


def as_dict(step: Step) -> dict[str, Any]:
    """A step as plain values, its kind under `type`: what `--json` and REST give."""
    return {"type": type(step).__name__.lower(), **asdict(step)}


def from_dict(values: Mapping[str, Any]) -> Step:
    """The step that `as_dict` made these values of."""
    rest = {name: value for name, value in values.items() if name != "type"}
    if "files" in rest:
        rest["files"] = tuple(rest["files"])
    step: Step = KINDS[values["type"]](**rest)
    return step


def pending(steps: Sequence[Step]) -> list[Approval]:
    """The calls that still wait for a person: a later task or answer leaves none."""
    open_calls: dict[str, Approval] = {}
    for step in steps:
        if isinstance(step, Task | Answer):
            open_calls.clear()
        elif isinstance(step, Approval):
            open_calls[step.id] = step
        elif isinstance(step, Decision):
            open_calls.pop(step.id, None)
    return list(open_calls.values())
