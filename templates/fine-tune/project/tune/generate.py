"""Generates answers with a loaded model: one, many in batches, or streamed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tune.dataset import Message
from tune.errors import TuneError, is_memory_full

BATCH_ROWS = 64
BATCH_TOKENS = 16_384  # questions and answers of one batch: under 2 GB of cache for a 3B model


class TooLong(TuneError):
    """A question with more tokens than the model can read."""


class UnsupportedMessages(TuneError):
    """Messages that the model's chat template does not support."""


@dataclass(frozen=True)
class Reply:
    """An answer. `seconds` is its share of the time that its batch took."""

    text: str
    seconds: float
    tokens: int
    cut: bool = False  # it reached `max_tokens`


@dataclass(frozen=True)
class Generator:
    """A model and its tokenizer, ready to answer. At temperature 0 answers are always the same.

    `adapted=False` answers as the base: with the same weights and the adapter disabled. Several
    threads can use both at the same time: they take turns, token by token.
    """

    model: Any
    tokenizer: Any
    max_tokens: int = 256
    temperature: float = 0.0
    adapted: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def without_adapter(self) -> Generator:
        """The base of this model, in the same memory."""
        return replace(self, adapted=False)

    def answer(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> Reply:
        """Answer one conversation that ends with the question."""
        return self.answers([messages], [tools])[0]

    def answers(
        self, conversations: Sequence[Sequence[Message]], tools: Sequence[Sequence[Any]] = ()
    ) -> list[Reply]:
        """Answer many conversations in batches; `tools` has one list for each.

        Raises TuneError if the memory is too small for a single one.
        """
        replies: dict[int, Reply] = {}
        for found in self.batches(conversations, tools):
            replies |= found
        return [replies[index] for index in range(len(conversations))]

    def batches(
        self, conversations: Sequence[Sequence[Message]], tools: Sequence[Sequence[Any]] = ()
    ) -> Iterator[dict[int, Reply]]:
        """Yield each batch of `answers`: replies by the index of their conversation.

        The longest come first, to detect a lack of memory early; batches shrink if memory runs out.
        """
        offered = tools or [()] * len(conversations)
        prompts = [self._encode(*each) for each in zip(conversations, offered, strict=True)]
        waiting = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        most = BATCH_ROWS
        while waiting:
            fitting = BATCH_TOKENS // (len(prompts[waiting[-1]]) + self.max_tokens)
            batch = waiting[-max(1, min(most, fitting)) :]
            try:
                found = self._batch([prompts[index] for index in batch])
            except RuntimeError as error:
                most = _smaller_batch(len(batch), error)
                continue
            del waiting[-len(batch) :]
            yield dict(zip(batch, found, strict=True))

    def stream(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> Iterator[str]:
        """Stream the answer to one conversation; closing the iterator cancels it.

        Raises TooLong, before the first token, if the conversation exceeds the model's context.
        """
        question = self._encode(messages, tools)
        tokens = replace(self, max_tokens=self.room(len(question)))._tokens([question])
        ids: list[int] = []
        said = ""
        while True:
            with self._turn():
                step = next(tokens, None)
            if step is None:
                break
            ids += [token for token in step if token not in self._ends]
            text = self._decode(ids)
            if not text.endswith("\ufffd") and text != said:  # wait for the rest of a character
                yield text[len(said) :]
                said = text
        if rest := self._decode(ids)[len(said) :]:
            yield rest

    def check_room(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> None:
        """Raise TooLong if the conversation exceeds the model's context."""
        self.room(len(self._encode(messages, tools)))

    def room(self, asked: int) -> int:
        """The maximum number of answer tokens after `asked` prompt tokens. Raises TooLong."""
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if most is None:
            return self.max_tokens
        if asked >= most:
            raise TooLong(f"The question has {asked:,} tokens, and the model reads {most:,}.")
        return min(self.max_tokens, most - asked)

    @property
    def _ends(self) -> set[int]:
        """The end tokens of the tokenizer and of the model's configuration."""
        config = getattr(self.model, "generation_config", None)
        known = getattr(config, "eos_token_id", None)
        ends = set(known) if isinstance(known, list | tuple) else {known}
        return {end for end in ends | {self.tokenizer.eos_token_id} if end is not None}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Lock the model, with the adapter enabled or disabled."""
        with self.lock:
            if self.adapted:
                yield
                return
            with self.model.disable_adapter():
                yield

    def _encode(self, messages: Sequence[Message], tools: Sequence[Any]) -> list[int]:
        from jinja2 import TemplateError

        turns, offered = list(messages), list(tools) or None
        try:
            encoded = self.tokenizer.apply_chat_template(
                turns, tools=offered, add_generation_prompt=True, return_dict=True
            )
        except TemplateError as error:
            problem = f"These messages cannot be sent to the model: {error}"
            raise UnsupportedMessages(problem) from None
        return list(encoded["input_ids"])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[Reply]:
        """Answer encoded questions in one batch."""
        start = time.perf_counter()
        with self._turn():
            steps = list(self._tokens(prompts))
        seconds = (time.perf_counter() - start) / len(prompts)
        ends, replies = self._ends, []
        for ids in zip(*steps, strict=True):
            length = next((at for at, token in enumerate(ids) if token in ends), len(ids))
            text = self._decode(ids[:length])
            replies.append(Reply(text, seconds, length, cut=length == self.max_tokens))
        return replies

    def _tokens(self, prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """The next token of each row, step by step, until the last row has ended."""
        import torch

        ids, mask = self._padded(prompts)
        places = (mask.cumsum(-1) - 1).clamp(min=0)  # positions start after the padding
        ends = torch.tensor(sorted(self._ends), device=ids.device)
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=ids.device)
        inputs: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1}
        for _ in range(self.max_tokens):
            inputs |= {"input_ids": ids, "attention_mask": mask, "position_ids": places}
            with torch.inference_mode():
                output = self.model(**inputs)
                picked = self._pick(output.logits[:, -1])
            ended |= torch.isin(picked, ends)
            yield picked.tolist()
            if bool(ended.all()):
                return
            ids = picked[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
            places = places[:, -1:] + 1
            name = "cache" if "cache" in output else "past_key_values"  # renamed in 5.24
            inputs[name] = output[name]

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Token ids padded on the left to one length, and the attention mask."""
        import torch

        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id or 0  # masked, so any token will do
        ids = [[pad] * (width - len(row)) + list(row) for row in prompts]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _pick(self, logits: Any) -> Any:
        """The most probable token of each row; above temperature 0, a sampled one."""
        import torch

        if self.temperature == 0:
            return logits.argmax(dim=-1)
        probabilities = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.multinomial(probabilities, num_samples=1)[:, 0]


def _smaller_batch(rows: int, error: RuntimeError) -> int:
    """The batch size to try after an out-of-memory error. Raises any other error again."""
    import torch

    if not is_memory_full(error):
        raise error
    if rows == 1:
        fix = "set MAX_TOKENS=64 in .env, or a smaller BASE_MODEL"
        raise TuneError("Out of memory with a single question.", fix) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return rows // 2
