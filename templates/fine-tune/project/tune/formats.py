"""Reads JSONL, JSON arrays and CSV: chat, ShareGPT, Alpaca, prompt and completion."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO
from zlib import crc32

from tune.errors import TuneError

Message = dict[str, Any]  # as it goes over the wire: {"role": "user", "content": "…"}

# Common names for the question and for the answer
QUESTIONS = ("prompt", "question", "input", "text", "query", "user", "source")
ANSWERS = ("completion", "output", "answer", "response", "label", "category", "target", "assistant")
# What others call the roles
ROLES = {"human": "user", "customer": "user", "developer": "system", "function": "tool"}
ROLES |= dict.fromkeys(("gpt", "chatgpt", "bot", "ai", "model"), "assistant")
CALLS = 'write "tool_calls": [{"id": "a1B2c3D4e", "function": {"name": "…", "arguments": "{}"}}]'
FUNCTIONS = 'write "tools": [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
COLUMNS = 'write {"messages": [{"role": "user", …}, {"role": "assistant", …}]}, or name the two '
COLUMNS += 'columns "prompt" and "completion"'
OTHER_FILES = {".xlsx", ".xls", ".parquet", ".gz", ".zip"}
_CALL_ID = re.compile(r"[A-Za-z0-9]{9}")
_GAP = re.compile(r"[\s,]*")
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # how a byte that is not UTF-8 is kept


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)  # or an empty cell would be learned as "NaN"


class BadExample(Exception):
    """What is wrong with a line; its arguments are the kind, the problem and the fix."""


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, object]]:
    """The numbers of a file's lines, each with its value or a BadExample."""
    if not path.is_file() or path.suffix.lower() in OTHER_FILES:
        what = "is not a JSONL, JSON or CSV file" if path.exists() else "does not exist"
        raise TuneError(f"{path} {what}.", "name a JSONL, JSON or CSV (UTF-8) file")
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    try:
        with path.open(encoding=codec, errors="surrogateescape", newline="") as text:
            is_csv = path.suffix.lower() in {".csv", ".tsv"}
            yield from _from_csv(text, path) if is_csv else _from_json(text, path)
    except (LookupError, UnicodeError) as error:
        raise TuneError(f"{path}: {error}.", "--encoding cp1252 (or utf-16, gb18030, …)") from None


def _from_json(text: TextIO, path: Path) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text, 1):
        is_array = line.lstrip().startswith("[")
        line += text.read() if is_array else ""
        if bad := _bad_bytes(line, path):
            yield number, bad
            if "utf-16" in str(bad):  # so is the rest
                return
        elif is_array:
            yield from _from_array(line, number)
        elif line.strip():
            try:
                yield number, DECODER.decode(line.rstrip())
            except ValueError as error:
                yield number, _not_json(line, error)


def _from_array(text: str, line: int) -> Iterator[tuple[int, object]]:
    """The values of a JSON array, each with the line that it begins on."""
    at, seen = text.index("[") + 1, 0
    try:
        DECODER.decode(text.rstrip())
    except ValueError as error:
        yield line + getattr(error, "lineno", 1) - 1, _not_json(text, error)
        return
    while text[at := _GAP.match(text, at).end()] != "]":  # type: ignore[union-attr]
        line, seen = line + text.count("\n", seen, at), at
        value, at = DECODER.raw_decode(text, at)
        yield line, value


def _from_csv(text: TextIO, path: Path) -> Iterator[tuple[int, object]]:
    """The records of a CSV; its first line has the columns' names, and shows the separator."""
    csv.field_size_limit(2**31 - 1)  # a field may be longer than 128 KB
    head = text.readline()
    if bad := _bad_bytes(head, path):
        yield 1, bad
        return
    separator = max(",;\t|", key=re.sub('"[^"]*"', "", head).count)
    names = [each.strip().casefold() for each in next(csv.reader([head], delimiter=separator))]
    records = csv.DictReader(text, names, delimiter=separator, strict=True)
    number = 2
    try:
        for record in records:
            yield number, _record(record, path)
            number = records.line_num + 2
    except csv.Error as error:
        fix = 'put each text in double quotes, and double the quotes inside it: ""'
        yield number, BadExample("csv", f"cannot be read, nor what follows: {error}.", fix)


def _record(record: dict[str, Any], path: Path) -> object:
    if None in record or None in record.values():
        fix = "put texts that contain the separator in double quotes."
        return BadExample("csv", "has not as many fields as the first line.", fix)
    return _bad_bytes(" ".join(record.values()), path) or record


def _not_json(line: str, error: ValueError) -> BadExample:
    fix = "write each example on one line, with json.dumps(example, ensure_ascii=False)."
    if line.lstrip().startswith("{'"):
        fix = "use double quotes; Python's json.dumps(example) writes them."
    elif not isinstance(error, json.JSONDecodeError):  # valid in Python only
        fix = "write null or a text instead; pandas writes NaN for empty cells: use dropna()."
    elif line.lstrip()[:1] not in {"{", "["}:
        fix = "start each line with {, or name a file with columns .csv or .tsv."
    return BadExample("json", f"is not JSON: {error}.", fix)


def _bad_bytes(line: str, path: Path) -> BadExample | None:
    if line.isascii() or not _BAD_BYTE.search(line):
        return None
    codec = "utf-16" if line.startswith(("\udcff\udcfe", "\udcfe\udcff")) else "cp1252"
    target = path.with_suffix(".utf8.jsonl").as_posix()
    fix = f'uv run python -m tune convert "{path.as_posix()}" "{target}" --encoding {codec}'
    return BadExample("encoding", f"is not UTF-8, but perhaps {codec}.", fix)


def conversation(value: object) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    """The messages and the tools of a parsed line. Raises BadExample."""
    if not isinstance(value, dict):
        raise BadExample("shape", "is not an object.", COLUMNS)
    name = next((each for each in ("messages", "conversations") if each in value), "")
    messages = _listed(value[name], name) if name else _pair(value)
    if not messages:
        raise BadExample("empty", f'"{name}" is empty.', "write a question and an answer in it.")
    if system := value.get("system") or value.get("system_prompt"):
        messages = [{"role": "system", "content": system}, *messages]
    tools = _listed(value["tools"], "tools") if value.get("tools") else []
    return tuple(map(_message, messages)), tuple(map(_tool, tools))


def _pair(value: dict[str, Any]) -> list[Any]:
    """Make a conversation of a question and its answer, whatever their names are."""
    answer = next((value[name] for name in ANSWERS if value.get(name) is not None), None)
    question = next((value[name] for name in QUESTIONS if value.get(name) is not None), None)
    if value.get("instruction") is not None:  # Alpaca: what to do, and on what
        parts = (value["instruction"], value.get("input"))
        question = "\n\n".join(_text(part) for part in parts if part)
    if question is None or answer is None:
        names = ", ".join(f'"{name}"' for name in list(value)[:6]) or "nothing"
        raise BadExample("columns", f"has {names}, but no question with an answer.", COLUMNS)
    if isinstance(question, list) and isinstance(answer, list):  # TRL's conversational format
        return [*question, *answer]
    turns = [*_listed(value.get("history") or [], "history"), [question, answer]]
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
        raise BadExample("shape", '"history" is not a list of pairs.', 'write [["…", "…"], …]')
    return [
        {"role": role, "content": _text(text)}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def _text(value: object) -> str:
    """Text as it is; anything else as JSON, which a model can learn to write."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(value: object) -> Message:
    if not isinstance(value, dict):
        raise BadExample("shape", "a message is not an object.", COLUMNS)
    message = dict(value)
    if "from" in value:  # ShareGPT
        message = {"role": value["from"], "content": value.get("value")}
    role = str(message.get("role")).strip().lower()
    message["role"] = ROLES.get(role, role)
    if (content := message.get("content")) is not None:
        message["content"] = _content(content)
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [_call(call) for call in _listed(calls, "tool_calls")]
    if "tool_call_id" in message:
        message["tool_call_id"] = _call_id(message["tool_call_id"])
    return message


def _content(content: object) -> str:
    """The text of a message; parts are joined as Mistral's tokenizer does."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise BadExample("content", "a message is not text.", 'write it as text: "content": "…"')
    return "\n\n".join(text for text in texts if text)


def _call(call: Any) -> dict[str, Any]:
    function = _function(call, "tool_calls", CALLS)
    function = {**function, "arguments": _arguments(function.get("arguments"))}
    return {**call, "id": _call_id(call.get("id")), "function": function}


def _function(value: Any, name: str, fix: str) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return function
    raise BadExample("tool", f"an entry of {name} has no function name.", fix)


def _call_id(identity: object) -> str:
    """An id that Mistral accepts, nine letters and digits: always the same one for another id."""
    text = str(identity)
    return text if _CALL_ID.fullmatch(text) else f"{crc32(ascii(text).encode()):09x}"


def _arguments(value: object) -> str:
    """JSON spaced as Mistral's tokenizer writes it; invalid JSON is left for the checks."""
    try:
        value = DECODER.decode(value) if isinstance(value, str) and value else value or {}
    except ValueError:
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _tool(value: object) -> dict[str, Any]:
    """A tool's description with its keys in the order of Mistral's tokenizer."""
    described = {"description": "", "parameters": {}, **_function(value, "tools", FUNCTIONS)}
    names = ("name", "description", "parameters")
    return {"type": "function", "function": {name: described[name] for name in names}}


def _listed(value: object, name: str) -> list[Any]:
    """A list, also if it is stored as a JSON string."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):
            value = DECODER.decode(value)
    if isinstance(value, list):
        return value
    raise BadExample("shape", f'"{name}" is not a list.', f'write "{name}": [{{…}}, {{…}}]')
