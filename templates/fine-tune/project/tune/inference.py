"""Answers for both columns; falls back to the next best answer and says so."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from textwrap import shorten
from typing import Literal

from plumbing import clients
from plumbing.retries import ModelUnavailable
from tune import known, local, prompts
from tune.dataset import Message, last_words
from tune.errors import TuneError
from tune.known import SIDES, Quote, Side
from tune.settings import SETTINGS, Settings

log = logging.getLogger(__name__)
POLL = 0.1  # seconds until a visitor's Stop is noticed, at most
Kind = Literal["model", "recorded", "stand-in", "none"]


@dataclass(frozen=True)
class Answer:
    """The content of a column; it grows until it is done."""

    by: str = ""
    kind: Kind = "none"
    source: str = ""  # where the model runs, or where the answer was found
    text: str = ""
    notice: str = ""  # why this is a fallback
    seconds: float = 0.0
    done: bool = False


Both = dict[Side, Answer]
Updates = queue.Queue[tuple[Side, Answer | None]]


@dataclass(frozen=True)
class Responder:
    """A source of answers. `respond` may load a model before it returns the stream of text."""

    by: str
    kind: Kind
    respond: Callable[[list[Message]], Iterator[str]]
    source: str = ""
    loading: bool = False


def quoted(quote: Quote) -> Answer:
    """A recorded answer."""
    notice = "" if quote.text.strip() else prompts.EMPTY
    return Answer(quote.by, "recorded", quote.source, quote.text, notice, done=True)


# Remote models: Mistral's API, or your own server


def chat(
    messages: Sequence[Message], settings: Settings = SETTINGS, model: str = ""
) -> Iterator[str]:
    """Stream the answer of `model` (by default the one in the settings).

    Raises plumbing.retries.ModelUnavailable, before the first token or after it.
    """
    tokens = clients.stream(messages, settings, model or settings.chat)
    return (token.text for token in tokens if token.text)


def say(messages: Sequence[Message], settings: Settings = SETTINGS) -> str:
    """The whole answer."""
    return "".join(chat(messages, settings))


def api(settings: Settings = SETTINGS) -> Settings | None:
    """The settings for Mistral's API, even if a server is set; None without a key."""
    if settings.provider == "server":
        settings = settings.model_copy(update={"llm_base_url": ""})
    return settings if settings.provider == "mistral" else None


# Asking both


def compare(
    question: str, settings: Settings = SETTINGS, stop: threading.Event | None = None
) -> Iterator[Both]:
    """Stream both answers side by side; the last ones are complete.

    `stop` cancels both models from another thread; so does closing the iterator.
    """
    updates: Updates = queue.Queue()
    stop = stop or threading.Event()
    for side in SIDES:
        work = partial(_forward, answer(side, question, settings), side, updates, stop)
        threading.Thread(target=work, daemon=True).start()
    both: Both = {side: Answer() for side in SIDES}
    at_work = len(SIDES)
    try:
        while at_work and not stop.is_set():
            for side, grown in _latest(updates):
                if grown:
                    both[side] = grown
                else:
                    at_work -= 1
            yield dict(both)
    finally:
        stop.set()


def _latest(updates: Updates) -> list[tuple[Side, Answer | None]]:
    """The updates since the last call; empty after a short wait without any."""
    try:
        return [updates.get(timeout=POLL), *(updates.get() for _ in range(updates.qsize()))]
    except queue.Empty:
        return []


def _forward(
    growing: Iterator[Answer], side: Side, updates: Updates, stop: threading.Event
) -> None:
    """Put a column's growing answer into the queue, until it is complete or cancelled."""
    try:
        with closing(growing):  # type: ignore[type-var]
            for each in growing:
                updates.put((side, each))
                if stop.is_set():
                    return
    except Exception:
        log.exception("the column %s has no answer", side)
        updates.put((side, Answer(text=prompts.SORRY, done=True)))
    finally:
        updates.put((side, None))


def answer(side: Side, question: str, settings: Settings = SETTINGS) -> Iterator[Answer]:
    """Stream one column's answer; if a responder fails, the next one answers."""
    asked = messages(question, settings)
    notice = ""
    for responder in responders(side, question, settings):
        here = Answer(responder.by, responder.kind, responder.source, notice=notice)
        yield replace(here, notice=prompts.LOADING) if responder.loading else here
        try:
            yield from _grow(here, responder, asked)
            return
        except Exception as error:
            notice = _notice(error)


def _grow(here: Answer, responder: Responder, asked: list[Message]) -> Iterator[Answer]:
    stream = responder.respond(asked)
    began = time.monotonic()  # not before: this excludes the time to load the weights
    for words in stream:
        here = replace(here, text=here.text + words, seconds=time.monotonic() - began)
        yield here
    if not here.text.strip():
        raise TuneError(prompts.EMPTY)
    yield replace(here, seconds=time.monotonic() - began, done=True)


def _notice(error: Exception) -> str:
    """The message for the audience when a responder fails; the cause goes to the log."""
    if isinstance(error, ModelUnavailable):
        return str(error)
    if isinstance(error, TuneError):
        log.warning("%s", error)
        return error.problem
    log.error("an answer broke off", exc_info=error)
    return prompts.BROKE_OFF


def messages(question: str, settings: Settings = SETTINGS) -> list[Message]:
    """The prompt: a test example's conversation, or the question with a system message."""
    if row := known.test_row(question, settings):
        return prompts.with_system(row.question)
    asked = [{"role": "user", "content": question}]
    return prompts.with_system(asked, prompts.SYSTEM or known.habit(settings.train))


# The responders


def responders(side: Side, question: str, settings: Settings = SETTINGS) -> Iterator[Responder]:
    """The responders for a column, the best first; the last one cannot fail."""
    if model := _model(side, question, settings):
        yield model
    quote = known.recorded(question, settings).get(side)
    if quote and quote.text.strip():
        yield Responder(quote.by, "recorded", partial(_say, quote.text), quote.source)
    row = known.nearest(question, settings.train) if side == "tuned" else None
    if row:
        asked = shorten(last_words(row.question), 70, placeholder=" …")
        source = f"quotes {known.place(row)}, the answer to “{asked}”"
        yield Responder(prompts.STAND_IN, "stand-in", partial(_say, row.answer), source)
    else:
        words = prompts.NO_MODEL if side == "base" else prompts.NOTHING_NEAR
        yield Responder("", "none", partial(_say, words))


def _model(side: Side, question: str, settings: Settings) -> Responder | None:
    """This column's model: on a server, on this machine, or Mistral's API."""
    server = settings.chat if side == "tuned" else settings.base_chat_model
    if settings.provider == "server" and server:
        respond = partial(chat, settings=settings, model=server)
        return Responder(server, "model", respond, "on the server")
    if local.has(side, settings):
        row = known.test_row(question, settings)
        respond = partial(local.stream, side, settings=settings, tools=row.tools if row else ())
        name, loading = local.name(side, settings), not local.ready(settings)
        return Responder(name, "model", respond, "on this machine", loading=loading)
    if side == "base" and (online := api(settings)):
        return Responder(online.chat, "model", partial(_ask_api, settings=online), "well prompted")
    return None


def _ask_api(asked: list[Message], settings: Settings) -> Iterator[str]:
    return chat(prompts.well_prompted(asked, known.rows(settings.train)), settings)


def _say(words: str, _: Sequence[Message]) -> Iterator[str]:
    yield words


def who(settings: Settings = SETTINGS) -> tuple[str, Kind]:
    """The name and kind of what answers a new question in the tuned column."""
    if model := _model("tuned", "", settings):
        return model.by, model.kind
    return prompts.STAND_IN, "stand-in"
