"""One visitor's comparison: question, answers and vote, and what the page then shows."""

from __future__ import annotations

import html
import json
import logging
import random
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from plumbing.guard import VisitorLimit
from tune import inference, known, local, prompts, ui
from tune.dataset import last_words
from tune.inference import Answer, Both
from tune.known import SIDES, Side
from tune.settings import SETTINGS

log = logging.getLogger(__name__)
TITLES: dict[Side, str] = {"base": "Base", "tuned": "Tuned"}
LETTERS = ("A", "B")  # the columns' titles in a blind vote
LONGEST = 10_000  # characters of a question, and of an answer in the votes
Update = dict[str, Any]
SKIPPED = tuple(gr.skip() for _ in range(11))  # changes nothing

QUESTIONS = VisitorLimit(SETTINGS.visitor_limit)
_stops: dict[str, threading.Event] = {}  # stop events of the running questions, by Shown.id
_one_line = threading.Lock()  # of the votes at a time


@dataclass(frozen=True)
class Shown:
    """The state of one visitor's page; `choice` is the visitor's vote."""

    question: str = ""
    both: Both = field(default_factory=dict)
    order: tuple[Side, Side] = SIDES
    blind: bool = False
    choice: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def is_done(self) -> bool:
        """Whether both answers are complete."""
        return bool(self.both) and all(each.done for each in self.both.values())

    @property
    def is_votable(self) -> bool:
        """Whether there are two answers to choose from, and no vote yet."""
        real = all(each.kind != "none" for each in self.both.values())
        return self.is_done and real and not self.choice

    @property
    def is_hidden(self) -> bool:
        """Whether the columns must not show the models' names."""
        return self.blind and not self.choice and (self.is_votable or not self.is_done)


# Event handlers: ask, stop, vote


def opening(shown: Shown) -> tuple[Any, ...]:
    """The page before the first question: without a model, the recorded answers to an example."""
    for question in SETTINGS.examples if inference.who(SETTINGS)[1] != "model" else ():
        if len(quotes := known.recorded(question, SETTINGS)) == len(SIDES):
            both = {side: inference.quoted(each) for side, each in quotes.items()}
            return screen(replace(shown, question=question, both=both))
    return (*SKIPPED[:8], badge(), *SKIPPED[9:])


def compare(question: str, blind: bool, before: Shown) -> Iterator[tuple[Any, ...]]:
    """Ask both models, and stream both answers to the page."""
    if not (question := (question or "").strip()[:LONGEST]):
        yield SKIPPED
        return
    QUESTIONS.count()
    _stops.pop(before.id, threading.Event()).set()  # the page's older question
    order = random.choice([SIDES, SIDES[::-1]]) if blind else SIDES
    shown = Shown(question, {side: Answer() for side in SIDES}, order, blind)
    stop = _stops[shown.id] = threading.Event()
    *first, box, _ = screen(shown, busy=True)
    try:
        yield *first, box | {"value": ""}, shown  # clear the box once: the next may be typed now
        for both in inference.compare(question, SETTINGS, stop):
            if shown.id not in _stops:  # replaced by a newer question
                return
            shown = replace(shown, both=both)
            yield screen(shown, busy=True)
    except Exception:
        log.exception("no answer to %r", question)
        shown = replace(shown, both=dict.fromkeys(SIDES, Answer(text=prompts.SORRY, done=True)))
    finally:
        is_on_the_page = _stops.pop(shown.id, None)
    if is_on_the_page:
        yield screen(_mark_stopped(shown))


def stop(shown: Shown) -> None:
    """Stop both models."""
    if shown.id in _stops:
        _stops[shown.id].set()


def _mark_stopped(shown: Shown) -> Shown:
    both = {
        side: each if each.done else replace(each, notice=prompts.STOPPED, done=True)
        for side, each in shown.both.items()
    }
    return replace(shown, both=both)


def test_question() -> str:
    """The question of a random test example."""
    rows = known.rows(SETTINGS.test)
    return last_words(random.choice(rows).question) if rows else ""


def vote(place: str, shown: Shown) -> tuple[Any, ...]:
    """Save a visitor's choice (first, second, both or neither), and show the models' names."""
    if not shown.both:
        gr.Warning("Ask a question first.")
        return SKIPPED
    if not shown.is_votable:  # a second click
        return screen(shown)
    choice = {"first": shown.order[0], "second": shown.order[1]}.get(place, place)
    try:
        _save_vote(replace(shown, choice=choice))
    except OSError as error:
        log.warning("the vote was not saved: %s", error)
        gr.Warning("The vote could not be saved.")
    return screen(replace(shown, choice=choice))


# Rendering: a function of `Shown` only


def screen(shown: Shown, busy: bool = False) -> tuple[Any, ...]:
    """Question, two cards, four buttons, tally, badge, box, and the page's state."""
    row = known.test_row(shown.question, SETTINGS)
    cards = [
        ui.card(title, shown.both[side], row.answer if row else None, named=not shown.is_hidden)
        for title, side in zip(_titles(shown), shown.order, strict=True)
    ]
    box = gr.update(submit_btn=not busy and "Ask", stop_btn=busy and "Stop")
    return (
        ui.asked(shown.question, row),
        *cards,
        *_buttons(shown),
        _tally(shown),
        badge(None if shown.is_hidden else shown.both["tuned"]),
        box,
        shown,
    )


def names(shown: Shown) -> list[str]:
    """What the four buttons say."""
    first, second = _titles(shown)
    return [f"{first} is better", f"{second} is better", "Both are good", "Neither is good"]


def _titles(shown: Shown) -> tuple[str, ...]:
    return LETTERS if shown.is_hidden else tuple(TITLES[side] for side in shown.order)


def _buttons(shown: Shown) -> list[Update]:
    return [
        gr.update(
            value=name,
            interactive=shown.is_votable,
            variant="primary" if shown.choice == value else "secondary",
        )
        for name, value in zip(names(shown), [*shown.order, "both", "neither"], strict=True)
    ]


def _tally(shown: Shown) -> str:
    """The votes on this pair of models. Shown only after voting, so that it sways no vote."""
    if shown.is_hidden or shown.is_votable or not shown.is_done:
        hint = "Vote to see the names." if shown.is_hidden and shown.is_votable else ""
        return f'<p class="tally">{hint}</p>'
    counts, blind = count_votes(shown.both)
    return ui.tally(counts, blind) if counts else ""


def badge(answer: Answer | None = None) -> str:
    """The source of the tuned column: a model, a recorded answer, or the offline stand-in."""
    by, kind = (answer.by, answer.kind) if answer and answer.by else inference.who(SETTINGS)
    run = known.shown_run(SETTINGS)
    words = known.title(run) if run and kind == "recorded" else known.spoken(by)
    if kind in ("stand-in", "none"):
        words = "Offline stand-in"
    elif kind == "model" and local.has("tuned", SETTINGS) and by == local.name("tuned", SETTINGS):
        pair = local.ready(SETTINGS)
        words += f" · {pair.device if pair else 'loading'}"
    return f'<span class="badge {"on" if kind == "model" else "off"}">{html.escape(words)}</span>'


# Votes: a line of JSON each


def _save_vote(shown: Shown) -> None:
    """Append a vote, with the question and both answers. Raises OSError."""
    line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    line |= {"choice": shown.choice, "blind": shown.blind, "question": shown.question}
    for side, each in shown.both.items():
        line[side] = {"by": each.by, "kind": each.kind, "text": each.text[:LONGEST]}
    with _one_line, SETTINGS.votes.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def count_votes(both: Both) -> tuple[Counter[str], int]:
    """The votes so far on this pair of models, and how many were blind."""
    counts, blind = Counter[str](), 0
    names = [both[side].by for side in SIDES]
    with suppress(OSError):
        for line in SETTINGS.votes.read_text("utf-8", errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):  # a line that a crash cut off
                vote = json.loads(line)
                if [vote[side]["by"] for side in SIDES] == names:
                    counts[vote["choice"]] += 1
                    blind += vote["blind"] is True
    return counts, blind
