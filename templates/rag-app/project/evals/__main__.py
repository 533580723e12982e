"""Measures the app on evals/questions.jsonl: `uv run python -m evals`."""

import json
import math
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from rag import pipeline, prompts
from rag.__main__ import run_ingest
from rag.text import stems

FOLDER = Path(__file__).parent
DEPTH = 10  # hits that MRR and hit@k consider

# US dollars for a million tokens in and out, as of November 2026. Add your model here.
PRICES = {
    "mistral-small-latest": (0.15, 0.60),
    "mistral-medium-latest": (1.50, 7.50),
    "mistral-large-latest": (0.50, 1.50),
    "ministral-3b-2512": (0.10, 0.10),
    "ministral-8b-2512": (0.15, 0.15),
    "ministral-14b-2512": (0.20, 0.20),
}


@dataclass(frozen=True)
class Question:
    """A line of questions.jsonl; an empty `source`: the documents do not contain the answer."""

    question: str
    answer: str
    source: str


@dataclass(frozen=True)
class Outcome:
    """The result of a question; `rank`: of the right document in retrieval, 0 if missing."""

    question: str
    known: bool  # the documents contain the answer
    rank: int
    f1: float  # of the words of the answer
    cites: bool  # at least one source
    cites_right: bool  # the right document
    seconds: float
    tokens: int
    cost: float | None  # None: the model has no price in PRICES
    model: str


def load(path: Path) -> list[Question]:
    """Read the questions of a JSONL file; exit with the line number of an invalid line."""
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            if line.strip():
                questions.append(Question(**json.loads(line)))
        except (ValueError, TypeError):
            sys.exit(f'{path.name}, line {number}: needs "question", "answer" and "source".')
    return questions


def measure(asked: Question) -> Outcome:
    """Search for and answer a question, and compare the result with the expected one."""
    sources = [found.chunk.source for found in pipeline.retrieve(asked.question, DEPTH)]
    answer = pipeline.answer(asked.question)
    said = re.sub(r"\[\d+\]", "", answer.text.removeprefix(prompts.OFFLINE_INTRO))
    used = (answer.tokens_in, answer.tokens_out)
    prices = PRICES.get(answer.model)
    return Outcome(
        question=asked.question,
        known=bool(asked.source),
        rank=sources.index(asked.source) + 1 if asked.source in sources else 0,
        f1=f1(asked.answer, said),
        cites=bool(answer.citations),
        cites_right=asked.source in {c.chunk.source for c in answer.citations},
        seconds=answer.seconds,
        tokens=sum(used),
        cost=(used[0] * prices[0] + used[1] * prices[1]) / 1e6 if prices else None,
        model=answer.model,
    )


def f1(wanted: str, given: str) -> float:
    """How many of the words, by their stems, two texts share, 0 to 1 (as in SQuAD)."""
    one, other = Counter(stems(wanted)), Counter(stems(given))
    return 2 * (one & other).total() / ((one + other).total() or 1)


def summarize(outcomes: list[Outcome]) -> dict[str, float]:
    """The rows of the table: means over the questions that have an answer, unless named."""
    known = [each for each in outcomes if each.known]
    seconds = sorted(each.seconds for each in outcomes)
    rows = {
        "hit@1": _mean(each.rank == 1 for each in known),
        "hit@5": _mean(1 <= each.rank <= 5 for each in known),
        "MRR": _mean(1 / each.rank if each.rank else 0 for each in known),
        "answer F1": _mean(each.f1 for each in known),
        "cites a source": _mean(each.cites for each in known),
        "cites the right document": _mean(each.cites_right for each in known),
        "admits not knowing": _mean(not each.cites for each in outcomes if not each.known),
        "seconds p50": statistics.median(seconds),
        "seconds p95": seconds[math.ceil(0.95 * len(seconds)) - 1],
    }
    costs = [each.cost for each in outcomes if each.tokens]
    if costs:
        rows["chat tokens in all"] = sum(each.tokens for each in outcomes)
        if None not in costs:  # a missing price is not 0
            rows["US$ for chat in all"] = sum(cost or 0 for cost in costs)
    return {name: round(value, 4) for name, value in rows.items()}


def _mean(values: Iterable[float]) -> float:
    collected = list(values)
    return statistics.fmean(collected) if collected else 0.0


def main(folder: Path = FOLDER) -> None:
    """Run all questions, print the table with changes since the last report, write the report."""
    file, report_file = folder / "questions.jsonl", folder / "report.json"
    questions = load(file) if file.is_file() else []
    if not questions:
        sys.exit(f"{file} contains no questions.")
    run_ingest()
    outcomes = [measure(q) for q in track(questions, "Asking", transient=True)]
    rows = summarize(outcomes)
    models = sorted({outcome.model for outcome in outcomes})
    last = json.loads(report_file.read_text(encoding="utf-8")) if report_file.is_file() else {}
    show(rows, last.get("summary", {}), f"{len(questions)} questions, {', '.join(models)}")
    report = {"models": models, "summary": rows, "questions": [asdict(each) for each in outcomes]}
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    report_file.write_text(text, encoding="utf-8")


def show(rows: dict[str, float], last: dict[str, float], title: str) -> None:
    """Print the table; the column `change` is the difference from the last report."""
    table = Table("", "now", "change", title=title, title_justify="left")
    for name, value in rows.items():
        change = value - last[name] if name in last else 0.0
        table.add_row(name, f"{value:.3f}", f"{change:+.3f}" if change else "")
    Console().print(table)


if __name__ == "__main__":
    main()
