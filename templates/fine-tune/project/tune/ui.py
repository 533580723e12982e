"""Renders the app's tabs as HTML, with all text from people and models escaped."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tune import known, metrics, report
from tune.dataset import Example, last_words
from tune.errors import TuneError
from tune.inference import Answer
from tune.report import Evaluation
from tune.runs import Record, Run, read_log

SAMPLES = 40  # of an evaluation, on the page; the report has them all
WIDTH, HEIGHT, LEFT, BELOW = 960, 260, 48, 26  # of the loss curve, and the margins for its labels
CURVES = {"loss": "training loss", "eval_loss": "validation loss"}


def empty(words: str) -> str:
    """A message for a tab without content."""
    return f'<p class="empty">{html.escape(words)}</p>'


# Compare: the verdict above, the question, and a card for each answer


def headline(run: Run | None) -> str:
    """The figures of the run's evaluation, in brief."""
    found = known.evaluation(run)
    brief = f'<div class="report brief">{report.verdict(found)}</div>' if found else ""
    return f"{brief}{recording(run)}"


def recording(run: Run | None) -> str:
    """What the recorded run is, and what replaces it; empty for a run of your own."""
    if not run or run != known.RECORDED:
        return ""
    examples, seconds = run.record.data["train"]["used"], run.record.figures["seconds"]
    return (
        f'<p class="recording"><b>{html.escape(known.title(run))}</b>: a tiny model, trained on '
        f"{examples} examples for {seconds:.0f} seconds on a CPU. "
        "Your own run replaces it: <code>uv run python -m tune rehearse</code></p>"
    )


def asked(question: str, row: Example | None) -> str:
    """The question above the columns, with the expected answer of a test example."""
    wanted = ""
    if row:
        wanted = (
            f'<p class="expected"><span>Expected ({html.escape(known.place(row))})</span>'
            f'<code dir="auto">{html.escape(row.answer)}</code></p>'
        )
    asked = f'<p class="question" dir="auto">{html.escape(question)}</p>'
    return f'<div class="asked">{asked}{wanted}</div>'


def card(title: str, answer: Answer, expected: str | None, named: bool = True) -> str:
    """An answer as a card. Without `named`, nothing on it identifies the model."""
    kind = answer.kind if named else "model"
    look = f"card {title.lower()} {kind} {'done' if answer.done else 'busy'}"
    chip = f'<span class="chip">{kind}</span>' if kind in ("recorded", "stand-in") else ""
    by = " · ".join(part for part in (answer.by, answer.source) if part and named)
    notice = html.escape(answer.notice) if named else ""
    notice = f'<p class="notice">{notice}</p>' if notice else ""
    words = html.escape(answer.text) or ("<i>The answer is empty.</i>" if answer.done else "")
    fields = _fields(answer, expected) if answer.done and answer.kind != "none" else ""
    match = _match(answer, expected) if not fields else ""
    return (
        f'<article class="{look}"><header><h2>{html.escape(title)}</h2>{chip}</header>'
        f'<p class="by">{html.escape(by) or "&nbsp;"}</p>{notice}'
        f'<div class="words{" raw" if fields else ""}" dir="auto">{words}</div>{fields}'
        f"<footer>{_speed(answer, named)}{match}</footer></article>"
    )


def blank(title: str) -> str:
    """A card before the first question."""
    head = f"<header><h2>{html.escape(title)}</h2></header>"
    return (
        f'<article class="card {title.lower()} blank">{head}<p>The answer comes here.</p></article>'
    )


def _fields(answer: Answer, expected: str | None) -> str:
    """The values of a JSON answer as labelled chips, marked against the expected answer."""
    wanted, given = metrics.parsed(expected or ""), metrics.parsed(answer.text)
    is_known, is_json = isinstance(wanted, dict), isinstance(given, dict)
    if not is_known and not is_json:
        return ""
    wanted, given = wanted if is_known else given, given if is_json else {}
    lines = []
    for key in {**wanted, **given}:
        value, right = _value(given, key), _value(wanted, key)
        wrong = f'<b class="bad">✗ {f"expected {right}" if is_json else "not JSON"}</b>'
        mark = '<b class="good">✓ right</b>' if value == right else wrong
        chip = f'<span class="value {"" if key in given else "missing"}">{value}</span>'
        label = html.escape(_spoken(str(key)))
        lines.append(f"<div><dt>{label}</dt><dd>{chip}{mark if is_known else ''}</dd></div>")
    return f'<dl class="fields">{"".join(lines)}</dl>'


def _value(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "missing")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return html.escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _speed(answer: Answer, named: bool) -> str:
    if not named or answer.kind != "model" or not answer.seconds:
        return ""
    return f"<span>{answer.seconds:.1f} s</span>"


def _match(answer: Answer, expected: str | None) -> str:
    """How near the answer is to the expected one."""
    if expected is None or not answer.done or answer.kind == "none":
        return ""
    name, _ = metrics.headline([expected])
    share = metrics.METRICS[name].measure(expected, answer.text)
    if name != "exact_match":
        return f"<b>{metrics.METRICS[name].label} {metrics.points(100 * share)}</b>"
    tone, words = ("good", "as expected") if share == 1 else ("bad", "not as expected")
    return f'<b class="{tone}">{words}</b>'


def tally(counts: Mapping[str, int], blind: int) -> str:
    """The votes on a pair of models, as a bar."""
    parts = [(name, counts[name]) for name in ("tuned", "both", "neither", "base")]
    bar = "".join(f'<i class="{name}" style="flex:{count}"></i>' for name, count in parts if count)
    votes = metrics.counted(sum(counts.values()), "vote")
    words = " · ".join(f"{name} {count}" for name, count in parts)
    head = f"{votes} on this pair{f', {blind} blind' if blind else ''}"
    return f'<p class="tally">{head}: {words}</p><div class="bar">{bar}</div>'


# Training, evaluation, data


def training(run: Run | None) -> str:
    """A run: loss curve, settings, data and figures."""
    if not run:
        return empty("No run yet. Start one: uv run python -m tune rehearse")
    try:
        record = run.record
    except TuneError as error:
        return empty(error.problem)
    state = "" if record.state == "done" else '<span class="chip">not finished</span>'
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{html.escape(text)}</dd></div>"
        for name, text in _facts(record)
        if text
    )
    head = f"<h2>{html.escape(known.title(run))} {state}</h2>"
    return f'{recording(run)}{head}{curve(run)}<dl class="facts">{facts}</dl>'


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    """What is known about a run: its settings, its data, its figures."""
    settings, figures = record.settings, record.figures
    yield from {"Base": record.base, "Method": record.method}.items()
    yield "Rank", _number(settings.get("rank"))
    for name in ("epochs", "batch_size", "learning_rate", "seed"):
        yield _spoken(name), _number(settings.get(name))
    for part, about in record.data.items():
        yield f"{part.capitalize()} examples", _number(about.get("used", about.get("rows")))
    for name in ("steps", "trained_parameters", "seconds"):
        yield _spoken(name), _number(figures.get(name))
    for name in ("loss", "eval_loss"):
        first, last = figures.get(f"{name}_first"), figures.get(name)
        yield CURVES[name].capitalize(), f"{first:.3g} → {last:.3g}" if first and last else ""
    yield "Versions", ", ".join(f"{name} {each}" for name, each in record.versions.items())


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _number(value: float | None) -> str:
    return f"{round(value, 1) if value > 99 else value:,}" if value else ""


def curve(run: Run) -> str:
    """The losses of a run as an SVG, on a logarithmic scale."""
    log = read_log(run.log)
    lines = {name: list(_points(log, name)) for name in CURVES}
    every = [point for points in lines.values() for point in points]
    if len(every) < 2:
        return empty("The loss appears here after the first steps.")
    last, losses = max(step for step, _ in every) or 1, [loss for _, loss in every]
    low, high = math.log(min(losses)), math.log(max(losses) * 1.1)

    def place(step: float, loss: float) -> tuple[float, float]:
        share = (math.log(loss) - low) / (high - low)
        return LEFT + (WIDTH - LEFT - 16) * step / last, 8 + (HEIGHT - BELOW - 8) * (1 - share)

    marks = [(last * n / 4, math.exp(low + (high - low) * n / 4)) for n in range(5)]
    drawn = "".join(_mark(step, loss, *place(step, loss)) for step, loss in marks)
    for name, points in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        drawn += f'<polyline class="{name}" points="{path}"/>' if points else ""
    legend = "".join(f'<span class="{name}">{words}</span>' for name, words in CURVES.items())
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss by step">{drawn}</svg>'
    return f'<figure class="curve">{svg}<figcaption>{legend}</figcaption></figure>'


def _mark(step: float, loss: float, x: float, y: float) -> str:
    """A line of the grid, and its labels on both axes."""
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:.2g}</text>'
        f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{step:.0f}</text>'
    )


def _points(log: Sequence[Mapping[str, Any]], name: str) -> Iterator[tuple[float, float]]:
    for each in log:
        step, loss = each.get("step"), each.get(name)
        if isinstance(step, int | float) and isinstance(loss, int | float) and 0 < loss < math.inf:
            yield step, loss


def evaluation(run: Run | None, found: Evaluation | None) -> str:
    """An evaluation: verdict, figures with intervals, and samples side by side."""
    if not found:
        return empty("Not evaluated yet: uv run python -m tune evaluate")
    return f"{recording(run)}{report.body(found, SAMPLES)}"


def rows(files: Mapping[str, Sequence[Example]], count: int = 8) -> str:
    """The number of examples in each file, and the first ones."""
    parts = []
    for name, found in files.items():
        lines = "".join(
            f"<tr><td>{html.escape(last_words(row.question)[:300])}</td>"
            f"<td><code>{html.escape(row.answer[:300])}</code></td></tr>"
            for row in found[:count]
        )
        table = f'<div class="wide"><table class="rows">{lines}</table></div>' if lines else ""
        head = f"<h3>{html.escape(name)} <small>{metrics.counted(len(found))}</small></h3>"
        parts.append(f"{head}{table}")
    return "".join(parts)
