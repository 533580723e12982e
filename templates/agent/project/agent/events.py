"""The typed events of a run: for the page, the command line, REST and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """What the user asked for, and the names of the attached files."""

    text: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thought:
    """The model's text before its tool calls. `agent` is the specialist's name in a team."""

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
    """A tool ended; `text` is the result that the model reads, `ok` whether it worked."""

    id: str
    tool: str
    text: str
    ok: bool
    seconds: float
    agent: str = ""


@dataclass(frozen=True)
class Approval:
    """A call waits for a person's approval and has not run yet."""

    id: str
    tool: str
    args: Mapping[str, Any]
    agent: str = ""


@dataclass(frozen=True)
class Decision:
    """A person's decision on an approval: `approve`, `edit` (with new `args`) or `refuse`."""

    id: str
    choice: str
    reason: str = ""
    args: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Draft:
    """The model's reply so far, while it is streamed; each one replaces the one before."""

    text: str


@dataclass(frozen=True)
class Answer:
    """The final answer of a run. `notice` says why the model failed, if it did."""

    text: str
    model: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Notice:
    """A polite line about a problem."""

    text: str


@dataclass(frozen=True)
class Usage:
    """What the run used so far; `cost` in US dollars, None if the model's price is unknown."""

    steps: int = 0
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None


Event = Task | Thought | Call | Result | Approval | Decision | Draft | Answer | Notice | Usage
_NAMES = {kind: kind.__name__.lower() for kind in Event.__args__} | {Usage: "spent"}  # as saved
KINDS: dict[str, type] = {name: kind for kind, name in _NAMES.items()}


def as_dict(event: Event) -> dict[str, Any]:
    """An event as plain values, its kind under `type`: the format of `--json` and REST."""
    return {"type": _NAMES[type(event)], **asdict(event)}


def from_dict(values: Mapping[str, Any]) -> Event:
    """The event from which `as_dict` made these values."""
    rest = {name: value for name, value in values.items() if name != "type"}
    if "files" in rest:
        rest["files"] = tuple(rest["files"])
    event: Event = KINDS[values["type"]](**rest)
    return event


def pending(events: Sequence[Event]) -> list[Approval]:
    """The calls that still wait for approval; a later task or answer cancels them."""
    open_calls: dict[str, Approval] = {}
    for event in events:
        if isinstance(event, Task | Answer):
            open_calls.clear()
        elif isinstance(event, Approval):
            open_calls[event.id] = event
        elif isinstance(event, Decision):
            open_calls.pop(event.id, None)
    return list(open_calls.values())


def last(kind: type[T], events: Sequence[Event]) -> T | None:
    """The latest event of a kind."""
    return next((event for event in reversed(events) if isinstance(event, kind)), None)
