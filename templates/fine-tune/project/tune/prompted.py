"""The third system: a well-prompted model of Mistral's API. Its answers are saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tune import kept
from tune.dataset import Message
from tune.generate import OnProgress, Reply
from tune.kept import Kept
from tune.settings import Settings

log = logging.getLogger(__name__)

PATIENT = 6  # times the patience with rate limits, as no visitor waits here


@dataclass(frozen=True)
class Asked:
    """The answers to the first questions, and the error that stopped the rest, if any."""

    replies: tuple[Reply, ...]
    problem: str = ""


@dataclass(frozen=True)
class Model:
    """A remote model. Its answers are saved, so that none is paid for twice."""

    name: str
    kept: Kept
    ask: Callable[[Sequence[Message]], str]  # raises if there is no answer

    def answers(self, conversations: Sequence[Sequence[Message]], on_progress: OnProgress) -> Asked:
        """Ask one by one. A failure ends it; the next call continues from there."""
        known = self.kept.read()
        replies: list[Reply] = []
        for messages in conversations:
            # Another model, question, instruction or example gives another key
            key = kept.key(self.name, list(messages))
            try:
                replies.append(known.get(key) or self._asked(messages, key))
            except Exception as error:  # no network error may cost an hour of evaluation
                log.warning("%s is not asked any more: %s", self.name, error)
                return Asked(tuple(replies), f"{error}".rstrip(".") or type(error).__name__)
            on_progress(len(replies), len(conversations))
        return Asked(tuple(replies))

    def _asked(self, messages: Sequence[Message], key: str) -> Reply:
        start = time.perf_counter()
        text = self.ask(messages)
        reply = Reply(text, time.perf_counter() - start, tokens=0)
        self.kept.add({key: reply})
        return reply


def model(settings: Settings) -> Model | None:
    """The API's model if there is a key, else None."""
    if not settings.mistral_api_key.get_secret_value().strip():
        return None
    from tune import llm

    api = llm.api(settings)
    if api is None:
        return None
    api = api.model_copy(update={"patience": PATIENT * api.patience})
    return Model(api.api_model, Kept(settings.runs / "prompted.jsonl"), partial(_ask, api))


def _ask(api: Settings, messages: Sequence[Message]) -> str:
    from tune import llm

    return "".join(llm.chat(messages, api))
