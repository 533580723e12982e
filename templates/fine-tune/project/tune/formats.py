"""Reads the lines of a data file: JSONL, a JSON array, or CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from tune.errors import TuneError

QUOTES = 'put each text in double quotes, and double the quotes inside it: ""'


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)  # or an empty cell would be learned as "NaN"


class BadExample(Exception):
    """What is wrong with a line; its arguments are the kind, the problem and the fix."""


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, object]]:
    """The numbers of a file's lines, each with its value or a BadExample."""
    if not path.is_file():
        raise TuneError(f"{path} does not exist.", "name a JSONL, JSON or CSV file")
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    try:
        text = path.read_bytes().decode(codec)
    except (UnicodeError, LookupError) as error:
        before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
        at = before.count(b"\n") + 1
        problem = f"{path}, line {at}: this is not {encoding} (perhaps it is cp1252 or utf-16)."
        fix = f'uv run python -m tune convert "{path}" new.jsonl --encoding cp1252'
        raise TuneError(problem, fix) from None
    if path.suffix.lower() in {".csv", ".tsv"}:
        yield from _from_csv(text)
    elif text.lstrip().startswith("["):
        yield from _from_array(text)
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _parsed(line, number)


def _parsed(text: str, line: int = 1) -> tuple[int, object]:
    """The value of a text that begins on this line; if it is not JSON, what and where."""
    try:
        return line, DECODER.decode(text.rstrip())
    except ValueError as error:
        fix = "write each example on one line, with json.dumps(example, ensure_ascii=False)."
        bad = BadExample("json", f"is not JSON: {getattr(error, 'msg', error)}.", fix)
        return line + getattr(error, "lineno", 1) - 1, bad
    except RecursionError:
        return line, BadExample("json", "is nested too deeply to read.", "flatten its values.")


def _from_array(text: str) -> Iterator[tuple[int, object]]:
    """The values of a JSON array, each with the line that it begins on."""
    line, value = _parsed(text)
    if isinstance(value, BadExample):
        yield line, value
        return
    at, seen = text.index("[") + 1, 0
    while True:
        while text[at] in ", \t\r\n":
            at += 1
        if text[at] == "]":
            return
        line, seen = line + text.count("\n", seen, at), at
        value, at = DECODER.raw_decode(text, at)
        yield line, value


def _from_csv(text: str) -> Iterator[tuple[int, object]]:
    """The records of a CSV; its first line has the columns' names, and shows the separator."""
    csv.field_size_limit(2**31 - 1)  # a field may be longer than 128 KB
    head = re.sub('"[^"]*"', "", text.partition("\n")[0])
    separator = max(",;\t|", key=head.count)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names = [name.strip().casefold() for name in next(records, [])]
    number = records.line_num + 1
    try:
        for fields in records:
            if len(fields) == len(names):
                yield number, dict(zip(names, fields, strict=True))
            elif fields:
                text = f"has {len(fields)} fields, the first line has {len(names)}."
                yield number, BadExample("csv", text, QUOTES)
            number = records.line_num + 1
    except csv.Error as error:
        yield number, BadExample("csv", f"cannot be read, nor what follows: {error}.", QUOTES)
