"""Counts tokens with Mistral's tokenizer, and applies the chat template for training."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tune import prompts
from tune.dataset import Example, Message, reply
from tune.errors import TuneError

if TYPE_CHECKING:
    from tiktoken import Encoding


PIECE = 20_000  # characters; a longer text is counted in pieces, to about a token for each
IGNORED = -100  # PyTorch's label for "no loss here"
Encoded = dict[str, list[int]]  # input_ids, and labels: the answers' tokens, IGNORED elsewhere


class Count(NamedTuple):
    """How many tokens an example has, control tokens and SYSTEM included."""

    total: int
    learned: int


@cache
def tekken() -> Encoding:
    """Tekken, the tokenizer of Mistral's models since 2024, from a file in mistral-common.

    Read without that package's classes, which take four times as long to load and twice as long to
    count.
    """
    import tiktoken

    file = max(Path(str(files("mistral_common"))).glob("data/tekken_*.json"))
    held = json.loads(file.read_text("utf-8"))
    config = held["config"]
    words = held["vocab"][: config["default_vocab_size"] - config["default_num_special_tokens"]]
    return tiktoken.Encoding(
        file.stem,
        pat_str=config["pattern"],
        mergeable_ranks={b64decode(word["token_bytes"]): word["rank"] for word in words},
        special_tokens={},  # control tokens are never a part of a text
    )


def count(example: Example) -> Count:
    """Count an example's tokens as the training template joins them.

    Exact for Ministral 3. SentencePiece, as in Mistral 7B, needs more tokens for the same text.
    """
    total, learned, tools = 1, 0, example.tools
    for message in prompts.with_system(example.messages):
        role = message["role"]
        if role == "user" and tools:  # the tools come before the first question
            total, tools = total + 2 + _repeated(json.dumps(tools, ensure_ascii=False)), ()
        size = _size(message)
        if role == "assistant" and message.get("weight") != 0:
            learned += size
        total += size
    return Count(total, learned)


def _size(message: Message) -> int:
    """The tokens of one message with the control tokens around it."""
    text = message.get("content") or ""
    if message["role"] == "system":
        return 2 + _repeated(text)
    if message["role"] != "assistant":
        return 2 + _length(text)
    parts = [text] if text else []
    for call in message.get("tool_calls") or ():
        parts += [call["function"]["name"], call["function"]["arguments"]]
    return sum(map(_repeated, parts)) + len(message.get("tool_calls") or ()) * 2 + 1


def _length(text: str) -> int:
    """The number of tokens, counted in pieces: a million blanks are too many for tiktoken."""
    pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
    return sum(len(tekken().encode_ordinary(piece)) for piece in pieces)


_repeated = lru_cache(maxsize=4096)(_length)  # many examples share system prompt, tools and answer


# What training learns from


@cache
def training_template() -> str:
    """Mistral's newest chat template, with marks around what is trained on.

    Every base gets it: one without its control tokens learns them as plain text.
    """
    return (Path(__file__).parent / "chat_template.j2").read_text("utf-8")


def encode(tokenizer: Any, example: Example) -> Encoded:
    """An example's tokens, with labels where the template marks the assistant's text.

    The tokenizer is one of Transformers, with a chat template that has generation blocks.
    Raises TuneError if the template rejects the example.
    """
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            prompts.with_system(example.messages),
            tools=list(example.tools) or None,
            return_assistant_tokens_mask=True,
            return_dict=True,
        )
    except TemplateError as error:
        place = f"{example.file}, line {example.line}"
        raise TuneError(f"{place}: {error}", "remove the example") from None
    ids, marks = list(encoded["input_ids"]), encoded["assistant_masks"]
    labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
    return {"input_ids": ids, "labels": labels}


def trained_text(tokenizer: Any, example: Example) -> list[str]:
    """The text that an example is trained on: one piece for each answer."""
    runs = groupby(encode(tokenizer, example)["labels"], lambda label: label != IGNORED)
    return [tokenizer.decode([*run], skip_special_tokens=False) for learned, run in runs if learned]


def verify(tokenizer: Any, examples: Iterable[Example]) -> None:
    """Raise TuneError if an example would train on anything but its answers and their end token."""
    for example in examples:
        wanted = [
            reply(message, "[TOOL_CALLS]", "[ARGS]") + tokenizer.eos_token
            for message in example.messages
            if message["role"] == "assistant" and message.get("weight") != 0
        ]
        found = trained_text(tokenizer, example)
        if list(map(_solid, found)) != list(map(_solid, wanted)):
            learned = f"{str(found)[:300]} instead of {str(wanted)[:300]}"
            fix = "tokenizer.chat_template = tokens.training_template()"
            place = f"{example.file}, line {example.line}"
            raise TuneError(f"{place}: training would learn {learned}.", fix)


def _solid(text: str) -> str:
    """A text without its spaces, some of which SentencePiece adds or drops."""
    return "".join(text.split())
