"""All prompts that are sent to a model, and the fixed texts that people read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from tune.dataset import Example, Message, last_words

# Sent before every question that has no system message of its own: in training, in `evaluate`, in
# the app. Servers such as vLLM do not send it: there an app must send it.
# After a change, train again. Empty: the rows are sent as they are.
SYSTEM = ""

# The instruction for an untuned model, for a fair comparison: rows follow it as example turns.
WELL_PROMPTED = """\
You do one task. The conversation so far shows it by examples: each message with the answer that \
was wanted. Work out the rule behind them, and answer the last message in exactly that way: the \
same language, form, keys, length and tone. Give the answer alone: no explanation, no code fence, \
no quotation marks around it."""
SHOTS = 12  # rows that follow it

# What people read
STAND_IN = "stand-in"  # quotes the nearest training row
NO_MODEL = (
    "No base model is available, and this question was not recorded. Set BASE_CHAT_MODEL and "
    "LLM_BASE_URL for a server, set a Mistral API key in .env, or make a model on this machine: "
    "uv run python -m tune rehearse"
)
NOTHING_NEAR = "No tuned model is available, and no training row is close to this question."
LOADING = "Loading the weights …"
BROKE_OFF = "The model failed in the middle of its answer."
STOPPED = "Stopped."
SORRY = "Something went wrong. The log shows the cause."


def with_system(messages: Sequence[Message], system: str | None = None) -> list[Message]:
    """The messages with SYSTEM (or `system`) first, unless it is empty or they have their own."""
    system = SYSTEM if system is None else system
    if not system or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def well_prompted(messages: Sequence[Message], rows: Iterable[Example]) -> list[Message]:
    """The prompt for an untuned model: instruction, examples, then the question.

    `rows` are training rows; the examples have as many different answers as possible.
    """
    own = [message["content"] for message in messages if message["role"] == "system"]
    system = "\n\n".join([WELL_PROMPTED, *own])
    shown: list[Message] = [{"role": "system", "content": system}]
    for row in varied(rows, SHOTS):
        shown += [{"role": "user", "content": last_words(row.question)}]
        shown += [{"role": "assistant", "content": row.answer}]
    return shown + [message for message in messages if message["role"] != "system"]


def varied(rows: Iterable[Example], count: int) -> list[Example]:
    """Choose `count` rows as examples: each answer once before any is repeated."""
    few = [row for row in islice(rows, 2000) if row.answer and _ends_with_user(row)]
    seen: dict[str, int] = {}
    turns = []
    for place, row in enumerate(few):
        seen[row.answer] = seen.get(row.answer, 0) + 1
        turns.append((seen[row.answer], place, row))
    return [row for *_, row in sorted(turns, key=lambda turn: turn[:2])[:count]]


def _ends_with_user(row: Example) -> bool:
    return bool(row.question) and row.question[-1]["role"] == "user"
