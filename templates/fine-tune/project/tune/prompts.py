"""All prompts that are sent to a model, and the fixed texts that people read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tune.dataset import Example, Message, last_words

# Sent before every question that has no system message of its own: in training, in `evaluate`, in
# the app. Servers such as vLLM do not send it: there an app must send it.
# After a change, train again. Empty: the messages are sent as they are.
SYSTEM = ""

# The instruction for an untuned model, for a fair comparison: training examples follow it.
WELL_PROMPTED = """\
You do one task. The conversation so far shows it by examples: each message with the answer that \
was wanted. Work out the rule behind them, and answer the last message in exactly that way: the \
same language, form, keys, length and tone. Give the answer alone: no explanation, no code fence, \
no quotation marks around it."""
SHOTS = 12  # examples that follow it

# What people read
STAND_IN = "stand-in"  # quotes the nearest training example
NO_MODEL = (
    "No base model is available, and this question was not recorded. Set BASE_CHAT_MODEL and "
    "LLM_BASE_URL for a server, set a Mistral API key in .env, or make a model on this machine: "
    "uv run python -m tune rehearse"
)
NOTHING_NEAR = "No tuned model is available, and no training example is close to this question."
LOADING = "Loading the weights …"
BROKE_OFF = "The model failed in the middle of its answer."
EMPTY = "The model's answer was empty."
STOPPED = "Stopped."
SORRY = "Something went wrong. The log shows the cause."


def with_system(messages: Sequence[Message], system: str | None = None) -> list[Message]:
    """The messages with SYSTEM (or `system`) first, unless it is empty or they have their own."""
    system = SYSTEM if system is None else system
    if not system or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def well_prompted(messages: Sequence[Message], examples: Iterable[Example]) -> list[Message]:
    """The prompt for an untuned model: instruction, training examples, then the question.

    The examples are chosen to have as many different answers as possible.
    """
    own = [message["content"] for message in messages if message["role"] == "system"]
    shown: list[Message] = [{"role": "system", "content": "\n\n".join([WELL_PROMPTED, *own])}]
    for example in varied(examples, SHOTS):
        shown += [{"role": "user", "content": last_words(example.question)}]
        shown += [{"role": "assistant", "content": example.answer}]
    return shown + [message for message in messages if message["role"] != "system"]


def varied(examples: Iterable[Example], count: int) -> list[Example]:
    """Choose `count` examples: each answer once before any is repeated."""
    usable = [each for each in examples if each.answer and each.question[-1]["role"] == "user"]
    seen: Counter[str] = Counter()
    turns = []
    for each in usable[:2000]:
        seen[each.answer] += 1
        turns.append(seen[each.answer])
    order = sorted(range(len(turns)), key=turns.__getitem__)  # stable: in file order
    return [usable[place] for place in order[:count]]
