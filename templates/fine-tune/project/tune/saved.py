"""Saves the answers of an evaluation one by one, so that none is asked for twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tune import prompts
from tune.dataset import Example, Message
from tune.errors import TuneError
from tune.generate import Generator, Reply, TooLong, UnsupportedMessages
from tune.settings import SETTINGS, Settings, named


@dataclass(frozen=True)
class Saved:
    """A file with a line of JSON for each answer."""

    file: Path
    settings: Settings = SETTINGS

    def answers(
        self,
        rows: Sequence[Example],
        edition: Sequence[object],
        load: Callable[[], Generator | None],
        on_progress: Callable[[int, int], None],
    ) -> list[Reply]:
        """A model's answers to examples. It is loaded only if one is not in the file."""
        keys = [self._key(edition, _asked(row), row.tools) for row in rows]
        known = self._read()
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        on_progress(len(rows) - len(missing), len(rows))
        if missing and (generator := load()):
            asked = self._checked(generator, list(missing.values()))
            for found in generator.batches(asked, [row.tools for row in missing.values()]):
                new = {list(missing)[at]: reply for at, reply in found.items()}
                self._add(new)
                known |= new
                on_progress(sum(key in known for key in keys), len(rows))
        return [known[key] for key in keys]

    def answer(self, messages: Sequence[Message], model: str, ask: Callable[[], str]) -> Reply:
        """A remote model's answer to a conversation; not asked and paid for twice."""
        key, start = self._key(model, messages), time.perf_counter()
        if reply := self._read().get(key):
            return reply
        reply = Reply(ask(), time.perf_counter() - start, tokens=0)
        self._add({key: reply})
        return reply

    def _checked(self, generator: Generator, rows: Sequence[Example]) -> list[list[Message]]:
        """The questions. Raises TuneError if the model cannot read one; warms the model up."""
        import torch

        asked = list(map(_asked, rows))
        for row, messages in zip(rows, asked, strict=True):
            try:
                generator.check_room(messages, row.tools)
            except (TooLong, UnsupportedMessages) as error:
                where = f"{named(self.settings.test)}, line {row.line}"
                raise TuneError(f"{where}: {error.problem}", "remove the row") from None
        replace(generator, max_tokens=1).answer(asked[0])  # so that no answer is timed with it
        torch.manual_seed(self.settings.seed)  # above temperature 0 both sample alike
        return asked

    def _read(self) -> dict[str, Reply]:
        """The answers by their keys."""
        found: dict[str, Reply] = {}
        text = self.file.read_text("utf-8", errors="replace") if self.file.is_file() else ""
        for line in text.split("\n"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # cut off by a crash
                about = json.loads(line)
                key = about.pop("key")
                found[key] = Reply(**about)
        return found

    def _add(self, replies: Mapping[str, Reply]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Start with a line break: a power cut may have left the last line incomplete
        lines = [f"\n{json.dumps({'key': key} | asdict(each))}" for key, each in replies.items()]
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def _key(self, *asked: object) -> str:
        """A hash of a question and of everything that its answer depends on."""
        how = [self.settings.max_tokens, self.settings.temperature, self.settings.seed]
        return hashlib.sha256(json.dumps([asked, how], sort_keys=True).encode()).hexdigest()


def _asked(row: Example) -> list[Message]:
    return prompts.with_system(row.question)
