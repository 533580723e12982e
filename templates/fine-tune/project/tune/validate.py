"""Checks data files: the problems in and between them, and the figures of each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from tune import tokens
from tune.checks import check
from tune.dataset import Example, Level, Problem, fingerprint, label, read

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
class Figures:
    """The figures of a file. Tokens are Mistral's, with the chat template's control tokens."""

    file: str
    examples: int
    broken: int  # examples with an error, which are in no other figure
    with_system: int
    with_tools: int
    tokens: int
    learned: int  # tokens that are trained on
    lengths: dict[str, int]  # the median, the 95th percentile and the longest, in tokens
    longest_answer: int
    too_long: int  # examples above max_length, which training leaves out


@dataclass(frozen=True)
class Survey:
    """The result for some files: the figures of each, and all problems."""

    files: tuple[Figures, ...]
    findings: tuple[Finding, ...]
    max_length: int

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
    shown: defaultdict[tuple[str, str], list[Problem]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    files: list[_File] = []
    for path in paths:
        files.append(_File(label(path), max_length, files[:]))
        for problem in files[-1].problems(path):
            counts[key := (problem.level, problem.kind)] += 1
            if counts[key] <= show:
                shown[key].append(problem)
    order = sorted(counts, key=lambda key: (key[0], -counts[key], key[1]))
    findings = (
        Finding(kind, level, counts[level, kind], tuple(shown[level, kind]))
        for level, kind in order
    )
    return Survey(tuple(each.figures for each in files), tuple(findings), max_length)


class _File:
    """One file: its questions and answers as hashes, and what is counted."""

    def __init__(self, name: str, max_length: int, before: list[_File]) -> None:
        self.name, self.max_length, self.before = name, max_length, before
        self.known: dict[int, int] = {}  # each question, also within a conversation: its line
        self.asked: dict[int, tuple[int, int]] = {}  # a last question: its line and its answer
        self.answers: Counter[int] = Counter()
        self.sizes: list[tokens.Count] = []
        self.broken = self.with_system = self.with_tools = 0

    def problems(self, path: Path) -> Iterator[Problem]:
        """Read the file; yield the problems of each example, then those of the file."""
        for each in read(path):
            found = [each] if isinstance(each, Problem) else check(each)
            yield from found
            if isinstance(each, Problem) or any(one.level == "error" for one in found):
                self.broken += 1
            else:
                yield from self._add(each)
        yield from self._whole()

    def _add(self, example: Example) -> Iterator[Problem]:
        """Count a valid example, and compare it with those before."""
        questions, answer = example.questions, fingerprint(example.messages[-1:])
        size = tokens.count(example)
        for fault in (*self._leaks(questions[-1]), *self._repeats(questions[-1], answer)):
            yield Problem(self.name, example.line, *fault)
        if size.total > self.max_length:
            text = f"has {size.total:,} tokens; MAX_LENGTH is {self.max_length:,}."
            fix = "shorten it, or raise MAX_LENGTH in .env; longer ones are left out of training."
            yield Problem(self.name, example.line, "too-long", text, fix, "warning")
        self.sizes.append(size)
        self.answers[answer] += 1
        self.with_system += example.messages[0]["role"] == "system"
        self.with_tools += bool(example.tools)
        self.asked.setdefault(questions[-1], (example.line, answer))
        for question in questions:
            self.known.setdefault(question, example.line)

    def _leaks(self, question: int) -> Iterator[Fault]:
        """An answer to a question that was seen in training proves nothing."""
        for file in self.before:
            if line := file.known.get(question):
                text = f"its question, or nearly the same, is also in {file.name}, line {line}."
                fix = "delete one of the two, or join the files and split them again."
                yield "leak", text, fix, "error"

    def _repeats(self, question: int, answer: int) -> Iterator[Fault]:
        line, before = self.asked.get(question, (0, 0))
        if line and answer == before:
            text = f"is the same or nearly the same as line {line}."
            yield "duplicate", text, "keep one of them: a duplicate is learned twice.", "warning"
        elif line:
            text = f"asks the same or nearly the same as line {line}, with a different answer."
            yield "contradiction", text, "keep the right answer.", "warning"

    def _whole(self) -> Iterator[Problem]:
        """Problems of the file as a whole: one answer for everything, too few examples."""
        count, most = len(self.sizes), max(self.answers.values(), default=0)
        if count >= FEW_HELD_BACK and most >= SAME * count:
            text = f"{most / count:.0%} of its answers are the same: a model learns only that one."
            yield Problem(self.name, 0, "alike", text, "add other answers.", "warning")
        held_back = any(word in Path(self.name).stem for word in ("test", "valid", "eval", "dev"))
        enough = FEW_HELD_BACK if held_back else FEW
        if count < enough and (count or not self.broken):  # else the errors say it
            does = "prove" if held_back else "teach"
            text = f"has {count} valid examples; fewer than {enough} {does} very little."
            level: Level = "warning" if count else "error"
            yield Problem(self.name, 0, "few", text, "add examples.", level)

    @property
    def figures(self) -> Figures:
        totals = sorted(size.total for size in self.sizes) or [0]
        learned = [size.learned for size in self.sizes] or [0]
        shares = {"50%": 0.5, "95%": 0.95, "max": 1}
        return Figures(
            file=self.name,
            examples=len(self.sizes),
            broken=self.broken,
            with_system=self.with_system,
            with_tools=self.with_tools,
            tokens=sum(totals),
            learned=sum(learned),
            lengths={name: totals[ceil(len(totals) * each) - 1] for name, each in shares.items()},
            longest_answer=max(learned),
            too_long=sum(total > self.max_length for total in totals),
        )
