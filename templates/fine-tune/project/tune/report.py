"""The results of an evaluation: their file, and their page, which needs no script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tune.dataset import Message, last_words
from tune.errors import TuneError
from tune.metrics import METRICS, Interval, counted, points, signed

BASE, TUNED, PROMPTED = "base", "tuned", "prompted"  # prompted: an API model with examples
NAMES = {BASE: "Base", TUNED: "Tuned", PROMPTED: "Prompted"}
STYLE = Path(__file__).with_name("report.css")
COMPARED = 2000  # characters; differences in longer texts take too long to mark
ALIKE = 0.3  # below, everything would be marked

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
<body class="page">
<header><h1>{title}</h1></header>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class System:
    """One of the compared models, and its scores."""

    label: str
    rows: int
    metrics: dict[str, Interval]  # by their names in tune/metrics.py, 0 to 100
    seconds: Interval  # per answer; in a batch its share
    cut: int = 0  # answers that were cut off at MAX_TOKENS


@dataclass(frozen=True)
class Sample:
    """One example: the question, the expected answer, and the answer of each system."""

    line: int
    question: tuple[Message, ...]
    expected: str
    answers: dict[str, str]
    scores: dict[str, float]  # of the headline metric, 0 to 100


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation. `differences`: how many points the tuned model is ahead of the base."""

    run: str
    created: str  # ISO 8601, UTC
    rows: int
    verdict: str  # "better", "no proof" or "worse"
    headline: str  # the metric that decides
    because: str  # why this one
    why: str  # the verdict in a sentence
    notes: tuple[str, ...]
    systems: dict[str, System]
    differences: dict[str, Interval]
    settings: dict[str, str | int | float] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The evaluation for its file and for `--json`."""
        return asdict(self)


def to_json(evaluation: Evaluation) -> str:
    """The evaluation as text for its file."""
    return json.dumps(evaluation.as_dict(), indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Evaluation:
    """The evaluation in a file. Raises TuneError if it is missing or cannot be read."""
    try:
        return TypeAdapter(Evaluation).validate_json(file.read_bytes())
    except FileNotFoundError:
        problem = f"{file.parent.name} has not been evaluated yet."
    except (OSError, ValueError) as error:
        problem = f"{file} cannot be read: {type(error).__name__}: {error}."
    raise TuneError(problem, f"uv run python -m tune evaluate {file.parent.name}")


def to_html(found: Evaluation) -> str:
    """The evaluation as a page that needs no other file."""
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = escape(f"{found.run}: base against tuned")
    return PAGE.format(policy=policy, title=title, style=style, body=body(found))


def body(found: Evaluation, most: int | None = None) -> str:
    """The verdict, the figures, and the answers of the first `most` examples."""
    when = datetime.fromisoformat(found.created)
    made = f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()
    about = (made, counted(found.rows), str(found.settings.get("test_file", "")))
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    samples = found.samples[:most]
    some = f" <small>the first {len(samples)} of {found.rows:,}</small>"
    return (
        f'<div class="report">{verdict(found)}<ul class="notes">{notes}</ul>'
        f"<h2>Figures</h2>{_figures(found)}"
        f"<h2>Answers{some if len(samples) < found.rows else ''}</h2>"
        f"{''.join(_sample(sample, found) for sample in samples)}"
        f'<p class="quiet">{escape(" · ".join(part for part in about if part))}. '
        "Intervals contain the true value in about 95 of 100 cases: bootstrap over the examples, "
        "paired for the differences. Both models got the same prompts and the same decoding."
        "</p></div>"
    )


def verdict(found: Evaluation) -> str:
    """The headline figure of each system, and what it proves."""
    name = found.headline
    cells = "".join(
        f'<div><dt>{NAMES[who]}</dt><dd class="{who}">{_figure(system.metrics[name], name)}'
        f"<small>{_between(system.metrics[name])}</small></dd></div>"
        for who, system in found.systems.items()
    )
    word, _, why = found.why.partition(": ")
    chosen = f"{METRICS[name].label} decides: {found.because}."
    return (
        f'<section class="verdict {found.verdict.replace(" ", "-")}"><dl>{cells}</dl>'
        f'<div><p class="word">{escape(word)}</p><p class="why">{escape(why[:1].upper())}'
        f'{escape(why[1:])}</p><p class="quiet">{escape(chosen)}</p></div></section>'
    )


# The table of figures


def _figures(found: Evaluation) -> str:
    head = "".join(
        f'<th><span class="key {who}">{NAMES[who]}</span><small>{escape(system.label)}</small></th>'
        for who, system in found.systems.items()
    )
    rows = "".join(_metric(found, name) for name in METRICS if name in found.differences)
    seconds = "".join(f"<td>{each.seconds.mean:,.3f}</td>" for each in found.systems.values())
    return (
        f'<div class="wide"><table><thead><tr><th></th>{head}<th>Tuned is ahead</th>'
        '<th><span class="scale"><span>0</span><span>100</span></span></th></tr></thead>'
        f"<tbody>{rows}<tr><th>Seconds per answer<small>in a batch: its share</small></th>"
        f"{seconds}<td></td><td></td></tr></tbody></table></div>"
    )


def _metric(found: Evaluation, name: str) -> str:
    """One metric of all systems, the difference, and a drawing of the intervals."""
    values = {who: each.metrics[name] for who, each in found.systems.items()}
    ahead = found.differences[name]
    tone = "good" if ahead.low > 0 else "bad" if ahead.high < 0 else ""
    cells = "".join(
        f"<td>{_figure(each, name)}<small>{_between(each)}</small></td>" for each in values.values()
    )
    return (
        f'<tr class="{"headline" if name == found.headline else ""}"><th>'
        f"{escape(METRICS[name].label)}<small>{escape(METRICS[name].about)}</small></th>{cells}"
        f'<td class="{tone}">{signed(ahead.mean)}'
        f"<small>{signed(ahead.low)} to {signed(ahead.high)}</small></td>"
        f'<td class="plot">{_drawing(values)}</td></tr>'
    )


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
    shape = f'viewBox="0 0 220 {height}" height="{height}"'
    return f'<svg {shape} role="img" aria-label="{escape(said)}">{"".join(lines)}</svg>'


# The answers side by side


def _sample(sample: Sample, found: Evaluation) -> str:
    exact = found.headline == "exact_match"
    said = f'<div><h3>Expected</h3><p dir="auto">{escape(sample.expected)}</p></div>'
    marks = ""
    for who, answer in sample.answers.items():
        score = points(sample.scores[who])
        tone, sign, word = ("good", "✓", "right") if score == "100" else ("bad", "✗", "differs")
        sign, word, tone = (sign, word, tone) if exact else (score, score, "")
        marks += f'<b class="{tone}" role="img" aria-label="{who}: {word}">{sign}</b>'
        text = marked(sample.expected, answer)
        said += f'<div><h3 class="key {who}">{NAMES[who]}</h3><p dir="auto">{text}</p></div>'
    question = escape(last_words(sample.question))
    return (
        f'<details class="sample"><summary><span dir="auto">{question}</span>'
        f'<span class="marks">{marks}</span></summary><div class="said">{said}</div></details>'
    )


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


def _figure(each: Interval, name: str) -> str:
    return points(each.mean) + (" %" if METRICS[name].about.startswith("%") else "")


def _between(each: Interval) -> str:
    low, high = points(each.low), points(each.high)
    return f"{low} to {high}" if low != high else f"always {low}"
