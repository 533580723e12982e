"""The third system: a well-prompted model of Mistral's API, asked once for each row and model."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tune.answering.generate import OnProgress, Reply
from tune.rows.row import Message
from tune.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """The answers to the first questions, and what stopped the rest, if anything did."""

    replies: tuple[Reply, ...]
    problem: str = ""


@dataclass(frozen=True)
class Model:
    """A model elsewhere. What it said once is kept in `cache`, so that nothing is paid twice."""

    name: str
    cache: Path  # a line of JSON for each answer
    ask: Callable[[Sequence[Message]], str]  # raises where there is no answer

    def answers(self, conversations: Sequence[Sequence[Message]], on_progress: OnProgress) -> Asked:
        """Ask one after the other. A failure ends it; the next time it goes on from there."""
        known = self._known()
        replies: list[Reply] = []
        for messages in conversations:
            key = self._key(messages)
            try:
                replies.append(known.get(key) or self._asked(messages, key))
            except Exception as error:  # an evaluation of an hour is not lost for a lost network
                log.warning("%s is asked no further: %s", self.name, error)
                return Asked(tuple(replies), f"{error}".rstrip(".") or type(error).__name__)
            on_progress(len(replies), len(conversations))
        return Asked(tuple(replies))

    def _asked(self, messages: Sequence[Message], key: str) -> Reply:
        start = time.perf_counter()
        text = self.ask(messages)
        reply = Reply(text, time.perf_counter() - start, tokens=0)
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with self.cache.open("a", encoding="utf-8") as file:
            line = {"key": key, "text": text, "seconds": round(reply.seconds, 3)}
            # First a line's end: a power cut may have left the last line half
            file.write("\n" + json.dumps(line, ensure_ascii=False))
        return reply

    def _key(self, messages: Sequence[Message]) -> str:
        """Another model, question, instruction or example is another key."""
        text = json.dumps([self.name, list(messages)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _known(self) -> dict[str, Reply]:
        found: dict[str, Reply] = {}
        if not self.cache.is_file():
            return found
        for line in self.cache.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                row = json.loads(line)
                found[row["key"]] = Reply(row["text"], row["seconds"], tokens=0)
            except (ValueError, KeyError, TypeError):
                continue  # a line that a power cut left half
        return found


def model(settings: Settings) -> Model | None:
    """The API's model, where there is a key; else None."""
    if not settings.mistral_api_key.get_secret_value().strip():
        return None
    from tune.answering import llm

    api = llm.api(settings)
    if api is None:
        return None
    return Model(api.api_model, settings.runs / "prompted.jsonl", partial(_ask, api))


def _ask(api: Settings, messages: Sequence[Message]) -> str:
    from tune.answering import llm

    return "".join(llm.chat(messages, api))
