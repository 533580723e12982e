"""One run of a task: its limits, its usage, and the queue of its events."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TypeVar

from langchain_core.messages import AIMessage

from agent import memory, prompts
from agent.events import Draft, Event, Result, Usage
from agent.settings import Settings, cost
from agent.tools import ToolError
from plumbing.retries import Stopped

T = TypeVar("T")

POLL = 0.05  # seconds between two checks for Stop


class Ended(Stopped):
    """The run ended before its task was done; the text is the reason."""


@dataclass
class Run:
    """A task's run; every thread that works on it finds it in `CURRENT_RUN`."""

    chat: str
    settings: Settings
    yes: bool = False  # approve everything
    owner: str = ""
    usage: Usage = field(default_factory=Usage)
    results: dict[str, Result] = field(default_factory=dict)
    emitted: set[str] = field(default_factory=set)  # ids of the calls that were emitted
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
            memory.add(self.settings.memory, self.chat, event, self.owner)
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
                raise ToolError(prompts.TOOL_TIMEOUT.format(seconds=seconds))


CURRENT_RUN: contextvars.ContextVar[Run] = contextvars.ContextVar("run")


def _fill(future: Future[T], context: contextvars.Context, call: Callable[[], T]) -> None:
    try:
        future.set_result(context.run(call))
    except BaseException as error:
        future.set_exception(error)
