"""The web app: `uv run app.py`. Compares two models, and shows votes, training and evaluation."""

from __future__ import annotations

import atexit
import html
import logging
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no telemetry

import gradio as gr

from plumbing.page import catch_signals, wait_for_shutdown
from tune import inference, known, llm, local, prompts, runs, ui, votes
from tune.dataset import last_words
from tune.inference import SIDES, Answer, Both
from tune.local import Side
from tune.runs import Run
from tune.settings import SETTINGS

log = logging.getLogger(__name__)
HERE = Path(__file__).parent
ASK = "Ask both models"
TITLES: dict[Side, str] = {"base": "Base", "tuned": "Tuned"}
LETTERS = ("A", "B")  # the columns' titles in a blind vote
START: dict[Side, str] = {
    "base": "The base model answers here.",
    "tuned": "The fine-tuned model answers here.",
}
LONGEST = 10_000  # characters of a question
Update = dict[str, Any]

_stops: dict[str, threading.Event] = {}  # stop events of the running questions, by Shown.id


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


def compare(question: str, blind: bool, before: Shown) -> Iterator[tuple[Any, ...]]:
    """Ask both models, and stream both answers to the page."""
    question = (question or "").strip()[:LONGEST]
    if not question:
        yield tuple(gr.skip() for _ in range(OUTPUTS))
        return
    _leave(before)
    order = random.choice([SIDES, SIDES[::-1]]) if blind else SIDES
    shown = Shown(question, {side: Answer() for side in SIDES}, order, blind)
    stop = _stops[shown.id] = threading.Event()
    *first, box, _ = _screen(shown, busy=True)
    try:
        yield *first, box | {"value": ""}, shown  # clear the box once: the next may be typed now
        for both in inference.compare(question, SETTINGS, stop):
            if shown.id not in _stops:  # replaced by a newer question
                return
            shown = replace(shown, both=both)
            yield _screen(shown, busy=True)
    except Exception:
        log.exception("no answer to %r", question)
        sorry = Answer(text=prompts.SORRY, done=True)
        shown = replace(shown, both=dict.fromkeys(SIDES, sorry))
    finally:
        is_on_the_page = _stops.pop(shown.id, None) is not None
    if is_on_the_page:
        yield _screen(_mark_stopped(shown))


def _leave(shown: Shown) -> None:
    """Cancel the question that the page shows, without a notice."""
    if stop := _stops.pop(shown.id, None):
        stop.set()


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
    """The question of a random test row."""
    rows = known.rows(SETTINGS.test)
    return last_words(random.choice(rows).question) if rows else ""


def vote(place: str, shown: Shown) -> tuple[Any, ...]:
    """Save a visitor's choice (first, second, both or neither), and show the models' names."""
    if not shown.is_votable:  # a second click
        return _screen(shown)
    first, second = shown.order
    meant: dict[str, votes.Choice] = {"first": first, "second": second}
    meant |= {"both": "both", "neither": "neither"}
    try:
        votes.keep(SETTINGS.votes, shown.question, shown.both, meant[place], shown.blind)
    except OSError as error:
        log.warning("the vote was not saved: %s", error)
        gr.Warning("The vote could not be saved.")
    return _screen(replace(shown, choice=meant[place]))


# Rendering: a function of `Shown` only

BUTTONS = 4
OUTPUTS = 3 + BUTTONS + 4


def _screen(shown: Shown, busy: bool = False) -> tuple[Any, ...]:
    """Question, two cards, four buttons, tally, badge, box, and the page's state."""
    row = known.test_row(shown.question, SETTINGS)
    expected = row.answer if row else None
    titles = LETTERS if shown.is_hidden else tuple(TITLES[side] for side in shown.order)
    cards = [
        ui.card(title, shown.both[side], expected, named=not shown.is_hidden)
        for title, side in zip(titles, shown.order, strict=True)
    ]
    box = gr.update(submit_btn=not busy and "Ask", stop_btn=busy and "Stop")
    return (
        ui.asked(shown.question, row),
        *cards,
        *_buttons(shown, titles),
        _tally(shown),
        badge(None if shown.is_hidden else shown.both["tuned"]),
        box,
        shown,
    )


def _buttons(shown: Shown, titles: tuple[str, ...]) -> list[Update]:
    names = [f"{titles[0]} is better", f"{titles[1]} is better", "Both are good", "Neither is good"]
    values = [*shown.order, "both", "neither"]
    return [
        gr.update(
            value=name,
            interactive=shown.is_votable,
            variant="primary" if shown.choice == value else "secondary",
        )
        for name, value in zip(names, values, strict=True)
    ]


def _tally(shown: Shown) -> str:
    """The votes on this pair of models. Shown only after voting, so that it sways no vote."""
    if shown.is_hidden or shown.is_votable or not shown.is_done:
        hint = "Vote to see the names." if shown.is_hidden and shown.is_votable else ""
        return f'<p class="tally">{hint}</p>'
    found = votes.tally(SETTINGS.votes, shown.both)
    return ui.tally(found) if found.votes else ""


def badge(answer: Answer | None = None) -> str:
    """The source of the tuned column: a model, a recorded answer, or the offline stand-in."""
    by, kind = (
        (answer.by, answer.kind) if answer and answer.by else inference.who("tuned", SETTINGS)
    )
    words = "Offline stand-in" if kind in ("stand-in", "none") else by
    if kind == "recorded":
        words += " · recorded"
    elif kind == "model" and local.has("tuned", SETTINGS) and by == local.name("tuned", SETTINGS):
        words += f" · {local.device(SETTINGS) or 'loading'}"
    return f'<span class="badge {"on" if kind == "model" else "off"}">{html.escape(words)}</span>'


# The other tabs


def training(name: str | None) -> tuple[Update, str]:
    """The list of runs, and the chosen run's loss curve, settings, data and figures."""
    picker, run = _pick(name)
    return picker, ui.training(run)


def evaluation(name: str | None) -> tuple[Update, str, Update]:
    """The list of runs, and the chosen run's evaluation and report."""
    picker, run = _pick(name)
    report = _copied(run) if run and run.report.is_file() else None
    button = gr.update(value=report, visible=report is not None)
    return picker, ui.evaluation(known.evaluation(run)), button


def _pick(name: str | None) -> tuple[Update, Run | None]:
    found = {run.name: run for run in runs.every(SETTINGS.runs)}
    run = found.get(name or "") or known.shown_run(SETTINGS) or next(iter(found.values()), None)
    value = run.name if run else None
    return gr.update(choices=list(found), value=value, visible=bool(found)), run


def _copied(run: Run) -> str:
    """Copy the report to a folder that Gradio may serve: the run's own folder has the weights."""
    return str(shutil.copy(run.report, _exports() / f"evaluation-{run.name}.html"))


@cache
def _exports() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tune-reports-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def rows() -> str:
    """The first rows of each file."""
    files = {path.name: path for path in (SETTINGS.train, SETTINGS.validation, SETTINGS.test)}
    return ui.rows({name: known.rows(path) for name, path in files.items()})


# The REST API (gradio_client)


def ask(question: str) -> dict[str, Any]:
    """Ask both models: their answers, and the expected answer of a test row."""
    if not question.strip():
        raise gr.Error("The question is empty.", print_exception=False)
    *_, both = inference.compare(question[:LONGEST], SETTINGS)
    row = known.test_row(question, SETTINGS)
    tuned = both["tuned"]
    return {
        "answer": tuned.text,
        "model": tuned.by,
        "notice": tuned.notice,
        "expected": row.answer if row else None,
        **{side: asdict(both[side]) for side in SIDES},
    }


# The page

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build() -> gr.Blocks:
    """Lay out the page: a head, and the tabs Compare, Training, Evaluation and Data."""
    with gr.Blocks(title=SETTINGS.title) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            who = gr.HTML(badge(), elem_id="who")
        with gr.Tab("Compare"):
            compare_tab(who)
        with gr.Tab("Training") as tab:
            run_tab(tab, training, [])
        with gr.Tab("Evaluation") as tab:
            report = gr.DownloadButton(
                "Download the report", render=False, visible=False, size="sm"
            )
            run_tab(tab, evaluation, [report])
        with gr.Tab("Data") as tab:
            shelf = gr.HTML(elem_id="rows")
            tab.select(rows, None, shelf, **PRIVATE)
        page.load(badge, None, who, **PRIVATE)
        gr.api(ask, api_name="ask")
    return page


def compare_tab(who: gr.HTML) -> None:
    """The question box, the examples, the two columns and the votes."""
    shown = gr.State(Shown())
    box = gr.Textbox(
        label="Question",  # for screen readers
        placeholder=ASK,
        show_label=False,
        max_length=LONGEST,
        submit_btn="Ask",
        autofocus=True,
        elem_id="box",
    )
    with gr.Row(elem_id="chips"):
        chips = [gr.Button(text, size="sm", elem_classes="chip") for text in SETTINGS.examples]
        row = gr.Button("A test row", size="sm", elem_id="test-row")
        blind = gr.Checkbox(label="Blind vote", container=False, elem_id="blind", min_width=80)
    question = gr.HTML(elem_id="asked")
    with gr.Row(elem_id="columns"):
        cards = [gr.HTML(ui.blank(TITLES[side], START[side]), elem_id=side) for side in SIDES]
    with gr.Row(elem_id="votes"):
        buttons = [gr.Button(name, size="sm", interactive=False) for name in _names()]
    tally = gr.HTML(elem_id="tally")
    screen = [question, *cards, *buttons, tally, who, box, shown]
    box.submit(compare, [box, blind, shown], screen, **PRIVATE)
    for chip in chips:
        chip.click(compare, [chip, blind, shown], screen, **PRIVATE)
    drawn = row.click(test_question, None, box, **PRIVATE)
    drawn.then(compare, [box, blind, shown], screen, **PRIVATE)
    box.stop(stop, shown, None, queue=False, **PRIVATE)
    for button, place in zip(buttons, ("first", "second", "both", "neither"), strict=True):
        button.click(partial(vote, place), shown, screen, **PRIVATE)


def _names() -> list[str]:
    return [each["value"] for each in _buttons(Shown(), tuple(TITLES.values()))]


def run_tab(tab: gr.Tab, show: Callable[..., Any], more: list[Any]) -> None:
    """A run picker and the run's details; refreshed each time the tab opens."""
    with gr.Row(elem_classes="picker"):
        picker = gr.Dropdown(label="Run", show_label=False, container=False, visible=False)
        for each in more:
            each.render()
    shelf = gr.HTML()
    for happens in (tab.select, picker.input):
        happens(show, picker, [picker, shelf, *more], **PRIVATE)


THEME = gr.themes.Soft(
    primary_hue="orange",
    neutral_hue="stone",
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],  # no web font: it works offline
    font_mono=["ui-monospace", "Consolas", "monospace"],
)


def warm_up() -> None:
    """Load models and data in the background, before the first question."""
    known.nearest(SETTINGS.train)
    llm.prepare(SETTINGS)
    if local.has("tuned", SETTINGS):
        try:
            local.load(SETTINGS)
        except Exception as error:  # a question then shows the error and a fallback answer
            print(f"The local model cannot be loaded: {error}", flush=True)


def main() -> None:
    """Serve the page until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    catch_signals()
    page = build().queue(default_concurrency_limit=8)  # several visitors at the same time
    try:
        _, address, _ = page.launch(
            server_name=SETTINGS.host,
            server_port=SETTINGS.port or None,
            theme=THEME,
            css_paths=HERE / "style.css",
            footer_links=[],
            allowed_paths=[str(_exports())],
            prevent_thread_lock=True,
            quiet=True,
        )
    except OSError as error:
        sys.exit(f"The app could not start: {error}\nFix: choose another PORT in .env")
    print(f"Open {address}", flush=True)
    threading.Thread(target=warm_up, daemon=True).start()
    wait_for_shutdown()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the page was up
        sys.exit(130)
