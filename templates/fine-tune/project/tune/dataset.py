"""Reads, converts and splits data files: JSONL, JSON arrays and CSV."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

from tune.conversations import Message, Tool, conversation
from tune.errors import TuneError
from tune.formats import BadExample, lines

Level = Literal["error", "warning"]

# Signs that do not count when texts are compared; not those that change the meaning: + - * / = %
_SIGNS = re.compile(r"""[\s.,;:!?"'()\[\]{}“”„‘’«»–—…¿¡]+""")


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation that ends with the answer to learn, with its file and line."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    unused: tuple[str, ...] = ()  # its columns that are in neither
    file: str = ""
    line: int = 0

    @property
    def question(self) -> list[Message]:
        """All messages before the last answer."""
        return list(self.messages[:-1])

    @property
    def answer(self) -> str:
        """The last answer as text; for a tool call, the name and its arguments."""
        return reply(self.messages[-1])

    @property
    def questions(self) -> list[int]:
        """A hash of each question: what is before an answer of the assistant."""
        answers = (n for n, each in enumerate(self.messages) if each["role"] == "assistant")
        return [fingerprint(self.messages[:place]) for place in answers]

    def as_json(self) -> str:
        """The example as a line of chat JSONL."""
        value = {"messages": self.messages} | ({"tools": self.tools} if self.tools else {})
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an example, its file and line, and how to fix it."""

    file: str
    line: int
    kind: str
    text: str
    fix: str
    level: Level = "error"

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""  # 0: the file as a whole
        return f"{self.file}{where}: {self.text}"


def reply(message: Message, calls: str = "", arguments: str = "") -> str:
    """An assistant's message as the model writes it, with the given marks around each call."""
    text = message.get("content") or ""
    for call in message.get("tool_calls") or ():
        text += f"{calls}{call['function']['name']}{arguments}{call['function']['arguments']}"
    return text


def last_words(messages: Sequence[Message]) -> str:
    """The user's last message in a conversation."""
    said = (each.get("content") for each in reversed(messages) if each["role"] == "user")
    return str(next(said, None) or "")


def fingerprint(messages: Iterable[Message]) -> int:
    """A hash of a conversation, the same on every machine, and for texts that differ only in case,
    spaces or punctuation."""
    texts = (reply(each) for each in messages)
    whole = "\0".join(_SIGNS.sub(" ", text.casefold()).strip() or text for text in texts)
    hashed = hashlib.blake2b(whole.encode("utf-8", "replace"), digest_size=8)
    return int.from_bytes(hashed.digest(), "big")


def digest(file: Path) -> str:
    """The SHA-256 of a file, for the record of a run."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def label(path: Path) -> str:
    """A file's path as people read it: relative to the current folder."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def load(path: Path) -> list[Example]:
    """All examples of a file. Raises TuneError for the first one that would spoil the training."""
    from tune import checks  # here: it imports this module

    examples = []
    for each in read(path):
        problems = [each] if isinstance(each, Problem) else checks.check(each)
        if error := next((problem for problem in problems if problem.level == "error"), None):
            again = f"uv run python -m tune check {label(path)}"
            raise TuneError(str(error), f"{error.fix}\n(to see all problems: {again})")
        assert isinstance(each, Example)
        examples.append(each)
    if not examples:
        raise TuneError(f"{label(path)} contains no examples.", "write one conversation per line")
    return examples


def read(path: Path, encoding: str = "utf-8") -> Iterator[Example | Problem]:
    """The examples of a file; one that cannot be read is a Problem, and reading continues."""
    name = label(path)
    for line, value in lines(path, encoding):
        yield to_example(value, name, line)


def to_example(value: object, file: str = "", line: int = 0) -> Example | Problem:
    """Convert a parsed line in any of the supported formats to an example."""
    try:
        if isinstance(value, BadExample):  # the line could not be parsed
            raise value
        return Example(*conversation(value), file, line)
    except BadExample as bad:
        return Problem(file, line, *bad.args)


def unused(columns: Counter[str]) -> list[str]:
    """A sentence for each column that has no use, with the number of its rows."""
    text = '{:,} {} a column "{}", which is not used.'
    found = columns.most_common()
    return [text.format(n, "rows have" if n > 1 else "row has", name) for name, n in found]


def convert(
    source: Path, target: Path, *, encoding: str = "utf-8", overwrite: bool = False
) -> tuple[int, list[Problem], list[str]]:
    """Convert a data file to chat JSONL; return how many examples, the rows left out, and notes.

    Raises TuneError rather than overwrite.
    """
    _keep([target], overwrite)
    found = list(read(source, encoding))
    examples = [each for each in found if isinstance(each, Example)]
    problems = [each for each in found if isinstance(each, Problem)]
    if not examples:
        none = Problem(label(source), 0, "few", "contains no examples.", "write one in each line")
        raise TuneError(str(first := next(iter(problems), none)), first.fix)
    _write(target, examples)
    columns = Counter(name for each in examples for name in each.unused)
    return len(examples), problems, unused(columns)


def split(
    source: Path, parts: dict[Path, float], *, seed: int, overwrite: bool = False
) -> dict[Path, int]:
    """Split the examples of a file into parts, by their shares; return how many each has.

    The same examples and seed give the same parts, in any order. Examples with the same question
    stay in one part, and so does a conversation with its beginning. Raises TuneError rather than
    overwrite, or for an example that would spoil the training.
    """
    others = [part for part in parts if part.resolve() != source.resolve()]
    if len(others) < len(parts) and any(part.exists() for part in others):
        problem = f"{label(source)} cannot be split into itself and parts that exist."
        raise TuneError(problem, f"rename it to {label(source.with_name('all.jsonl'))} first")
    _keep(list(parts), overwrite)
    dealt = _deal(_groups(source), list(parts.values()), seed)
    counts = [len(each) for each in dealt]
    if not all(counts):
        problem = f"{label(source)} has too few examples to split: {counts}."
        raise TuneError(problem, "add examples, or ask for larger shares")
    for part, examples in zip(parts, dealt, strict=True):
        _write(part, examples)
    return dict(zip(parts, counts, strict=True))


def _groups(source: Path) -> dict[int, list[Example]]:
    """The examples by question: the shortest beginning that is the whole question of one."""
    examples = load(source)
    whole = {fingerprint(each.question) for each in examples}
    groups = defaultdict(list)
    for each in examples:
        first = next((one for one in each.questions if one in whole), fingerprint(each.question))
        groups[first].append(each)
    return groups


def _deal(groups: dict[int, list[Example]], shares: list[float], seed: int) -> list[list[Example]]:
    """Assign each group to a part, in an order that depends only on the seed."""
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    ends = [end / sum(shares) * sum(map(len, groups.values())) for end in accumulate(shares)]
    dealt: list[list[Example]] = [[] for _ in shares]
    before = 0
    for key in order:
        part = bisect(ends[:-1], before + len(groups[key]) / 2)
        dealt[part] += groups[key]
        before += len(groups[key])
    return dealt


def _keep(files: Sequence[Path], overwrite: bool) -> None:
    there = ", ".join(label(file) for file in files if file.exists())
    if there and not overwrite:
        raise TuneError(f"{there} exists already.", "choose another name, or add --replace")


def _write(path: Path, examples: Iterable[Example]) -> None:
    """Write a file whole or not at all; half a character (of UTF-16) as its JSON escape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    text = "".join(f"{each.as_json()}\n" for each in examples)
    part.write_bytes(text.encode("utf-8", "backslashreplace"))
    os.replace(part, path)
