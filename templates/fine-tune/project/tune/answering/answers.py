"""Who answers in each column, and who steps in, and says so, when he cannot."""

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
from tune import prompts
from tune.answering import known, llm, local
from tune.answering.local import Side
from tune.errors import TuneError
from tune.rows.row import Message, Row, last_words
from tune.settings import SETTINGS, Settings

log = logging.getLogger(__name__)
SIDES: tuple[Side, Side] = ("base", "tuned")
GLANCE = 0.1  # seconds that a visitor's Stop may have to wait
Kind = Literal["model", "recorded", "stand-in", "none"]


@dataclass(frozen=True)
class Answer:
    """What stands in a column; it grows until it is done."""

    by: str = ""
    kind: Kind = "none"
    source: str = ""  # where he is, or where the answer stands
    text: str = ""
    notice: str = ""  # why it is not who should have answered
    seconds: float = 0.0
    tokens: int = 0  # 0: not known
    done: bool = False


Both = dict[Side, Answer]
News = queue.Queue[tuple[Side, Answer | None]]


@dataclass(frozen=True)
class Voice:
    """Somebody who can answer. `speak` may take long before it returns the words to come."""

    by: str
    kind: Kind
    speak: Callable[[list[Message]], Iterator[str]]
    source: str = ""
    by_token: bool = False  # each piece of the answer is one token
    loading: bool = False


# Asking


def compare(
    question: str, settings: Settings = SETTINGS, stop: threading.Event | None = None
) -> Iterator[Both]:
    """Both answers side by side as they grow; the last are whole.

    `stop` ends it at once from another thread, and both models with it; so does closing it.
    """
    news: News = queue.Queue()
    stop = stop or threading.Event()
    for side in SIDES:
        work = partial(_follow, answer(side, question, settings), side, news, stop)
        threading.Thread(target=work, daemon=True).start()
    both: Both = {side: Answer() for side in SIDES}
    at_work = len(SIDES)
    try:
        while at_work and not stop.is_set():
            for side, grown in _latest(news):
                if grown:
                    both[side] = grown
                else:
                    at_work -= 1
            yield dict(both)
    finally:
        stop.set()


def _latest(news: News) -> list[tuple[Side, Answer | None]]:
    """What has come since the last look; after a glance without any, nothing."""
    try:
        return [news.get(timeout=GLANCE), *(news.get() for _ in range(news.qsize()))]
    except queue.Empty:
        return []


def _follow(growing: Iterator[Answer], side: Side, news: News, stop: threading.Event) -> None:
    """Pass a column's answer on as it grows, until it is whole or nobody reads it any more."""
    try:
        with closing(growing):  # type: ignore[type-var]
            for each in growing:
                news.put((side, each))
                if stop.is_set():
                    return
    except Exception:
        log.exception("the column %s has no answer", side)
        news.put((side, Answer(text=prompts.SORRY, done=True)))
    finally:
        news.put((side, None))


def answer(side: Side, question: str, settings: Settings = SETTINGS) -> Iterator[Answer]:
    """One column's answer as it grows; whoever fails is stood in for."""
    asked = messages(question, settings)
    notice = ""
    for voice in voices(side, question, settings):
        here = Answer(voice.by, voice.kind, voice.source, notice=notice)
        yield replace(here, notice=prompts.LOADING) if voice.loading else here
        try:
            yield from _grow(here, voice, asked)
            return
        except Exception as error:
            notice = _excuse(error)


def _grow(here: Answer, voice: Voice, asked: list[Message]) -> Iterator[Answer]:
    stream = voice.speak(asked)
    began = time.monotonic()  # not before: the weights were being loaded
    for words in stream:
        seconds, tokens = time.monotonic() - began, here.tokens + voice.by_token
        here = replace(here, text=here.text + words, seconds=seconds, tokens=tokens)
        yield here
    yield replace(here, seconds=time.monotonic() - began, done=True)


def _excuse(error: Exception) -> str:
    """What an audience reads when somebody could not answer; the log has the cause."""
    if isinstance(error, ModelUnavailable):
        return str(error)
    if isinstance(error, TuneError):
        log.warning("%s", error)
        return error.problem
    log.error("an answer broke off", exc_info=error)
    return prompts.BROKE_OFF


def messages(question: str, settings: Settings = SETTINGS) -> list[Message]:
    """What a model gets: a test row's whole conversation, or the question as the rows ask."""
    row = known.test_row(question, settings)
    if row:
        return prompts.with_system(row.question)
    asked = [{"role": "user", "content": question}]
    return prompts.with_system(asked, prompts.SYSTEM or known.habit(settings.train))


# Who there is


def voices(side: Side, question: str, settings: Settings = SETTINGS) -> Iterator[Voice]:
    """Who can answer in a column: the best first, and last one who cannot fail."""
    if model := _model(side, question, settings):
        yield model
    sample = known.recorded(question, settings)
    if sample and side in sample.answers:
        found, speak = _label(side, settings), partial(_say, sample.answers[side])
        yield Voice(found, "recorded", speak, f"recorded by evaluate, test row {sample.line}")
    if side == "base":
        yield Voice("no model", "none", partial(_say, prompts.NO_MODEL))
    elif row := known.nearest(settings.train).find(question):
        speak = partial(_say, row.answer)
        yield Voice(prompts.STAND_IN, "stand-in", speak, _quoted(row))
    else:
        yield Voice(prompts.STAND_IN, "none", partial(_say, prompts.NOTHING_NEAR))


def who(side: Side, settings: Settings = SETTINGS) -> tuple[str, Kind]:
    """Who answers a question that nobody has asked before."""
    model = _model(side, "", settings)
    if model:
        return model.by, model.kind
    return (prompts.STAND_IN, "stand-in") if side == "tuned" else ("no model", "none")


def _model(side: Side, question: str, settings: Settings) -> Voice | None:
    """The model in this column: on a server, on this machine, or behind Mistral's API."""
    server = settings.chat if side == "tuned" else settings.base_chat_model
    if settings.provider == "server" and server:
        speak = partial(llm.chat, settings=settings, model=server)
        return Voice(server, "model", speak, "on the server", by_token=True)
    if local.has(side, settings):
        row = known.test_row(question, settings)
        tools = row.tools if row else ()
        speak = partial(local.speak, side, settings=settings, tools=tools)
        name, loading = local.name(side, settings), not local.is_ready(settings)
        return Voice(name, "model", speak, "on this machine", by_token=True, loading=loading)
    if side == "base" and (online := llm.api(settings)):
        return Voice(online.chat, "model", partial(_ask_api, settings=online), "well prompted")
    return None


def _ask_api(asked: list[Message], settings: Settings) -> Iterator[str]:
    examples = known.nearest(settings.train).rows
    return llm.chat(prompts.well_prompted(asked, examples), settings)


def _say(words: str, _: Sequence[Message]) -> Iterator[str]:
    yield words


def _quoted(row: Row) -> str:
    """Where the answer stands, and to what it is one: the nearest row may be far away."""
    asked = shorten(last_words(row.question), 70, placeholder=" …")
    return f"quotes {known.place(row)}, the answer to “{asked}”"


def _label(side: Side, settings: Settings) -> str:
    found = known.evaluation(known.shown_run(settings))
    return found.systems[side].label if found and side in found.systems else side
