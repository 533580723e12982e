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

from plumbing.retries import ModelUnavailable
from tune import known, llm, local, prompts
from tune.dataset import Example, Message, last_words
from tune.errors import TuneError
from tune.local import Side
from tune.settings import SETTINGS, Settings

log = logging.getLogger(__name__)
SIDES: tuple[Side, Side] = ("base", "tuned")
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
    tokens: int = 0  # 0: not known
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
    by_token: bool = False  # each piece of the answer is one token
    loading: bool = False


# Asking


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
        seconds, tokens = time.monotonic() - began, here.tokens + responder.by_token
        here = replace(here, text=here.text + words, seconds=seconds, tokens=tokens)
        yield here
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
    """The prompt: a test row's conversation, or the question with a system message."""
    row = known.test_row(question, settings)
    if row:
        return prompts.with_system(row.question)
    asked = [{"role": "user", "content": question}]
    return prompts.with_system(asked, prompts.SYSTEM or known.habit(settings.train))


# The responders


def responders(side: Side, question: str, settings: Settings = SETTINGS) -> Iterator[Responder]:
    """The responders for a column, the best first; the last one cannot fail."""
    if model := _model(side, question, settings):
        yield model
    sample = known.recorded(question, settings)
    if sample and side in sample.answers:
        found, respond = _label(side, settings), partial(_say, sample.answers[side])
        yield Responder(found, "recorded", respond, f"recorded by evaluate, test row {sample.line}")
    if side == "base":
        yield Responder("no model", "none", partial(_say, prompts.NO_MODEL))
    elif row := known.nearest(settings.train).find(question):
        respond = partial(_say, row.answer)
        yield Responder(prompts.STAND_IN, "stand-in", respond, _quoted(row))
    else:
        yield Responder(prompts.STAND_IN, "none", partial(_say, prompts.NOTHING_NEAR))


def who(side: Side, settings: Settings = SETTINGS) -> tuple[str, Kind]:
    """The name and kind of the responder to a new question."""
    model = _model(side, "", settings)
    if model:
        return model.by, model.kind
    return (prompts.STAND_IN, "stand-in") if side == "tuned" else ("no model", "none")


def _model(side: Side, question: str, settings: Settings) -> Responder | None:
    """This column's model: on a server, on this machine, or Mistral's API."""
    server = settings.chat if side == "tuned" else settings.base_chat_model
    if settings.provider == "server" and server:
        respond = partial(llm.chat, settings=settings, model=server)
        return Responder(server, "model", respond, "on the server", by_token=True)
    if local.has(side, settings):
        row = known.test_row(question, settings)
        tools = row.tools if row else ()
        respond = partial(local.stream, side, settings=settings, tools=tools)
        name, loading = local.name(side, settings), not local.is_ready(settings)
        return Responder(name, "model", respond, "on this machine", by_token=True, loading=loading)
    if side == "base" and (online := llm.api(settings)):
        return Responder(online.chat, "model", partial(_ask_api, settings=online), "well prompted")
    return None


def _ask_api(asked: list[Message], settings: Settings) -> Iterator[str]:
    examples = known.nearest(settings.train).rows
    return llm.chat(prompts.well_prompted(asked, examples), settings)


def _say(words: str, _: Sequence[Message]) -> Iterator[str]:
    yield words


def _quoted(row: Example) -> str:
    """The quoted row and its question: the nearest row may be about something else."""
    asked = shorten(last_words(row.question), 70, placeholder=" …")
    return f"quotes {known.place(row)}, the answer to “{asked}”"


def _label(side: Side, settings: Settings) -> str:
    found = known.evaluation(known.shown_run(settings))
    return found.systems[side].label if found and side in found.systems else side
