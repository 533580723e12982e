"""The events of a run, and the run that emits them: its limits, its usage, its queue."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from agent import prompts
from agent.settings import Settings, cost
from plumbing.retries import Stopped

if TYPE_CHECKING:  # slow to import: the page is served before LangChain is loaded
    from langchain_core.messages import AIMessage

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
    images: tuple[str, ...] = ()  # JPEG, as data URLs


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
    rest |= {name: tuple(rest[name]) for name in ("files", "images") if name in rest}
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


# The run

POLL = 0.05  # seconds between two checks for Stop


class Ended(Stopped):
    """The run ended before its task was done; the text is the reason."""


class TooSlow(Exception):
    """A call took longer than its time limit."""


@dataclass
class Run:
    """A task's run; every thread that works on it finds it in `CURRENT_RUN`."""

    settings: Settings
    save: Callable[[Event], None]
    history: Callable[[], list[Event]]  # the conversation's saved events
    yes: bool = False  # approve everything
    usage: Usage = field(default_factory=Usage)
    results: dict[str, Result] = field(default_factory=dict)
    notice: str = ""  # why the run continues offline
    stopped: threading.Event = field(default_factory=threading.Event)
    queue: SimpleQueue[Event | None] = field(default_factory=SimpleQueue)
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def emit(self, event: Event) -> None:
        """Save an event, and put it into the queue."""
        if not isinstance(event, Draft | Usage):
            self.save(event)
        self.queue.put(event)

    def check(self) -> None:
        """Raise Ended when Stop was pressed, or the time is up."""
        if self.stopped.is_set():
            raise Ended(prompts.STOPPED)
        longest = self.settings.max_seconds
        if longest and self.usage_now().seconds > longest:
            raise Ended(prompts.LIMIT.format(limit=f"{longest:g} seconds", name="MAX_SECONDS"))

    def start_step(self) -> None:
        """Count a reply of the model. Raises Ended when a limit is reached."""
        self.check()
        most, usage = self.settings, self.usage
        tokens = usage.tokens_in + usage.tokens_out
        for name, limit, used, text in (
            ("MAX_STEPS", most.max_steps, usage.steps, f"{most.max_steps} steps"),
            ("MAX_TASK_TOKENS", most.max_task_tokens, tokens, f"{most.max_task_tokens:,} tokens"),
            ("MAX_COST", most.max_cost, usage.cost or 0, f"${most.max_cost:g}"),
        ):
            if limit and used >= limit:
                raise Ended(prompts.LIMIT.format(limit=text, name=name))
        self.usage = replace(usage, steps=usage.steps + 1)

    def add_usage(self, message: AIMessage) -> None:
        """Add a reply's tokens and cost, and emit the new totals."""
        if used := message.usage_metadata:
            tokens_in = self.usage.tokens_in + used["input_tokens"]
            tokens_out = self.usage.tokens_out + used["output_tokens"]
            price = cost(tokens_in, tokens_out, self.settings.chat)
            self.usage = replace(self.usage, tokens_in=tokens_in, tokens_out=tokens_out, cost=price)
        self.emit(self.usage_now())

    def usage_now(self) -> Usage:
        """The usage up to this moment; the time spent waiting for an approval does not count."""
        return replace(self.usage, seconds=self.usage.seconds + self.clock() - self.started)

    def cancellable(self, call: Callable[[], T], seconds: float = float("inf")) -> T:
        """Make a call that may hang, and abandon it when the run ends or `seconds` are over."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        threading.Thread(target=_fill, args=(future, context, call), daemon=True).start()
        end = time.monotonic() + seconds
        while True:
            try:
                return future.result(POLL)
            except TimeoutError:
                if future.done():  # the call itself raised it
                    raise
            self.check()
            if time.monotonic() > end:
                raise TooSlow(prompts.TOOL_TIMEOUT.format(seconds=seconds))


CURRENT_RUN: contextvars.ContextVar[Run] = contextvars.ContextVar("run")


def _fill(future: Future[T], context: contextvars.Context, call: Callable[[], T]) -> None:
    try:
        future.set_result(context.run(call))
    except BaseException as error:
        future.set_exception(error)
