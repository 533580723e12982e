"""An evaluation as one HTML file to show to judges: no script, no request, light and dark."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from typing import Any

from tune.metrics import METRICS, Interval
from tune.results import BASE, PROMPTED, TUNED, Evaluation, Sample
from tune.runs import Record, Run
from tune.verdict import points, signed

STYLE = Path(__file__).with_name("report.css")
NAMES = {BASE: "Base", TUNED: "Tuned", PROMPTED: "Prompted"}
WORDS = {"better": "Better", "no proof": "No proof", "worse": "Worse"}
COMPARED = 2000  # characters; differences in longer texts take too long to mark
ALIKE = 0.3  # below, everything would be marked

# The outcomes of a row, and their labels: if answers are right or wrong, and if they get a score
OUTCOMES = {
    "lost": ("Base right, tuned wrong", "Base closer"),
    "wrong": ("Both wrong", "Equally close"),
    "gained": ("Base wrong, tuned right", "Tuned closer"),
    "right": ("Both right", "Both exact"),
}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{about}</p></header>
<main>
{main}
</main>
<footer>Intervals contain the true value in about 95 of 100 cases: paired bootstrap over the \
rows (Koehn 2004), wider for few rows. Both models got the same prompts and the same \
decoding.</footer>
</body>
</html>
"""


def to_html(found: Evaluation, run: Run) -> str:
    """The evaluation as a page that needs no other file."""
    style = STYLE.read_text(encoding="utf-8")
    main = (
        _verdict(found),
        _figures(found),
        _training(found, run.record, run.plot),
        _answers(found),
    )
    about = (_date(found.created), _rows(found.rows), str(found.settings.get("test_file", "")))
    return PAGE.format(
        policy=_policy(style),
        title=escape(f"{found.run}: base against tuned"),
        style=style,
        about=escape(" · ".join(part for part in about if part)),
        main="\n".join(part for part in main if part),
    )


def _policy(style: str) -> str:
    """The content security policy: only this style sheet, and only images inside the page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    allowed = f"style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; {allowed}"


def _verdict(found: Evaluation) -> str:
    systems, name = found.systems, found.headline
    ahead = found.differences[name]
    cells = [
        f'<div><dt>{NAMES[who]}</dt><dd class="{who}">{_figure(systems[who].metrics[name], name)}'
        f"<small>{_between(systems[who].metrics[name])}</small></dd></div>"
        for who in systems
    ]
    cells.append(
        f"<div><dt>Tuned is ahead of base by</dt><dd>{signed(ahead.mean)}"
        f"<small>{signed(ahead.low)} to {signed(ahead.high)} points</small></dd></div>"
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    chosen = f"{METRICS[name].label} decides: {found.because}."
    return (
        f'<section class="verdict {found.verdict.replace(" ", "-")}">'
        f'<p class="word">{escape(WORDS.get(found.verdict, found.verdict))}</p>'
        f'<p class="why">{escape(_capital(found.why.partition(": ")[2] or found.why))}</p>'
        f'<p class="quiet">{escape(chosen)}</p><dl class="pair">{"".join(cells)}</dl></section>'
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


# The table of figures


def _figures(found: Evaluation) -> str:
    head = "".join(
        f'<th><span class="key {who}">{NAMES[who]}</span><small>{escape(system.label)}</small></th>'
        for who, system in found.systems.items()
    )
    rows = [_metric(found, name) for name in METRICS if name in found.differences]
    seconds = {who: system.seconds for who, system in found.systems.items()}
    characters = {who: system.characters for who, system in found.systems.items()}
    share = "in a batch: its share" + ("; prompted: one by one" if PROMPTED in seconds else "")
    rows.append(_plain(f"Seconds per answer<small>{share}</small>", seconds, 3))
    rows.append(_plain("Characters", characters, 0))
    return (
        '<h2>Figures</h2><div class="wide"><table><thead><tr><th></th>'
        f"{head}<th>Tuned is ahead</th>"
        '<th><span class="scale"><span>0</span><span>100</span></span></th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _metric(found: Evaluation, name: str) -> str:
    """One metric of all systems, the difference, and a drawing of the intervals."""
    values = {who: system.metrics[name] for who, system in found.systems.items()}
    ahead = found.differences[name]
    tone = "good" if ahead.low > 0 else "bad" if ahead.high < 0 else ""
    cells = "".join(
        f"<td>{_figure(each, name)}<small>{_between(each)}</small></td>" for each in values.values()
    )
    label, about = METRICS[name]
    return (
        f'<tr class="{"headline" if name == found.headline else ""}">'
        f"<th>{escape(label)}<small>{escape(about)}</small></th>{cells}"
        f'<td class="{tone}">{signed(ahead.mean)}'
        f"<small>{signed(ahead.low)} to {signed(ahead.high)}</small></td>"
        f'<td class="plot">{_drawing(values)}</td></tr>'
    )


def _plain(label: str, values: Mapping[str, Interval], digits: int) -> str:
    cells = "".join(f"<td>{each.mean:,.{digits}f}</td>" for each in values.values())
    return f"<tr><th>{label}</th>{cells}<td></td><td></td></tr>"


def _drawing(values: Mapping[str, Interval]) -> str:
    """The intervals of one metric above each other, from 0 to 100."""
    height = 12 * len(values) + 8
    lines = [f'<path class="axis" d="M{x} 0V{height}"/>' for x in (10, 60, 110, 160, 210)]
    for place, (who, each) in enumerate(values.items()):
        y = 10 + 12 * place
        low, high, mean = (round(10 + 2 * x, 1) for x in (each.low, each.high, each.mean))
        lines.append(
            f'<g class="{who}"><path class="reach" d="M{low} {y}H{high}"/>'
            f'<circle cx="{mean}" cy="{y}" r="4" stroke="none"/></g>'
        )
    said = ", ".join(f"{NAMES[who]} {points(each.mean)}" for who, each in values.items())
    return (
        f'<svg viewBox="0 0 220 {height}" height="{height}" role="img" aria-label="{escape(said)}">'
        f"{''.join(lines)}</svg>"
    )


# How it was trained


def _training(found: Evaluation, record: Record, plot: Path) -> str:
    image = ""
    if plot.is_file():
        data = base64.b64encode(plot.read_bytes()).decode()
        image = f'<img alt="Loss by step" src="data:image/png;base64,{data}">'
    facts = "".join(
        f"<dt>{name}</dt><dd>{escape(value)}</dd>"
        for name, value in _facts(found, record).items()
        if value
    )
    return (
        f'<h2>Training</h2><div class="training{"" if image else " plain"}">'
        f'{image}<dl class="facts">{facts}</dl></div>'
    )


def _facts(found: Evaluation, record: Record) -> dict[str, str]:
    """How the run was trained; empty if its record does not say."""
    settings, figures = record.settings, record.figures
    used = {name: part.get("used") for name, part in record.data.items()}
    step = [settings.get(name, 0) for name in ("batch_size", "accumulate", "processes")]
    return {
        "Base": found.systems[BASE].label,
        "Method": record.method,
        "Rank": "" if record.method == "full" else _number(settings.get("rank")),
        "Training rows": _number(used.get("train")),
        "Validation rows": _number(used.get("validation")),
        "Epochs": _number(settings.get("epochs")),
        "Rows per step": _number(math.prod(step)),
        "Steps": _number(figures.get("steps")),
        "Learning rate": _number(settings.get("learning_rate")),
        "Parameters trained": _number(figures.get("trained_parameters")),
        "Loss": _fall(figures.get("loss_first"), figures.get("loss")),
        "Validation loss": _fall(figures.get("eval_loss_first"), figures.get("eval_loss")),
        "Seconds": _number(figures.get("seconds")),
        "Seed": _number(settings.get("seed")),
    }


def _number(value: float | None) -> str:
    return f"{value:,}" if value else ""


def _fall(first: float | None, last: float | None) -> str:
    return "" if first is None or last is None else f"{first:.3g} → {last:.3g}"


# The answers side by side


def _answers(found: Evaluation) -> str:
    if not found.samples:
        return ""
    exact = found.headline == "exact_match"
    outcomes = [_outcome(sample) for sample in found.samples]
    cards = [
        _sample(sample, outcome, found)
        for sample, outcome in zip(found.samples, outcomes, strict=True)
    ]
    return (
        f'<h2>Answers</h2>{_kept(found)}<div class="answers">{_filters(Counter(outcomes), exact)}'
        f"{''.join(cards)}</div>"
    )


def _kept(found: Evaluation) -> str:
    shown = len(found.samples)
    if shown >= found.rows:
        return ""
    return f'<p class="quiet">The first {shown:,} of {_rows(found.rows)}.</p>'


def _filters(counts: Counter[str], exact: bool) -> str:
    """The choice of rows to show; the style sheet hides the others."""
    shown = {"all": ("All", counts.total())}
    if exact:
        shown["missed"] = ("Tuned wrong", counts["lost"] + counts["wrong"])
    for name, labels in OUTCOMES.items():
        shown[name] = (labels[0 if exact else 1], counts[name])
    return "".join(
        f'<input type="radio" name="show" id="show-{name}"{" checked" if name == "all" else ""}>'
        f'<label for="show-{name}">{label}<b>{count}</b></label>'
        for name, (label, count) in shown.items()
    )


def _outcome(sample: Sample) -> str:
    base, tuned = sample.scores[BASE], sample.scores[TUNED]
    if base == tuned:
        return "right" if tuned == 100 else "wrong"
    return "gained" if tuned > base else "lost"


def _sample(sample: Sample, outcome: str, found: Evaluation) -> str:
    exact = found.headline == "exact_match"
    label = OUTCOMES[outcome][0 if exact else 1]
    said = [f'<div><h3>Expected</h3><pre dir="auto">{escape(sample.expected)}</pre></div>']
    for who, answer in sample.answers.items():
        score = sample.scores[who]
        tone = "good" if score == 100 else "bad" if exact else ""
        mark = ("right" if score == 100 else "wrong") if exact else points(score)
        said.append(
            f'<div><h3><span class="key {who}">{NAMES[who]}</span>'
            f'<span class="{tone}">{mark}</span></h3>'
            f'<pre dir="auto">{marked(sample.expected, answer)}</pre></div>'
        )
    return (
        f'<article class="sample {outcome}"><div class="asked"><div>{_question(sample)}</div>'
        f'<span class="pill">{label} · line {sample.line}</span></div>'
        f'<div class="said">{"".join(said)}</div></article>'
    )


def _question(sample: Sample) -> str:
    """The conversation up to the answer, with earlier messages in small print."""
    *before, last = sample.question
    lines = [
        f'<p class="before" dir="auto">{escape(_said(each, role=True))}</p>' for each in before
    ]
    return "".join([*lines, f'<p class="ask" dir="auto">{escape(_said(last))}</p>'])


def _said(message: Mapping[str, Any], role: bool = False) -> str:
    text = str(message.get("content") or "").strip()
    return f"{message.get('role')}: {text}" if role else text


def marked(expected: str, answer: str) -> str:
    """An answer as escaped HTML; differences from the expected answer are marked."""
    if not answer.strip():
        return "<i>no answer</i>"
    wanted, given = (re.findall(r"\s+|\w+|[^\w\s]", text.strip()) for text in (expected, answer))
    matcher = SequenceMatcher(None, wanted, given, autojunk=False)
    if max(len(expected), len(answer)) > COMPARED or matcher.ratio() < ALIKE:
        return escape(answer.strip())
    parts = []
    for kind, _, _, start, end in matcher.get_opcodes():
        text = escape("".join(given[start:end]))
        parts.append(text if kind == "equal" or not text.strip() else f"<mark>{text}</mark>")
    return "".join(parts)


# How values are formatted


def _figure(each: Interval, name: str) -> str:
    return points(each.mean) + (" %" if METRICS[name].about.startswith("%") else "")


def _between(each: Interval) -> str:
    low, high = points(each.low), points(each.high)
    return f"{low} to {high}" if low != high else f"always {low}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _date(created: str) -> str:
    when = datetime.fromisoformat(created)
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"
