"""Reads data files: JSONL, JSON arrays and CSV, in any encoding."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import TextIO

from tune.errors import TuneError
from tune.example import DECODER, TOO_DEEP, Example, Problem, to_row

OnBytes = Callable[[int], None]  # progress callback: bytes read since the last call
OTHER_FILES = {
    ".xlsx": "save the sheet as CSV (UTF-8)",
    ".xls": "save the sheet as CSV (UTF-8)",
    ".parquet": "with pandas: read_parquet(…).to_json(…, orient='records', lines=True)",
    ".gz": "unpack it first: gzip -d {0}",
    ".zip": "unpack it first: python -m zipfile -e {0} .",
}


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
    return to_row(value, name, number)


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
        yield to_row(value, name, line)
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
        return to_row(dict(zip(columns, fields, strict=True)), name, line)
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
