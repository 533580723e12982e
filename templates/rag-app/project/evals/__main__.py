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

    rank: int
    f1: float  # of the words of the answer
    cites: bool  # at least one chunk
    cites_right: bool  # at least one chunk of the right document
    seconds: float
    tokens: int
    cost: float
    model: str


def load(path: Path) -> list[Question]:
    """Read the questions of a JSONL file; exit with the line number of an invalid line."""
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            if line.strip():
                row = json.loads(line)
                questions.append(Question(row["question"], row["answer"], row["source"]))
        except (ValueError, KeyError, TypeError):
            sys.exit(f'{path.name}, line {number}: needs "question", "answer" and "source".')
    return questions


def measure(question: Question) -> Outcome:
    """Search for and answer a question, and compare the result with the expected one."""
    sources = [found.chunk.source for found in pipeline.retrieve(question.question, DEPTH)]
    answer = pipeline.answer(question.question)
    said = re.sub(r"\[\d+\]", "", answer.text.removeprefix(prompts.OFFLINE_INTRO))
    price_in, price_out = PRICES.get(answer.model, (0.0, 0.0))
    return Outcome(
        rank=sources.index(question.source) + 1 if question.source in sources else 0,
        f1=f1(question.answer, said),
        cites=bool(answer.citations),
        cites_right=question.source in {c.chunk.source for c in answer.citations},
        seconds=answer.seconds,
        tokens=answer.tokens_in + answer.tokens_out,
        cost=(answer.tokens_in * price_in + answer.tokens_out * price_out) / 1e6,
        model=answer.model,
    )


def f1(wanted: str, given: str) -> float:
    """How many of the words, by their stems, two texts share, 0 to 1 (as in SQuAD)."""
    one, other = Counter(stems(wanted)), Counter(stems(given))
    return 2 * (one & other).total() / ((one + other).total() or 1)


def summarize(questions: list[Question], outcomes: list[Outcome]) -> dict[str, float]:
    """The rows of the table: means over the questions that have an answer, unless named."""
    known = [o for q, o in zip(questions, outcomes, strict=True) if q.source]
    unknown = [o for q, o in zip(questions, outcomes, strict=True) if not q.source]
    seconds = sorted(o.seconds for o in outcomes)
    rows = {
        "hit@1": _mean(o.rank == 1 for o in known),
        "hit@5": _mean(1 <= o.rank <= 5 for o in known),
        "MRR": _mean(1 / o.rank if o.rank else 0 for o in known),
        "answer F1": _mean(o.f1 for o in known),
        "cites a chunk": _mean(o.cites for o in known),
        "cites the right document": _mean(o.cites_right for o in known),
        "admits not knowing": _mean(not o.cites for o in unknown),
        "seconds p50": statistics.median(seconds),
        "seconds p95": seconds[math.ceil(0.95 * len(seconds)) - 1],
    }
    asked = [o for o in outcomes if o.tokens]
    if asked:
        rows["chat tokens in all"] = sum(o.tokens for o in asked)
    if asked and all(o.model in PRICES for o in asked):  # a missing price is not 0
        rows["US$ for chat in all"] = sum(o.cost for o in asked)
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
    rows = summarize(questions, outcomes)
    models = sorted({outcome.model for outcome in outcomes})
    last = json.loads(report_file.read_text(encoding="utf-8")) if report_file.is_file() else {}
    show(rows, last.get("summary", {}), f"{len(questions)} questions, {', '.join(models)}")
    details = [asdict(q) | asdict(o) for q, o in zip(questions, outcomes, strict=True)]
    report = {"models": models, "summary": rows, "questions": details}
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
