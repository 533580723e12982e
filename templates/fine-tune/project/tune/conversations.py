"""Makes a conversation of a row: chat, ShareGPT, Alpaca, Dolly, SQuAD, prompt and completion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, count, cycle
from typing import Any

from tune.formats import DECODER, BadExample

Message = dict[str, Any]  # as it goes over the wire: {"role": "user", "content": "…"}
Tool = dict[str, Any]

# Common names for a conversation, for the question and what it is about, and for the answer
CHATS = ("messages", "conversations", "conversation", "interactions")
QUESTIONS = ("prompt", "question", "input", "text", "query", "user", "source")
CONTEXTS = ("context", "passage", "schema")
ANSWERS = ("completion", "output", "answer", "answers", "response", "assistant")
LABELS = ("label", "category", "target")  # the answer if there is no other
# What others call the roles; the last ones only in ShareGPT
CALLING = ("function_call", "tool_call")
ROLES = {"human": "user", "customer": "user", "developer": "system"}
ROLES |= dict.fromkeys(("function", "observation", "function_response", "tool_response"), "tool")
ROLES |= dict.fromkeys(CALLING, "assistant")
SHAREGPT = ROLES | dict.fromkeys(("gpt", "chatgpt", "bot", "ai", "model"), "assistant")
CALLS = 'write "tool_calls": [{"id": "a1B2c3D4e", "function": {"name": "…", "arguments": "{}"}}]'
FUNCTIONS = 'write "tools": [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
COLUMNS = 'write {"messages": [{"role": "user", …}, {"role": "assistant", …}]}, or name the two '
COLUMNS += 'columns "prompt" and "completion"'
# Data for other kinds of training: a column and its value, what it has, and what to do
REFUSED = {
    "(chosen|rejected).*": ("preferences for DPO", "keep only the chosen one, as the answer."),
    "(label|kto_tag)=(true|false|[01])": ("labels for KTO", "delete bad rows, then this column."),
    "(rating|score|reward)s?=.*": ("ratings", "delete bad rows, then this column."),
    "(image|video|audio)s?=.*": ("images or sound", "only text is learned: delete the column."),
}


def conversation(value: object) -> tuple[tuple[Message, ...], tuple[Tool, ...], tuple[str, ...]]:
    """The messages and tools of a parsed line, and its columns without use. Raises BadExample."""
    if not isinstance(value, dict):
        raise BadExample("shape", "is not an object.", COLUMNS)
    row = {name.strip().casefold(): each for name, each in value.items()}
    system = row.pop("system", None) or row.pop("system_prompt", None)
    tools = _listed(_take(row, ("tools", "available_tools", "functions")) or [], "tools")
    only_last = str(row.pop("only_last", "")).lower() in ("true", "1")
    row |= {"answers": _first(row["answers"])} if "answers" in row else {}
    name = next((each for each in CHATS if each in row), "")
    said = _listed(row.pop(name), name) if name else _pair(row)
    if not said:
        raise BadExample("empty", f'"{name}" is empty.', "write a question and an answer in it.")
    said = [{"role": "system", "content": system}, *said] if system else said
    messages = _with_ids([_message(each, row) for each in said])
    for each in [each for each in messages if each["role"] == "assistant"][:-1]:
        each |= {"weight": 0} if only_last else {}  # as mistral-finetune does
    return tuple(messages), tuple(_tool(each, row) for each in tools), _unused(row)


def _unused(row: dict[str, Any]) -> tuple[str, ...]:
    """The columns that are left and filled in. Raises BadExample if one must not be ignored."""
    names = tuple(name for name, each in row.items() if each not in (None, "", [], {}))
    for name in names:
        for pattern, (what, fix) in REFUSED.items():
            if re.fullmatch(pattern, f"{name}={row[name]}".lower(), re.DOTALL):
                raise BadExample("refused", f'has {what} ("{name}"), which cannot be learned.', fix)
    return names


def _take(row: dict[str, Any], names: Iterable[str]) -> Any:
    """Remove and return the first of these columns that is there."""
    return next((row.pop(each) for each in names if row.get(each) not in (None, [])), None)


def _pair(row: dict[str, Any]) -> list[Any]:
    """Make a conversation of a question and its answer, whatever their names are."""
    names = ", ".join(f'"{name}"' for name in list(row)[:6]) or "nothing"
    answer = _take(row, ANSWERS if any(name in row for name in ANSWERS) else LABELS)
    about = [row.pop(name, None) for name in ("instruction", *CONTEXTS)]
    question = _take(row, QUESTIONS if about[0] is None else ("input", "question"))
    parts = [each for each in (*about, question) if each is not None]
    if not parts or answer is None:
        _unused(row)  # it knows better what is wrong
        marks = re.search(r"\[INST]|<\||<start_of_turn>|^### ", str(question), re.MULTILINE)
        fix = f"split the text at the marks of its template: {COLUMNS}" if marks else COLUMNS
        raise BadExample("columns", f"has {names}, but no question with an answer.", fix)
    if isinstance(question, list) and parts == [question]:  # TRL's conversational format
        reply = answer if isinstance(answer, list) else [{"role": "assistant", "content": answer}]
        return [*question, *reply]
    whole = "\n\n".join(_text(part) for part in parts if part)
    turns = [*_listed(row.pop("history", None) or [], "history"), [whole, answer]]
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in turns):
        raise BadExample("shape", '"history" is not a list of pairs.', 'write [["…", "…"], …]')
    roles = cycle(("user", "assistant"))
    return [{"role": next(roles), "content": _text(text)} for text in chain(*turns)]


def _first(answers: Any) -> Any:
    """The first answer of several, as in SQuAD: {"text": ["…", "…"], "answer_start": [3, 3]}."""
    texts = answers.get("text") if isinstance(answers, dict) else answers
    return next(iter(texts), "") if isinstance(texts, list) else texts


def _text(value: object) -> str:
    """Text as it is; anything else as JSON, which a model can learn to write."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(value: object, row: dict[str, Any]) -> Message:
    """A message in Mistral's form; what has no use in it is added to the row's columns."""
    if not isinstance(value, dict):
        raise BadExample("shape", "a message is not an object.", COLUMNS)
    given = dict(value)
    roles = ROLES if "role" in given else SHAREGPT
    name = str(_take(given, ("role", "from"))).strip().lower().replace("-", "_")
    message: Message = {"role": roles.get(name, name)}
    content = _take(given, ("content", "value", "text"))
    key = name if name in CALLING else "tool_calls"
    calls = content if name in CALLING else _take(given, ("tool_calls", "function_call"))
    if content is not None and name not in CALLING:
        message["content"] = _content(content)
    if calls:
        message["tool_calls"] = [_call(call) for call in _listed(calls, key)]
    kept = {"tool": ("tool_call_id", "name"), "assistant": ("weight",)}.get(message["role"], ())
    message |= {key: given.pop(key) for key in kept if key in given}
    row |= {f"messages.{key}": given[key] for key in given}
    return message


def _content(content: object) -> str:
    """The text of a message; parts are joined as Mistral's tokenizer does."""
    parts: Any = [{"text": content}] if isinstance(content, str) else content
    try:
        return "\n\n".join(part["text"] for part in parts if part["text"])
    except (TypeError, KeyError):
        text = "a message is not text; images and other parts cannot be learned."
        raise BadExample("content", text, 'write it as text: "content": "…"') from None


def _with_ids(messages: list[Message]) -> list[Message]:
    """Give calls without an id, and their results, one of 9 letters and digits."""
    numbers = count(1)
    made: list[str] = []
    for message in messages:
        for call in message.get("tool_calls", ()):
            if not call["id"]:
                made.append(f"call{next(numbers):05}")
                call["id"] = made[-1]
        if message["role"] == "tool" and made and not message.get("tool_call_id"):
            message["tool_call_id"] = made.pop(0)
    return messages


def _call(value: Any) -> dict[str, Any]:
    function = _function(value, "tool_calls", CALLS)
    arguments = _arguments(_take(function, ("arguments", "parameters")))
    made = {"name": function["name"], "arguments": arguments}
    return {"id": value.get("id"), "type": "function", "function": made}


def _tool(value: object, row: dict[str, Any]) -> Tool:
    """A tool's description with its keys in the order of Mistral's tokenizer."""
    function = _function(value, "tools", FUNCTIONS)
    names = {"name": "", "description": "", "parameters": {}}
    described = {name: function.pop(name, None) or empty for name, empty in names.items()}
    if not isinstance(described["parameters"], dict):
        raise BadExample("tool", "the parameters of a tool are not an object.", FUNCTIONS)
    row |= {f"tools.{key}": function[key] for key in function if key != "type"}
    return {"type": "function", "function": described}


def _function(value: Any, name: str, fix: str) -> dict[str, Any]:
    """A copy of the function in a tool or a call, also if it is given bare."""
    function = value.get("function", value) if isinstance(value, dict) else {}
    named = isinstance(function, dict) and isinstance(function.get("name"), str)
    if named and (function is not value or len(value) > 1):
        return dict(function)
    raise BadExample("tool", f"an entry of {name} has no function name.", fix)


def _arguments(value: object) -> str:
    """JSON spaced as Mistral's tokenizer writes it; invalid JSON is left for the checks."""
    try:
        value = DECODER.decode(value) if isinstance(value, str) and value else value or {}
    except (ValueError, RecursionError):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _listed(value: object, name: str) -> list[Any]:
    """A list, also if it is stored as a JSON string, or is only one object."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            value = DECODER.decode(value)
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list):
        return value
    raise BadExample("shape", f'"{name}" is not a list.', f'write "{name}": [{{…}}, {{…}}]')
