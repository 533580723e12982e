"""Renders the app's tabs as HTML, with all text from people and models escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tune import known, metrics
from tune.dataset import Example, last_words
from tune.errors import TuneError
from tune.inference import Answer
from tune.metrics import METRICS, Interval
from tune.report import marked
from tune.results import Evaluation, Sample
from tune.runs import Run, read_log
from tune.votes import Tally

SAMPLES = 40  # of an evaluation, on the page; the report has them all
WIDTH, HEIGHT, LEFT, BELOW = 720, 260, 52, 26  # of the loss curve, and the margins for its labels
KINDS = {"model": "", "recorded": "recorded", "stand-in": "stand-in", "none": "none"}


def empty(words: str) -> str:
    """A message for an empty tab."""
    return f'<p class="empty">{html.escape(words)}</p>'


# A column: one answer and its source


def card(title: str, answer: Answer, expected: str | None, named: bool = True) -> str:
    """An answer as a card. Without `named`, nothing on it identifies the model."""
    kind = answer.kind if named else "model"
    look = f"card {title.lower()} {kind} {'done' if answer.done else 'busy'}"
    chip = f'<span class="chip">{KINDS[kind]}</span>' if KINDS[kind] else ""
    by = _author(answer) if named else ""
    notice = html.escape(answer.notice) if named else ""
    notice = f'<p class="notice">{notice}</p>' if notice else ""
    words = html.escape(answer.text) or ("<i>The answer is empty.</i>" if answer.done else "")
    return (
        f'<article class="{look}"><header><h2>{html.escape(title)}</h2>{chip}</header>'
        f'<p class="by">{html.escape(by) or "&nbsp;"}</p>{notice}'
        f'<div class="words" dir="auto">{words}</div>'
        f"<footer>{_figures(answer, named)}{_match(answer, expected)}</footer></article>"
    )


def _author(answer: Answer) -> str:
    """The model and the source, unless the chip next to the title shows it."""
    names = (answer.by,) if answer.kind in ("model", "recorded") else ()
    return " · ".join(part for part in (*names, answer.source) if part)


def _figures(answer: Answer, named: bool) -> str:
    if not named or answer.kind != "model" or not answer.seconds:
        return ""
    rate = f" · {answer.tokens / answer.seconds:.0f} tokens/s" if answer.tokens else ""
    return f"<span>{answer.seconds:.1f} s{rate}</span>"


def _match(answer: Answer, expected: str | None) -> str:
    if expected is None or not answer.done or answer.kind == "none":
        return ""
    if metrics.normal(answer.text) == metrics.normal(expected):
        return '<b class="good">as expected</b>'
    return '<b class="bad">not as expected</b>'


def blank(title: str, words: str) -> str:
    """A card before the first question."""
    head = f"<header><h2>{html.escape(title)}</h2></header>"
    return (
        f'<article class="card {title.lower()} blank">{head}<p>{html.escape(words)}</p></article>'
    )


def tally(found: Tally) -> str:
    """The votes on a pair of models, as a bar."""
    parts = [(name, found.counts[name]) for name in ("tuned", "both", "neither", "base")]
    bar = "".join(f'<i class="{name}" style="flex:{count}"></i>' for name, count in parts if count)
    counts = " · ".join(f"{name} {count}" for name, count in parts)
    blind = f", {found.blind} blind" if found.blind else ""
    plural = "vote" if found.votes == 1 else "votes"
    head = f"{found.votes} {plural} on this pair{blind}"
    return f'<p class="tally">{head}: {counts}</p><div class="bar">{bar}</div>'


def asked(question: str, row: Example | None) -> str:
    """The question above the columns, with the expected answer of a test row."""
    wanted = ""
    if row:
        wanted = (
            f'<p class="expected"><span>Expected ({html.escape(known.place(row))})</span>'
            f'<code dir="auto">{html.escape(row.answer)}</code></p>'
        )
    asked = f'<p class="question" dir="auto">{html.escape(question)}</p>'
    return f'<div class="asked">{asked}{wanted}</div>'


# Training: the loss curve and the run's record


def training(run: Run | None) -> str:
    """A run: loss curve, settings, data and figures."""
    if not run:
        return empty("No run yet. Start one: uv run python -m tune rehearse")
    try:
        record = run.record
    except TuneError as error:
        return empty(error.problem)
    state = "" if record.state == "done" else '<span class="chip">not finished</span>'
    head = f"<h2>{html.escape(run.name)} {state}</h2>"
    facts = {"base": record.base, "method": record.method, "started": record.started}
    parts = {"Run": facts, "Settings": record.settings, "Data": record.data}
    parts |= {"Figures": record.figures, "Versions": record.versions}
    tables = "".join(_tables(title, values) for title, values in parts.items())
    return f'{head}{curve(run)}<div class="tables">{tables}</div>'


def curve(run: Run) -> str:
    """The losses of a run, as an SVG in the page's colours."""
    lines = read_log(run.log)
    lost = {name: _points(lines, name) for name in ("loss", "eval_loss")}
    every = [point for points in lost.values() for point in points]
    if len(every) < 2:
        return empty("The loss appears here after the first steps.")
    scale = Scale.over(every)
    drawn = "".join(_line(name, points, scale) for name, points in lost.items() if points)
    return (
        f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Loss by step">{_grid(scale)}{drawn}</svg>'
        f'<figcaption><span class="loss">training loss</span>'
        f'<span class="eval_loss">validation loss</span></figcaption></figure>'
    )


@dataclass(frozen=True)
class Scale:
    """Maps steps and losses to the SVG's coordinates; logarithmic if the losses vary widely."""

    last: float
    low: float
    top: float
    log: bool

    @classmethod
    def over(cls, points: Sequence[tuple[float, float]]) -> Scale:
        losses = [loss for _, loss in points]
        low, top = min(losses), max(losses) * 1.05 or 1.0
        log = low > 0 and top / low > 20
        return cls(max(step for step, _ in points) or 1.0, low if log else 0.0, top, log)

    def place(self, step: float, loss: float) -> tuple[float, float]:
        high = loss / self.top
        if self.log:
            high = math.log(loss / self.low) / math.log(self.top / self.low)
        return LEFT + (WIDTH - LEFT - 8) * step / self.last, 8 + (HEIGHT - BELOW - 8) * (1 - high)

    def loss(self, share: float) -> float:
        """The loss at a share of the height."""
        return self.low * (self.top / self.low) ** share if self.log else self.top * share


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    pairs = [(each.get("step"), each.get(name)) for each in lines]
    return [
        (float(step), float(loss))
        for step, loss in pairs
        if isinstance(step, int | float) and isinstance(loss, int | float) and math.isfinite(loss)
    ]


def _line(name: str, points: Sequence[tuple[float, float]], scale: Scale) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale.place(*point) for point in points))
    x, y = scale.place(*points[-1])
    end = f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
    return f'<polyline class="{name}" points="{path}"/>{end}'


def _grid(scale: Scale) -> str:
    parts = []
    for fourth in range(5):
        loss, step = scale.loss(fourth / 4), scale.last * fourth / 4
        x, y = scale.place(step, loss)
        anchor = "end" if fourth == 4 else "middle"
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:.2g}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{step:.0f}</text>',
        ]
    return f'<g class="grid">{"".join(parts)}</g>'


def _tables(title: str, values: Mapping[str, Any]) -> str:
    """The values as a table, and a table for each value that is a dict."""
    plain = {name: each for name, each in values.items() if not isinstance(each, dict)}
    rows = "".join(
        f"<tr><th>{html.escape(name.replace('_', ' '))}</th>"
        f"<td>{html.escape(_shown(name, value))}</td></tr>"
        for name, value in plain.items()
        if value not in ("", None, [])
    )
    table = f"<section><h3>{html.escape(title)}</h3><table>{rows}</table></section>" if rows else ""
    inner = ((name, each) for name, each in values.items() if isinstance(each, dict))
    return table + "".join(_tables(f"{title}: {name}", each) for name, each in inner)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and name.endswith("memory"):
        return f"{value / 1e9:.2f} GB"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(_shown(name, each) for each in value)
    text = str(value)
    return f"{text[:12]}…" if name.startswith("sha") else text


# Evaluation: verdict, figures and samples


def evaluation(found: Evaluation | None) -> str:
    """An evaluation: verdict, figures with intervals, and samples side by side."""
    if not found:
        return empty("Not evaluated yet: uv run python -m tune evaluate")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in found.notes)
    mark = found.verdict.replace(" ", "-")
    samples = found.samples[:SAMPLES]
    more = f" of {len(found.samples)}" if len(found.samples) > SAMPLES else ""
    return (
        f'<div class="verdict {html.escape(mark)}"><b>{html.escape(found.why)}</b>'
        f"{notes}</div>{_scores(found)}"
        f"<h3>{len(samples)}{more} rows, side by side <small>one dot per model, filled if it "
        "answers as expected</small></h3>" + "".join(_sample(sample, found) for sample in samples)
    )


def _scores(found: Evaluation) -> str:
    heads = "".join(f"<th>{html.escape(each.label)}</th>" for each in found.systems.values())
    rows = "".join(_score(name, found) for name in METRICS if name in found.differences)
    seconds = "".join(f"<td>{each.seconds.mean:.2g}</td>" for each in found.systems.values())
    return (
        '<div class="wide"><table class="scores">'
        f"<thead><tr><th>{found.rows} rows</th>{heads}<th>Tuned − base</th></tr></thead>"
        f"<tbody>{rows}<tr><th>Seconds per answer</th>{seconds}<td></td></tr></tbody></table></div>"
    )


def _score(name: str, found: Evaluation) -> str:
    cells = "".join(
        f"<td>{_interval(each.metrics[name])}</td>" if name in each.metrics else "<td></td>"
        for each in found.systems.values()
    )
    ahead = found.differences[name]
    sure = "good" if ahead.low > 0 else "bad" if ahead.high < 0 else ""
    chosen = ' class="headline"' if name == found.headline else ""
    label, about = METRICS[name]
    return (
        f'<tr{chosen}><th title="{html.escape(about)}">{html.escape(label)}</th>{cells}'
        f'<td class="{sure}">{_interval(ahead, signed=True)}</td></tr>'
    )


def _interval(value: Interval, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (f"{each:{sign}.1f}" for each in (value.mean, value.low, value.high))
    return f"<b>{mean}</b> <small>{low} to {high}</small>".replace("-", "−")


def _sample(sample: Sample, found: Evaluation) -> str:
    question = html.escape(last_words(sample.question))
    columns = "".join(
        f"<div><h4>{html.escape(found.systems[side].label if side in found.systems else side)}"
        f'</h4><p dir="auto">{marked(sample.expected, text)}</p></div>'
        for side, text in sample.answers.items()
    )
    wanted = f'<div><h4>Expected</h4><p dir="auto">{html.escape(sample.expected)}</p></div>'
    return (
        f'<details class="sample"><summary><span>{question}</span>{_dots(sample)}</summary>'
        f'<div class="columns">{wanted}{columns}</div></details>'
    )


def _dots(sample: Sample) -> str:
    dots = []
    for side, text in sample.answers.items():
        right = metrics.normal(text) == metrics.normal(sample.expected)
        mark, said = ("good", "right") if right else ("bad", "differs")
        words = f"{html.escape(side)}: {said}"
        dots.append(f'<i class="dot {mark}" role="img" aria-label="{words}" title="{words}"></i>')
    return f'<span class="dots">{"".join(dots)}</span>'


# Data: a few rows of each file


def rows(files: Mapping[str, Sequence[Example]], count: int = 8) -> str:
    """The number of rows of each file, and its first rows."""
    parts = []
    for name, found in files.items():
        lines = "".join(
            f"<tr><td>{html.escape(_short(last_words(row.question)))}</td>"
            f"<td><code>{html.escape(_short(row.answer))}</code></td></tr>"
            for row in found[:count]
        )
        table = f'<div class="wide"><table class="rows">{lines}</table></div>' if lines else ""
        parts.append(f"<h3>{html.escape(name)} <small>{len(found):,} rows</small></h3>{table}")
    return "".join(parts)


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
