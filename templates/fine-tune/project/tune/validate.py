"""Checks data files: the problems in and between them, their figures, and what is held out."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune import prompts, tokens
from tune.checks import check
from tune.dataset import Example, Level, Problem, digest, fingerprint, label, load, read, unused
from tune.errors import TuneError
from tune.runs import Run
from tune.settings import ROOT, Settings, named

FEW, FEW_HELD_BACK = 50, 20  # fewer examples teach little, fewer test examples prove little
SAME = 0.9  # if one answer has this share of the examples, a model learns only that
Fault = tuple[str, str, str, Level]  # the kind, the problem, the fix, the level


@dataclass(frozen=True)
class Finding:
    """One kind of problem: its count and the first few."""

    kind: str
    level: str
    count: int
    shown: tuple[Problem, ...]


@dataclass(frozen=True)
class Survey:
    """The result for some files: the figures of each by its name, and all problems."""

    files: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        return sum(each.count for each in self.findings if each.level == "error")

    @property
    def warnings(self) -> int:
        return sum(each.count for each in self.findings if each.level == "warning")

    def as_dict(self) -> dict[str, Any]:
        """The survey as a dictionary, for JSON."""
        return {"errors": self.errors, "warnings": self.warnings, **asdict(self)}


def survey(paths: Sequence[Path], max_length: int, *, show: int = 5) -> Survey:
    """Check files example by example and against each other; keep `show` problems of a kind."""
    found: defaultdict[tuple[str, str], list[Problem]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    files: list[_File] = []
    for path in paths:
        files.append(_File(label(path), max_length, files[:]))
        for problem in files[-1].problems(path):
            counts[key := (problem.level, problem.kind)] += 1
            if counts[key] <= show:
                found[key].append(problem)
    order = sorted(counts, key=lambda key: (key[0], -counts[key], key[1]))
    findings = (Finding(key[1], key[0], counts[key], tuple(found[key])) for key in order)
    return Survey({each.name: each.figures for each in files}, tuple(findings))


class _File:
    """One file: its questions and answers as hashes, and what is counted."""

    def __init__(self, name: str, max_length: int, before: list[_File]) -> None:
        self.name, self.max_length, self.before = name, max_length, before
        self.known: dict[int, int] = {}  # each question, also within a conversation: its line
        self.asked: dict[int, tuple[int, int]] = {}  # a last question: its line and its answer
        self.answers: Counter[int] = Counter()
        self.sizes: list[tokens.Count] = []
        self.unused: Counter[str] = Counter()  # columns, with the number of their rows
        self.broken = self.with_tools = 0

    def problems(self, path: Path) -> Iterator[Problem]:
        """Read the file; yield the problems of each example, then those of the file."""
        for each in read(path):
            found = [each] if isinstance(each, Problem) else check(each)
            yield from found
            self.unused.update(each.unused if isinstance(each, Example) else ())
            if isinstance(each, Problem) or any(one.level == "error" for one in found):
                self.broken += 1
                continue
            for fault in self._compared(each):
                yield Problem(self.name, each.line, *fault)
        for fault in self._whole():
            yield Problem(self.name, 0, *fault)

    @property
    def figures(self) -> dict[str, int]:
        """Counts of examples and of Mistral's tokens, control tokens included."""
        totals = sorted(size.total for size in self.sizes) or [0]
        learned = [size.learned for size in self.sizes] or [0]
        return {
            "examples": len(self.sizes),
            "with_errors": self.broken,
            "with_tools": self.with_tools,
            "tokens": sum(totals),
            "tokens_trained_on": sum(learned),
            "median_length": totals[len(totals) // 2],
            "longest_example": totals[-1],
            "longest_answer": max(learned),
            "too_long": sum(size > self.max_length for size in totals),
        }

    def _compared(self, example: Example) -> Iterator[Fault]:
        """Count a valid example, and compare it with those before."""
        questions, answer = example.questions, fingerprint(example.messages[-1:])
        size = tokens.count(example)
        yield from self._repeats(questions[-1], answer)
        if size.total > self.max_length:
            text = f"has {size.total:,} tokens; MAX_LENGTH is {self.max_length:,}."
            fix = "shorten it, or raise MAX_LENGTH in .env; longer ones are left out of training."
            yield "too-long", text, fix, "warning"
        self.sizes.append(size)
        self.answers[answer] += 1
        self.with_tools += bool(example.tools)
        self.asked.setdefault(questions[-1], (example.line, answer))
        for question in questions:
            self.known.setdefault(question, example.line)

    def _repeats(self, question: int, answer: int) -> Iterator[Fault]:
        for file in self.before:  # answering what was seen in training proves nothing
            if line := file.known.get(question):
                text = f"its question, or nearly the same, is also in {file.name}, line {line}."
                fix = "delete one of the two, or join the files and split them again."
                yield "leak", text, fix, "error"
        line, before = self.asked.get(question, (0, 0))
        if line and answer == before:
            text = f"is the same or nearly the same as line {line}."
            yield "duplicate", text, "keep one of them: a duplicate is learned twice.", "warning"
        elif line:
            text = f"asks the same or nearly the same as line {line}, with a different answer."
            yield "contradiction", text, "keep the right answer.", "warning"

    def _whole(self) -> Iterator[Fault]:
        """Problems of the file as a whole: columns, one answer for everything, few examples."""
        if self.unused:
            fix = "delete it, or write it into the question or the answer if it belongs there."
            yield "unused", " ".join(unused(self.unused)), fix, "warning"
        count, most = len(self.sizes), max(self.answers.values(), default=0)
        if count >= FEW_HELD_BACK and most >= SAME * count:
            text = f"{most / count:.0%} of its answers are the same: a model learns only that one."
            yield "alike", text, "add other answers.", "warning"
        held_back = any(word in Path(self.name).stem for word in ("test", "valid", "eval", "dev"))
        enough = FEW_HELD_BACK if held_back else FEW
        if count < enough and (count or not self.broken):  # else the errors say it
            does = "prove" if held_back else "teach"
            text = f"has {count} valid examples; fewer than {enough} {does} very little."
            yield "few", text, "add examples.", "warning" if count else "error"


# The test examples that were in no training


def held_out(run: Run, settings: Settings, rows: int = 0) -> tuple[list[Example], list[str]]:
    """The test examples to ask, a random sample of `rows` (0: all), and notes.

    Raises TuneError if all were in training.
    """
    files, every, name = _trained_on(run, settings), load(settings.test), named(settings.test)
    known = {question for file in files for row in load(file) for question in row.questions}
    fresh = [row for row in every if row.questions[-1] not in known]
    if not fresh:
        problem = f"All of {name} was in training: it can prove nothing."
        raise TuneError(problem, "uv run python -m tune split --help")
    notes = []
    if seen := [str(row.line) for row in every if row.questions[-1] in known]:
        lines = ", ".join(seen[:5])
        notes.append(f"In training, so left out: {len(seen):,} of {name} (line {lines}).")
    about = run.record.data.get("train", {})
    if about.get("sha256") not in [digest(file) for file in files]:
        file = about.get("file", named(settings.train))
        notes.append(f"{file} has changed since training: some questions may be known.")
    if run.record.settings.get("system", prompts.SYSTEM) != prompts.SYSTEM:
        notes.append("SYSTEM in tune/prompts.py has changed since training: train again.")
    some = random.Random(settings.seed).sample(range(len(fresh)), min(rows, len(fresh)))
    return [fresh[index] for index in sorted(some)] or fresh, notes


def _trained_on(run: Run, settings: Settings) -> list[Path]:
    """The training and validation files: those that the run names, and those of `.env`."""
    named = [ROOT / about["file"] for about in run.record.data.values() if "file" in about]
    files = dict.fromkeys((*named, settings.train, settings.validation))
    return [file for file in files if file.is_file()]
