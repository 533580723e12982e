"""The web app: `uv run app.py`. Compares two models, and shows votes, training and evaluation."""

from __future__ import annotations

import html
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no telemetry

import gradio as gr

from plumbing.guard import serving
from plumbing.page import run, wait_for_shutdown
from tune import inference, known, local, report, runs, ui
from tune.comparison import (
    LONGEST,
    QUESTIONS,
    TITLES,
    Shown,
    badge,
    compare,
    names,
    opening,
    stop,
    test_question,
    vote,
)
from tune.known import SIDES
from tune.runs import Run
from tune.settings import SETTINGS

HERE = Path(__file__).parent
Update = dict[str, Any]


# The other tabs


def training(name: str | None) -> tuple[Update, str]:
    """The list of runs, and the chosen run's loss curve, settings, data and figures."""
    picker, run = _pick(name)
    return picker, ui.training(run)


def evaluation(name: str | None) -> tuple[Update, str, Update]:
    """The list of runs, and the chosen run's evaluation and report."""
    picker, run = _pick(name)
    found = known.evaluation(run)
    file = _exports() / f"evaluation-{run.name}.html" if run and found else None
    if file and found:
        file.write_text(report.to_html(found), encoding="utf-8")
    button = gr.update(value=file and str(file), visible=file is not None)
    return picker, ui.evaluation(run, found), button


def _pick(name: str | None) -> tuple[Update, Run | None]:
    shown = known.shown_run(SETTINGS)
    found = {run.name: run for run in (*runs.every(SETTINGS.runs), *([shown] if shown else []))}
    run = found.get(name or "") or shown or next(iter(found.values()), None)
    choices = [(known.title(each), key) for key, each in found.items()]
    return gr.update(choices=choices, value=run and run.name, visible=len(found) > 1), run


@cache
def _exports() -> Path:
    """A temporary folder: Gradio copies a report from there, and serves it as a download."""
    return Path(tempfile.mkdtemp(prefix="tune-reports-"))


def rows() -> str:
    """The first examples of each file."""
    files = (SETTINGS.train, SETTINGS.validation, SETTINGS.test)
    return ui.rows({path.name: known.rows(path) for path in files})


def ask(question: str) -> dict[str, Any]:
    """The REST API (gradio_client): both answers, and the expected one of a test example."""
    if not question.strip():
        raise gr.Error("The question is empty.", print_exception=False)
    QUESTIONS.count()
    *_, both = inference.compare(question[:LONGEST], SETTINGS)
    row, tuned = known.test_row(question, SETTINGS), both["tuned"]
    about = {"answer": tuned.text, "model": tuned.by, "notice": tuned.notice}
    sides: dict[str, Any] = {side: asdict(each) for side, each in both.items()}
    return {**about, "expected": row.answer if row else None, **sides}


# The page

QUESTION: dict[str, Any] = {"elem_id": "box", "placeholder": "Ask both models"}
QUESTION |= {"label": "Question", "show_label": False}  # for screen readers
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build() -> gr.Blocks:
    """Lay out the page: a head, and the tabs Compare, Training, Evaluation and Data."""
    with gr.Blocks(title=SETTINGS.title, delete_cache=(3600, 86400)) as page:
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(SETTINGS.title)}</h1><p>{html.escape(SETTINGS.tagline)}</p>")
            who = gr.HTML(badge(), elem_id="who")
        with gr.Tab("Compare") as tab:
            brief = gr.HTML(elem_id="brief")
            compare_tab(page, who)
        for happens in (page.load, tab.select):
            happens(lambda: ui.headline(known.shown_run(SETTINGS)), None, brief, **PRIVATE)
        with gr.Tab("Training") as tab:
            run_tab(tab, training, [])
        with gr.Tab("Evaluation") as tab:
            button = gr.DownloadButton(
                "Download the report", render=False, visible=False, size="sm"
            )
            run_tab(tab, evaluation, [button])
        with gr.Tab("Data") as tab:
            shelf = gr.HTML(elem_id="rows")
            tab.select(rows, None, shelf, **PRIVATE)
        gr.api(ask, api_name="ask")
    return page


def compare_tab(page: gr.Blocks, who: gr.HTML) -> None:
    """The question box, the examples, the two columns and the votes."""
    shown = gr.State(Shown())
    box = gr.Textbox(max_length=LONGEST, submit_btn="Ask", autofocus=True, **QUESTION)
    with gr.Row(elem_id="chips"):
        chips = [gr.Button(text, size="sm", elem_classes="chip") for text in SETTINGS.examples]
        row = gr.Button("A test example", size="sm", elem_id="test-row")
        blind = gr.Checkbox(label="Blind vote", container=False, elem_id="blind", min_width=80)
    question = gr.HTML(elem_id="asked")
    with gr.Row(elem_id="columns"):
        cards = [gr.HTML(ui.blank(TITLES[side]), elem_id=side) for side in SIDES]
    with gr.Row(elem_id="votes"):
        buttons = [gr.Button(each, size="sm", interactive=False) for each in names(Shown())]
    tally = gr.HTML(elem_id="tally")
    everything = [question, *cards, *buttons, tally, who, box, shown]
    asking = [box, blind, shown]
    box.submit(compare, asking, everything, **PRIVATE)
    for chip in chips:
        chip.click(compare, [chip, blind, shown], everything, **PRIVATE)
    row.click(test_question, None, box, **PRIVATE).then(compare, asking, everything, **PRIVATE)
    box.stop(stop, shown, None, queue=False, **PRIVATE)
    for button, place in zip(buttons, ("first", "second", "both", "neither"), strict=True):
        button.click(partial(vote, place), shown, everything, **PRIVATE)
    page.load(opening, shown, everything, **PRIVATE)


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
    known.nearest("", SETTINGS.train)
    if local.has("tuned", SETTINGS):
        try:
            local.load(SETTINGS)
        except Exception as error:  # a question then shows the error and a fallback answer
            print(f"The local model cannot be loaded: {error}", flush=True)


def main() -> None:
    """Serve the page until Ctrl-C."""
    style = [HERE / "style.css", report.STYLE]
    with serving(build(), SETTINGS, theme=THEME, css_paths=style) as address:
        print(f"Open {address}", flush=True)
        threading.Thread(target=warm_up, daemon=True).start()
        wait_for_shutdown()
    shutil.rmtree(_exports(), ignore_errors=True)


if __name__ == "__main__":
    run(main)
