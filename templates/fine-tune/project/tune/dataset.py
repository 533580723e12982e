"""Reads, converts and splits data files: JSONL, JSON arrays and CSV, in any encoding."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TextIO
from unicodedata import normalize

import numpy as np

from tune.errors import TuneError
from tune.formats import DECODER, TOO_DEEP, BadExample, Message, conversation

Level = Literal["error", "warning"]
OnBytes = Callable[[int], None]  # progress callback: bytes read since the last call
OTHER_FILES = {
    ".xlsx": "save the sheet as CSV (UTF-8)",
    ".xls": "save the sheet as CSV (UTF-8)",
    ".parquet": "with pandas: read_parquet(…).to_json(…, orient='records', lines=True)",
    ".gz": "unpack it first: gzip -d {0}",
    ".zip": "unpack it first: python -m zipfile -e {0} .",
}


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation that ends with the answer to learn, with its file and line."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
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
    def answers(self) -> tuple[int, ...]:
        """The positions of the assistant's messages."""
        return tuple(n for n, each in enumerate(self.messages) if each["role"] == "assistant")

    def as_json(self) -> str:
        """The row as a line of chat JSONL."""
        value: dict[str, Any] = {"messages": list(self.messages)}
        if self.tools:
            value["tools"] = list(self.tools)
        return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a row, its file and line, and how to fix it."""

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


def label(path: Path) -> str:
    """A file's path as people read it: relative to the current folder."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def read(
    path: Path, encoding: str = "utf-8", on_bytes: OnBytes | None = None
) -> Iterator[Example | Problem]:
    """Read a file row by row: chat, ShareGPT, Alpaca or prompt and completion, as JSONL, a JSON
    array or CSV. A row that cannot be read is yielded as a Problem, and reading continues. Raises
    TuneError for any other file."""
    _refuse_others(path)
    name = label(path)
    with path.open("rb") as file:
        head = file.read(4096)
    if encoding == "utf-8" and (wrong := _utf_16(head)):
        yield _encoding(name, 1, wrong, head.decode(wrong, "ignore"))
        return
    with _open(path, encoding) as text:
        try:
            yield from _rows(text, name, on_bytes)
        except UnicodeError:
            raise TuneError(f"{name} is not valid {encoding}.", "--encoding cp1252") from None


def _open(path: Path, encoding: str) -> TextIO:
    """Open for reading; bytes that are invalid in this encoding are kept, to be shown."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    try:
        return path.open(encoding=codec, errors="surrogateescape", newline="")
    except LookupError:
        fix = "--encoding cp1252 (or utf-16, gb18030, …)"
        raise TuneError(f'Unknown encoding "{encoding}".', fix) from None


def _refuse_others(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        near = get_close_matches(path.name, [each.name for each in path.parent.glob("*.*")], 1)
        fix = f"did you mean {near[0]}?" if near else "name a data file: JSONL, JSON or CSV"
        raise TuneError(f"{label(path)} {what}.", fix)
    if advice := OTHER_FILES.get(path.suffix.lower()):
        problem = f"{label(path)} is not a JSONL, JSON or CSV file."
        raise TuneError(problem, advice.format(path.as_posix()))


# Lines


def _rows(text: TextIO, name: str, on_bytes: OnBytes | None) -> Iterator[Example | Problem]:
    lines = _lines(text, on_bytes)
    if Path(name).suffix.lower() in {".csv", ".tsv"}:
        yield from _from_csv(lines, name)
        return
    first = next((line for line in lines if line[1].strip()), (1, ""))
    lines = chain([first], lines)
    if first[1].lstrip().startswith("[") or first[1].strip() == "{":
        yield from _from_values(lines, name)
        return
    for number, line in lines:
        if line and not line.isspace():
            yield _from_line(line, name, number)


def _lines(text: TextIO, on_bytes: OnBytes | None) -> Iterator[tuple[int, str]]:
    at = 0
    for number, line in enumerate(text, 1):
        yield number, line
        if on_bytes and not number % 1000:
            seen = text.buffer.tell()
            on_bytes(seen - at)
            at = seen


def _from_line(line: str, name: str, number: int) -> Example | Problem:
    if problem := _bad_bytes(line, name, number):
        return problem
    try:
        value = DECODER.decode(line.rstrip())
    except (ValueError, RecursionError) as error:
        return _not_json(line, error, name, number)
    return to_example(value, name, number)


def _from_values(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Example | Problem]:
    """Read a JSON array, or rows that span lines. The text is in memory, the rows are not."""
    lines = list(lines)
    problems = (_bad_bytes(part, name, number) for number, part in lines)
    if problem := next(filter(None, problems), None):
        yield problem
        return
    text, first = "".join(part for _, part in lines).rstrip(), lines[0][0]
    at = text.index("[") + 1 if (is_array := text.lstrip().startswith("[")) else 0
    line, seen = first, 0
    while (at := _after_gap(text, at)) < len(text) and not (is_array and text[at] == "]"):
        line, seen = line + text.count("\n", seen, at), at
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if isinstance(error, json.JSONDecodeError):
                line = first + error.lineno - 1
            problem = _not_json(text[at:], error, name, line)
            yield replace(problem, text=f"{problem.text} The rest was not read.")
            return
        yield to_example(value, name, line)
    if is_array and text[at:] != "]":
        line += text.count("\n", seen, at)
        fix = "end it with ] and nothing after it, or write one row per line."
        yield Problem(name, line, "json", "the array is not closed, or text follows it.", fix)


def _from_csv(lines: Iterator[tuple[int, str]], name: str) -> Iterator[Example | Problem]:
    number, head = next(lines, (1, ""))
    columns: list[str] = []
    row: Example | Problem | None
    for line, fields in _records(chain([head], (text for _, text in lines)), head, name):
        if not columns and isinstance(fields, list):
            columns = [column.strip().casefold() for column in fields]
            row = _twice(columns, name, line)
        else:
            row = (
                fields if isinstance(fields, Problem) else _from_fields(columns, fields, name, line)
            )
        if isinstance(row, Problem) and (not columns or row.kind == "columns"):
            yield replace(row, line=number)  # a problem of all rows is reported once
            return
        if row:
            yield row


def _twice(columns: list[str], name: str, line: int) -> Problem | None:
    twice = next((each for each in columns if each and columns.count(each) > 1), "")
    fix = "rename one of them, or delete it."
    return Problem(name, line, "columns", f'has two columns "{twice}".', fix) if twice else None


def _from_fields(columns: list[str], fields: list[str], name: str, line: int) -> Example | Problem:
    if len(fields) == len(columns):
        return to_example(dict(zip(columns, fields, strict=True)), name, line)
    text = f"has {len(fields)} fields, the first line has {len(columns)}."
    fix = "put texts that contain the separator in double quotes."
    return Problem(name, line, "csv", text, fix)


def _records(
    lines: Iterable[str], head: str, name: str
) -> Iterator[tuple[int, list[str] | Problem]]:
    """The records of a CSV with their first line; the header shows which separator is used."""
    csv.field_size_limit(2**31 - 1)  # a field may be longer than 128 KB
    unquoted = re.sub('"[^"]*"', "", head)
    reader = csv.reader(lines, delimiter=max(",;\t|", key=unquoted.count), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            if fields := next(reader):
                yield line, _bad_bytes(" ".join(fields), name, line) or fields
        except StopIteration:
            return
        except csv.Error as error:
            fix = 'put each text in double quotes, and double the quotes inside it: ""'
            yield line, Problem(name, line, "csv", f"cannot be read: {error}.", fix)


# What cannot be read

_GAP = re.compile(r"[\s,]*")
_ESCAPED = re.compile("[\udc80-\udcff]")  # how a byte that is not UTF-8 is kept


def _after_gap(text: str, at: int) -> int:
    found = _GAP.match(text, at)
    return found.end() if found else at


def _not_json(line: str, error: Exception, name: str, number: int) -> Problem:
    if isinstance(error, RecursionError):
        return Problem(name, number, "json", *TOO_DEEP)
    if not isinstance(error, json.JSONDecodeError):  # valid in Python only
        fix = "write null or a text instead; pandas writes NaN for empty cells: use dropna()."
        return Problem(
            name, number, "json", "contains NaN, Infinity or a number with too many digits.", fix
        )
    text = f"is not JSON: {error.msg} (column {error.colno})."
    start, end = line.strip()[:2], line.rstrip()[-1:]
    if start == "{'":
        fix = "use double quotes; Python's json.dumps(row) writes them."
    elif error.msg == "Extra data":
        fix = "write one row per line, without a comma at its end."
    elif line.strip() == "{":
        fix = "write each row on one line: json.dumps(row) without indent."
    elif start[:1] not in {"{", "["}:
        fix = "start each row with {, or name a file with columns .csv or .tsv."
    elif end not in "}]":
        fix = "the line is cut off: complete it, or delete it."
    else:
        fix = "write the line with json.dumps(row, ensure_ascii=False)."
    return Problem(name, number, "json", text, fix)


def _utf_16(head: bytes) -> str:
    """The UTF-16 or UTF-32 codec that a file's first bytes show, or an empty string."""
    marks = {b"\xff\xfe\0\0": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
    for mark, name in marks.items():
        if head.startswith(mark):
            return name
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) > len(head) // 4 else ""


def _bad_bytes(line: str, name: str, number: int) -> Problem | None:
    if line.isascii() or not (bad := _ESCAPED.search(line)):
        return None
    around = line[max(0, bad.start() - 12) : bad.start() + 13]
    raw = around.encode("utf-8", "surrogateescape")
    try:
        return _encoding(name, number, "cp1252", raw.decode("cp1252"))
    except UnicodeDecodeError:
        return _encoding(name, number, "", "")


def _encoding(name: str, number: int, codec: str, sample: str) -> Problem:
    seen = " ".join(sample.split())[:30]
    text = f'is not UTF-8; as {codec} it reads "{seen}".'
    if not codec:
        text = "is neither UTF-8 nor cp1252."
    target = Path(name).with_suffix(".utf8.jsonl").as_posix()
    files = " ".join(f'"{each}"' if " " in each else each for each in (name, target))
    codec = codec or "… (gb18030, cp1251, …)"
    fix = f"uv run python -m tune convert {files} --encoding {codec}"
    return Problem(name, number, "encoding", text, fix)


def to_example(value: object, file: str = "", line: int = 0) -> Example | Problem:
    """Convert a parsed line in any of the supported formats to a row."""
    try:
        messages, tools = conversation(value)
    except BadExample as bad:
        return Problem(file, line, *bad.args)
    except RecursionError:
        return Problem(file, line, "shape", *TOO_DEEP)
    return Example(messages, tools, file, line)


# Signs that do not count; not those that change the meaning: + - * / = < > % # $
TOOL_ID = re.compile(r"[A-Za-z0-9]{9}")
_SIGNS = b'.,;:!?"()[]{}'
_PLAIN = bytes.maketrans(_SIGNS, b" " * len(_SIGNS)).lower()  # fast: used for every row
_OTHER_SIGNS = re.compile("[“”„«»‹›–—¿¡。、「」『』·•]")
_UNSEEN = re.compile("[’‘´\u00ad\u200b\u200c\u200d\ufeff]")  # “don’t” is “dont”; soft hyphens


def plain(message: Message) -> bytes:
    """A message's text in the form that is compared. Text of signs alone stays as it is."""
    text = reply(message)
    if not text.isascii():
        text = _OTHER_SIGNS.sub(" ", _UNSEEN.sub("", normalize("NFKC", text).casefold()))
    whole = text.encode("utf-8", "replace")
    return b" ".join(whole.translate(_PLAIN, b"'").split()) or whole


def fingerprint(messages: Iterable[Message], key: bytes = b"") -> int:
    """A hash of a conversation: equal for two that say the same, or nearly.

    It is the same on every machine.
    """
    whole = b"\0".join(map(plain, messages))
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8, key=key).digest(), "big")


def without_numbers(text: bytes) -> bytes:
    """A plain text without its digits and spaces; unchanged if it has no digits."""
    rest = text.translate(None, b"0123456789")
    return text if len(rest) == len(text) else rest.replace(b" ", b"")


def load(path: Path) -> list[Example]:
    """All rows of a file. Raises TuneError for the first one that would spoil the training."""
    from tune import validate  # here: it imports this module

    rows: list[Example] = []
    for each in read(path):
        problems = [each] if isinstance(each, Problem) else validate.check(each)
        if error := next((problem for problem in problems if problem.level == "error"), None):
            again = f"uv run python -m tune check {label(path)}"
            raise TuneError(str(error), f"{error.fix}\n(to see all problems: {again})")
        assert isinstance(each, Example)
        rows.append(each)
    if not rows:
        raise TuneError(f"{label(path)} contains no rows.", "write one conversation per line")
    return rows


def digest(file: Path) -> str:
    """The SHA-256 of a file, for the record of a run."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


# Writing files


def convert(
    source: Path, target: Path, *, encoding: str = "utf-8", overwrite: bool = False
) -> tuple[int, list[Problem]]:
    """Convert a data file to chat JSONL; return how many rows, and what was left out.

    Tool call ids that Mistral rejects are replaced. Raises TuneError rather than overwrite.
    """
    problems: list[Problem] = []
    rows = 0
    with _Files([target], overwrite=overwrite) as files:
        for each in read(source, encoding):
            if isinstance(each, Problem):
                problems.append(each)
                continue
            files.write(0, _with_right_ids(each))
            rows += 1
        if not rows:
            first = problems[0] if problems else None
            problem = str(first) if first else f"{label(source)} contains no rows."
            raise TuneError(problem, first.fix if first else "write one conversation per line")
    return rows, problems


def split(
    source: Path, parts: dict[Path, float], *, seed: int, overwrite: bool = False
) -> dict[Path, int]:
    """Split the rows of a file into parts, by their shares; return the rows of each.

    The same rows and seed give the same parts, in any order of the rows. Rows with the same
    question stay in one part, and so does a conversation with its beginning. Raises TuneError
    rather than overwrite, or for a row that cannot be read.
    """
    others = [part for part in parts if part.resolve() != source.resolve()]
    if len(others) < len(parts) and any(part.exists() for part in others):
        problem = f"{label(source)} cannot be split into itself and parts that exist."
        raise TuneError(problem, f"rename it to {label(source.with_name('all.jsonl'))} first")
    asked = np.unique(array("Q", (fingerprint(row.question) for row in _good(source))))
    keys = np.asarray(array("Q", (_key(row, asked, seed) for row in _good(source))))
    part_of = _deal(keys, list(parts.values()))
    rows = [0] * len(parts)
    with _Files(list(parts), overwrite=overwrite) as files:
        for row in _good(source):
            part = part_of(_key(row, asked, seed))
            files.write(part, row)
            rows[part] += 1
        if not all(rows):
            problem = f"{label(source)} has too few rows to split: {rows}."
            raise TuneError(problem, "add rows, or ask for larger shares")
    return dict(zip(parts, rows, strict=True))


def _good(source: Path) -> Iterator[Example]:
    for each in read(source):
        if isinstance(each, Problem):
            raise TuneError(str(each), each.fix)
        yield each


def _key(row: Example, asked: np.ndarray, seed: int) -> int:
    """Hash the shortest beginning of a conversation that is the whole question of some row."""
    starts = (row.messages[:place] for place in row.answers)
    first = next((each for each in starts if _holds(asked, fingerprint(each))), row.question)
    return fingerprint(first, key=str(seed).encode())


def _holds(ranked: np.ndarray, number: int) -> bool:
    return bool(ranked[np.searchsorted(ranked, np.uint64(number)) % len(ranked)] == number)


def _deal(keys: np.ndarray, shares: list[float]) -> Callable[[int], int]:
    """Assign each question to a part, in the order of their hashes, which is random."""
    questions, counts = np.unique(keys, return_counts=True)
    ends = np.cumsum(shares) / sum(shares) * len(keys)
    middles = np.cumsum(counts) - counts / 2
    parts = np.searchsorted(ends, middles)
    return lambda key: int(parts[np.searchsorted(questions, np.uint64(key))])


def _with_right_ids(row: Example) -> Example:
    """Replace call ids that are not nine letters and digits, each always by the same one."""

    def right(identity: object) -> object:
        known = str(identity)
        if identity is None or TOOL_ID.fullmatch(known):
            return identity and known
        return hashlib.blake2b(known.encode("utf-8", "replace"), digest_size=8).hexdigest()[:9]

    messages = []
    for message in row.messages:
        if calls := message.get("tool_calls"):
            calls = [{**call, "id": right(call.get("id"))} for call in calls]
            message = {**message, "tool_calls": calls}
        if "tool_call_id" in message:
            message = {**message, "tool_call_id": right(message["tool_call_id"])}
        messages.append(message)
    return replace(row, messages=tuple(messages))


def _writing(path: Path) -> TextIO:
    """Open for writing; half a character is written as its JSON escape, as UTF-8 has none."""
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")


class _Files:
    """Files that are written completely or not at all."""

    def __init__(self, targets: list[Path], *, overwrite: bool) -> None:
        there = [label(target) for target in targets if target.exists()]
        if there and not overwrite:
            raise TuneError(
                f"{', '.join(there)} exists already.", "choose another name, or add --replace"
            )
        self.targets = targets
        self.parts = [target.with_name(f"{target.name}.part") for target in targets]

    def __enter__(self) -> _Files:
        self.stack = ExitStack()
        for part in self.parts:
            part.parent.mkdir(parents=True, exist_ok=True)
        self.files = [self.stack.enter_context(_writing(part)) for part in self.parts]
        return self

    def write(self, part: int, row: Example) -> None:
        self.files[part].write(row.as_json() + "\n")

    def __exit__(self, kind: object, *_: object) -> None:
        self.stack.close()
        for part, target in zip(self.parts, self.targets, strict=True):
            if kind is None:
                os.replace(part, target)
            else:
                part.unlink(missing_ok=True)
