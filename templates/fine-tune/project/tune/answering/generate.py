"""What a loaded model answers: one question, many at once, or word by word."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tune.errors import TuneError, is_memory_full
from tune.rows.row import Message

OnProgress = Callable[[int, int], None]  # answered so far, of how many

BATCH_ROWS = 64
BATCH_TOKENS = 16_384  # questions and answers of one batch: under 2 GB of cache for a 3B model


class TooLong(TuneError):
    """A question with more tokens than the model can read."""


class NotTaken(TuneError):
    """Messages that the model's chat template has no form for."""


@dataclass(frozen=True)
class Reply:
    """An answer. `seconds` is its share of the time that its batch took."""

    text: str
    seconds: float
    tokens: int
    cut: bool = False  # it ran into `max_tokens`


@dataclass(frozen=True)
class Generator:
    """A model and its tokenizer, ready to answer. At temperature 0 it always answers the same.

    `adapted=False` answers as the base: with the same weights, and the adapter switched off for
    the moment. Several threads may ask at once, also both kinds: they take turns, word by word.
    """

    model: Any
    tokenizer: Any
    max_tokens: int = 256
    temperature: float = 0.0
    adapted: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def without_adapter(self) -> Generator:
        """The base that this model was tuned from, in the same memory.

        Raises TuneError after a full tuning: there is no adapter to switch off.
        """
        if not hasattr(self.model, "disable_adapter"):
            raise TuneError("This model has no adapter: its base must be loaded by itself.")
        return replace(self, adapted=False)

    @property
    def four_bit(self) -> bool:
        """Whether it was loaded in 4 bits."""
        return bool(getattr(self.model, "is_loaded_in_4bit", False))

    def answer(self, messages: Sequence[Message], *, tools: Sequence[Any] = ()) -> Reply:
        """Answer one conversation, which ends with the question."""
        return self.answers([messages], tools=[tools])[0]

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        on_progress: OnProgress | None = None,
        *,
        tools: Sequence[Sequence[Any]] = (),
    ) -> list[Reply]:
        """Answer many conversations, several at a time; `tools` are those of each.

        Raises TuneError where the memory is too small for one of them.
        """
        replies: dict[int, Reply] = {}
        for found in self.batches(conversations, tools=tools):
            replies |= found
            if on_progress:
                on_progress(len(replies), len(conversations))
        return [replies[index] for index in range(len(conversations))]

    def batches(
        self, conversations: Sequence[Sequence[Message]], *, tools: Sequence[Sequence[Any]] = ()
    ) -> Iterator[dict[int, Reply]]:
        """The same as they come: some replies at a time, by the places of their conversations.

        The longest come first: what does not fit shows at once. Fewer where memory is too small.
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
                most = _fewer(len(batch), error)
                continue
            del waiting[-len(batch) :]
            yield dict(zip(batch, found, strict=True))

    def stream(self, messages: Sequence[Message], *, tools: Sequence[Any] = ()) -> Iterator[str]:
        """Answer one conversation piece by piece; closing the iterator ends the work.

        Raises TooLong, before the first piece, where the model cannot read so much.
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
            if not text.endswith("\ufffd") and text != said:  # half a letter waits for the rest
                yield text[len(said) :]
                said = text
        if rest := self._decode(ids)[len(said) :]:
            yield rest

    def check_room(self, messages: Sequence[Message], *, tools: Sequence[Any] = ()) -> None:
        """Raise TooLong where the model cannot read so much."""
        self.room(len(self._encode(messages, tools)))

    def room(self, asked: int) -> int:
        """How many tokens the answer to a question of `asked` tokens may have. Raises TooLong."""
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if most is None:
            return self.max_tokens
        if asked >= most:
            raise TooLong(f"The question has {asked:,} tokens, and the model reads {most:,}.")
        return min(self.max_tokens, most - asked)

    @property
    def _ends(self) -> set[int]:
        """The tokens that end an answer, as the tokenizer and as the model know them."""
        config = getattr(self.model, "generation_config", None)
        known = getattr(config, "eos_token_id", None)
        ends = set(known) if isinstance(known, list | tuple) else {known}
        return {end for end in ends | {self.tokenizer.eos_token_id} if end is not None}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the model for oneself, with its adapter or without."""
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
            raise NotTaken(problem) from None
        return list(encoded["input_ids"])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def _batch(self, prompts: Sequence[Sequence[int]]) -> list[Reply]:
        """The replies to encoded questions, all in one batch."""
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
        places = (mask.cumsum(-1) - 1).clamp(min=0)  # a question begins at 0, wherever it is padded
        ends = torch.tensor(sorted(self._ends), device=ids.device)
        ended = torch.zeros(len(prompts), dtype=torch.bool, device=ids.device)
        seen = self._memory()
        for _ in range(self.max_tokens):
            with torch.inference_mode():
                output = self.model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=places,
                    use_cache=True,
                    logits_to_keep=1,
                    **seen,
                )
                picked = self._pick(output.logits[:, -1])
            ended |= torch.isin(picked, ends)
            yield picked.tolist()
            if bool(ended.all()):
                return
            ids = picked[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=-1)
            places = places[:, -1:] + 1

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Rows of one length, filled up on the left, and what of them is to be read."""
        import torch

        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id or 0  # never read
        ids = [[pad] * (width - len(row)) + list(row) for row in prompts]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in prompts]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _memory(self) -> dict[str, Any]:
        """Where the model keeps what it has read, by the name that this Transformers gives it."""
        from transformers import DynamicCache

        inner = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        known = inspect.signature(inner.forward).parameters  # renamed in 5.24
        name = "cache" if "cache" in known else "past_key_values"
        return {name: DynamicCache(config=self.model.config)}

    def _pick(self, logits: Any) -> Any:
        """The likeliest token of each row; above temperature 0 one by its probability."""
        import torch

        if self.temperature == 0:
            return logits.argmax(dim=-1)
        chances = torch.softmax(logits.float() / self.temperature, dim=-1)
        return torch.multinomial(chances, num_samples=1)[:, 0]


def _fewer(rows: int, error: RuntimeError) -> int:
    """How many rows to try next. Passes on what is not about memory."""
    import torch

    if not is_memory_full(error):
        raise error
    if rows == 1:
        raise TuneError(
            "The memory is too small for a single question.",
            "MAX_TOKENS=64 in .env, or a smaller BASE_MODEL",
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return rows // 2
