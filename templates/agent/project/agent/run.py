"""One task on its way: its limits, what it has used, and who listens."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

from langchain_core.messages import AIMessage

from agent import llm, memory, prompts
from agent.settings import Settings
from agent.steps import Draft, Result, Spent, Step
from agent.tools import ToolError
from plumbing.retries import Stopped

T = TypeVar("T")

LOOK = 0.05  # seconds between two looks at whether the run was stopped


class Ended(Stopped):
    """The run is over before its task is done; the text says why."""


@dataclass
class Run:
    """A task's run; all threads that work on it find it in `NOW`."""

    chat: str
    settings: Settings
    yes: bool = False  # approve everything
    owner: str = ""
    spent: Spent = field(default_factory=Spent)
    results: dict[str, Result] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # ids of the calls that were told
    notice: str = ""  # why the stand-in goes on in the model's place
    stopped: threading.Event = field(default_factory=threading.Event)
    heard: queue.SimpleQueue[Step | None] = field(default_factory=queue.SimpleQueue)
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def tell(self, step: Step) -> None:
        """Write a step down and hand it to whoever listens."""
        if not isinstance(step, Draft | Spent):
            memory.add(self.settings.memory, self.chat, step, self.owner)
        self.heard.put(step)

    def check(self) -> None:
        """Raise Ended when somebody pressed Stop, or the time is up."""
        if self.stopped.is_set():
            raise Ended(prompts.STOPPED)
        longest = self.settings.max_seconds
        if longest and self.now().seconds > longest:
            raise Ended(prompts.LIMIT.format(limit=f"{longest:g} seconds", name="MAX_SECONDS"))

    def begin_step(self) -> None:
        """Count a reply of the model. Raises Ended when a limit is reached."""
        self.check()
        most, spent = self.settings, self.spent
        tokens = spent.tokens_in + spent.tokens_out
        for name, limit, used, text in (
            ("MAX_STEPS", most.max_steps, spent.steps, f"{most.max_steps} steps"),
            ("MAX_TASK_TOKENS", most.max_task_tokens, tokens, f"{most.max_task_tokens:,} tokens"),
            ("MAX_COST", most.max_cost, spent.cost or 0, f"${most.max_cost:g}"),
        ):
            if limit and used >= limit:
                raise Ended(prompts.LIMIT.format(limit=text, name=name))
        self.spent = replace(spent, steps=spent.steps + 1)

    def pay(self, message: AIMessage) -> None:
        """Add what a reply used to what was spent."""
        if used := message.usage_metadata:
            tokens_in = self.spent.tokens_in + used["input_tokens"]
            tokens_out = self.spent.tokens_out + used["output_tokens"]
            cost = llm.cost(tokens_in, tokens_out, self.settings.chat)
            self.spent = replace(self.spent, tokens_in=tokens_in, tokens_out=tokens_out, cost=cost)
        self.tell(self.now())

    def now(self) -> Spent:
        """What was spent up to this moment, in this run and before an approval."""
        return replace(self.spent, seconds=self.spent.seconds + self.clock() - self.began)

    def watch(self, call: Callable[[], T], seconds: float = float("inf")) -> T:
        """Make a call that may hang; it is left behind when the run ends or its time is up."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        threading.Thread(target=_into, args=(future, context, call), daemon=True).start()
        end = time.monotonic() + seconds
        while True:
            try:
                return future.result(LOOK)
            except TimeoutError:
                if future.done():  # it was the call's own
                    raise
            self.check()
            if time.monotonic() > end:
                raise ToolError(prompts.TOOL_TIMEOUT.format(seconds=seconds))


NOW: contextvars.ContextVar[Run] = contextvars.ContextVar("run")


def _into(future: Future[T], context: contextvars.Context, call: Callable[[], T]) -> None:
    try:
        future.set_result(context.run(call))
    except BaseException as error:
        future.set_exception(error)
