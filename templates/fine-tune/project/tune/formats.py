"""Reads JSONL, JSON arrays and CSV: chat, ShareGPT, Alpaca, prompt and completion."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

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
    return message


def _content(content: object) -> str:
    """The text of a message; parts are joined as Mistral's tokenizer does."""
    if isinstance(content, str):
        return content
    try:
        return "\n\n".join(part["text"] for part in content if part["text"])  # type: ignore
    except (TypeError, KeyError):
        fix = 'write it as text: "content": "…"'
        raise BadExample("content", "a message is not text.", fix) from None


def _call(call: Any) -> dict[str, Any]:
    function = _function(call, "tool_calls", CALLS)
    function = {**function, "arguments": _arguments(function.get("arguments"))}
    return {**call, "function": function}


def _function(value: Any, name: str, fix: str) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return function
    raise BadExample("tool", f"an entry of {name} has no function name.", fix)


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
