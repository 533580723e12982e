"""Checks data files: the figures of each, and the problems in and between them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from tune import same, tokens, validate
from tune.example import Example, Level, Problem
from tune.formats import OnBytes, label, read

FEW, FEW_HELD_BACK = 50, 20  # fewer rows teach little, fewer test rows prove little
SAME = 0.9  # if one answer has this share of the rows, a model learns only that
PERCENTILES = (50, 90, 95, 99, 100)
NO_NUMBER = 0
MIXER = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, as in Fibonacci hashing


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
    rows: int
    broken: int  # rows with an error, which are in no other figure
    turns: float  # questions per row, on average
    with_system: int
    with_tools: int
    tokens: int
    learned: int  # tokens that are trained on
    lengths: dict[str, int]  # percentiles of a row's tokens; "max" is the longest row
    answers: dict[str, int]  # the same for the tokens that are trained on
    too_long: int  # rows above max_length, which training leaves out


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


class Tally:
    """Counts problems by their kind, and keeps the first few of each."""

    def __init__(self, show: int) -> None:
        self.show = show
        self.counts: Counter[tuple[str, str]] = Counter()
        self.shown: dict[tuple[str, str], list[Problem]] = {}

    def add(self, problem: Problem) -> None:
        key = (problem.level, problem.kind)
        self.counts[key] += 1
        if self.counts[key] <= self.show:
            self.shown.setdefault(key, []).append(problem)

    def count(self, problems: Iterator[Problem], many: int) -> None:
        """Create only the problems that are shown, and count all."""
        first = list(islice(problems, self.show))
        for problem in first:
            self.add(problem)
        if first:
            self.counts[first[0].level, first[0].kind] += many - len(first)

    def findings(self) -> tuple[Finding, ...]:
        order = sorted(self.counts, key=lambda key: (key[0], -self.counts[key], key[1]))
        return tuple(
            Finding(kind, level, self.counts[level, kind], tuple(self.shown[level, kind]))
            for level, kind in order
        )


class Columns:
    """A few numbers for each row of a file, which is all that is kept: 36 bytes per row.

    Texts are kept as hashes, which differ in every process.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.question, self.answer, self.but_for_numbers = (array("q") for _ in range(3))
        self.line, self.total, self.learned = (array("I") for _ in range(3))
        self.earlier, self.earlier_line = array("q"), array("I")  # questions before a row's last
        self.broken = self.turns = self.with_system = self.with_tools = 0

    def add(self, row: Example, count: tokens.Count) -> None:
        self.line.append(row.line)
        *question, answer = map(same.plain, row.messages)
        alike = [same.without_numbers(text) for text in question]
        self.question.append(hash(tuple(question)))
        self.answer.append(hash(answer))
        self.but_for_numbers.append(hash((*alike, answer)) if alike != question else NO_NUMBER)
        for place in row.answers[:-1]:
            self.earlier.append(hash(tuple(question[:place])))
            self.earlier_line.append(row.line)
        for column, number in zip((self.total, self.learned), count, strict=True):
            column.append(number)
        roles = [message["role"] for message in row.messages]
        self.turns += roles.count("user")
        self.with_system += roles[0] == "system"
        self.with_tools += bool(row.tools)


def survey(
    paths: Sequence[Path],
    max_length: int,
    *,
    show: int = 5,
    on_bytes: OnBytes | None = None,
) -> Survey:
    """Check files row by row and against each other. Uses little memory for any number of rows."""
    tally = Tally(show)
    columns = [_columns(path, tally, on_bytes) for path in paths]
    for each in columns:
        for found in chain(_repeats(each), _alike(each), _long(each, max_length), _few(each)):
            tally.count(*found)
    for first, second in combinations(columns, 2):
        for found in _leaks(first, second):
            tally.count(*found)
    figures = tuple(_figures(each, max_length) for each in columns)
    return Survey(figures, tally.findings(), max_length)


def _columns(path: Path, tally: Tally, on_bytes: OnBytes | None) -> Columns:
    columns = Columns(label(path))
    for each in read(path, on_bytes=on_bytes):
        problems = [each] if isinstance(each, Problem) else validate.check(each)
        for problem in problems:
            tally.add(problem)
        if isinstance(each, Example) and all(problem.level == "warning" for problem in problems):
            columns.add(each, tokens.count(each))
        else:
            columns.broken += 1
    return columns


def _figures(columns: Columns, max_length: int) -> Figures:
    rows, total = len(columns.line), np.asarray(columns.total)
    return Figures(
        file=columns.file,
        rows=rows,
        broken=columns.broken,
        turns=round(columns.turns / max(rows, 1), 2),
        with_system=columns.with_system,
        with_tools=columns.with_tools,
        tokens=sum(columns.total),
        learned=sum(columns.learned),
        lengths=_percentiles(total),
        answers=_percentiles(np.asarray(columns.learned)),
        too_long=int((total > max_length).sum()),
    )


def _percentiles(numbers: np.ndarray) -> dict[str, int]:
    """Percentiles that are lengths of real rows, not interpolated."""
    if not len(numbers):
        return {}
    found = np.percentile(numbers, PERCENTILES, method="inverted_cdf")
    names = [f"{each}%" for each in PERCENTILES[:-1]]
    return dict(zip([*names, "max"], map(int, found), strict=True))


# Problems between rows

Found = tuple[Iterator[Problem], int]  # the problems, created only as needed; their number


def _earlier(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of repeated keys, and the first position of each."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    again = np.flatnonzero(ranked[1:] == ranked[:-1]) + 1
    later, first = order[again], order[np.searchsorted(ranked, ranked[again])]
    by_place = np.argsort(later)
    return later[by_place], first[by_place]


def _repeats(columns: Columns) -> Iterator[Found]:
    question, answer = (
        np.asarray(each).view(np.uint64) for each in (columns.question, columns.answer)
    )
    whole = question * np.uint64(MIXER) + answer  # wraps around: a hash of both
    later, first = _earlier(whole)
    fix = "keep one of them: a duplicate is learned twice."
    fault = ("duplicate", "is the same or nearly the same as line {}.", fix)
    yield _at_both(columns, fault, later, first), len(later)
    later, first = _earlier(question)
    other = whole[later] != whole[first]
    fix = "keep the right answer."
    text = "asks the same or nearly the same as line {}, with a different answer."
    fault = ("contradiction", text, fix)
    yield _at_both(columns, fault, later[other], first[other]), int(other.sum())


def _at_both(
    columns: Columns, fault: validate.Fault, later: np.ndarray, first: np.ndarray
) -> Iterator[Problem]:
    kind, text, fix = fault
    for at, before in zip(later, first, strict=True):
        problem = text.format(columns.line[before])
        yield Problem(columns.file, columns.line[at], kind, problem, fix, "warning")


def _leaks(first: Columns, second: Columns) -> Iterator[Found]:
    """Questions that are in both files: an answer to a row seen in training proves nothing."""
    known = np.concatenate([np.asarray(first.question), np.asarray(first.earlier)])
    lines = np.concatenate([np.asarray(first.line), np.asarray(first.earlier_line)])
    leaked = np.isin(second.question, known)
    near = np.isin(second.but_for_numbers, first.but_for_numbers) & ~leaked
    near &= np.asarray(second.but_for_numbers) != NO_NUMBER

    def leaks() -> Iterator[Problem]:
        fix = "delete one of the two, or join the files and split them again."
        for at in np.flatnonzero(leaked):
            line = lines[np.argmax(known == second.question[at])]
            text = f"its question, or nearly the same, is also in {first.file}, line {line}."
            yield Problem(second.file, second.line[at], "leak", text, fix)

    def near_leaks() -> Iterator[Problem]:
        fix = "use a different question, unless the numbers are what matters."
        for at in np.flatnonzero(near):
            line = first.line[first.but_for_numbers.index(second.but_for_numbers[at])]
            text = f"is {first.file}, line {line}, with different numbers and the same answer."
            yield Problem(second.file, second.line[at], "near-leak", text, fix, "warning")

    yield leaks(), int(leaked.sum())
    yield near_leaks(), int(near.sum())


def _alike(columns: Columns) -> Iterator[Found]:
    rows = len(columns.line)
    if rows < FEW_HELD_BACK:
        return
    _, first, counts = np.unique(np.asarray(columns.answer), return_index=True, return_counts=True)
    top = int(np.argmax(counts))
    if (share := counts[top] / rows) >= SAME:
        text = f"{share:.0%} of the rows have its answer: a model learns to give only that."
        fix = "add rows with different answers."
        line = columns.line[int(first[top])]
        yield iter([Problem(columns.file, line, "alike", text, fix, "warning")]), 1


def _long(columns: Columns, max_length: int) -> Iterator[Found]:
    places = np.flatnonzero(np.asarray(columns.total) > max_length)
    fix = "shorten it, or raise MAX_LENGTH in .env; longer rows are left out of training."

    def problems() -> Iterator[Problem]:
        for at in places:
            text = f"has {columns.total[at]:,} tokens; MAX_LENGTH is {max_length:,}."
            yield Problem(columns.file, columns.line[at], "too-long", text, fix, "warning")

    yield problems(), len(places)


def _few(columns: Columns) -> Iterator[Found]:
    rows, name = len(columns.line), Path(columns.file).stem.lower()
    held_back = any(word in name for word in ("test", "valid", "eval", "dev"))
    enough = FEW_HELD_BACK if held_back else FEW
    if rows >= enough or (columns.broken and not rows):  # the errors are reported already
        return
    text = f"has {rows} valid rows; fewer than {enough} "
    text += "prove very little." if held_back else "teach very little."
    level: Level = "warning" if rows else "error"
    yield iter([Problem(columns.file, 0, "few", text, "add rows.", level)]), 1
