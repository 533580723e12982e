"""Converts a parsed line in any supported format to messages and tools."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Any, NoReturn

Message = dict[str, Any]  # as it goes over the wire: {"role": "user", "content": "…"}

# Common names for the question and for the answer. Alpaca's "instruction" with "input" is looked
# for first.
QUESTIONS = ("prompt", "question", "input", "text", "query", "user", "source")
ANSWERS = ("completion", "output", "answer", "response", "label", "category", "target", "assistant")
CALLS = 'write "tool_calls": [{"id": "a1B2c3D4e", "function": {"name": "…", "arguments": "{}"}}]'
FUNCTIONS = 'write "tools": [{"type": "function", "function": {"name": "…", "parameters": {…}}}]'
TOO_DEEP = ("is nested too deeply.", "store the nested value as a string: json.dumps(value).")
SHAREGPT = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant"}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not valid JSON")


DECODER = json.JSONDecoder(parse_constant=_refuse)  # or an empty cell would be learned as "NaN"


class BadExample(Exception):
    """Raised while a row is read; its arguments are the kind, the problem and the fix."""


def conversation(value: object) -> tuple[tuple[Message, ...], tuple[dict[str, Any], ...]]:
    if not isinstance(value, dict):
        raise BadExample("shape", f"is {_kind(value)}, not an object.", 'write {"messages": […]}')
    if "messages" in value:
        messages = value["messages"]
    elif "conversations" in value:
        messages = _sharegpt(value["conversations"])
    else:
        messages = _pair(value)
    if not isinstance(messages, list):
        raise BadExample(
            "shape", f'"messages" is {_kind(messages)}.', 'write "messages": [{…}, {…}]'
        )
    if not messages:
        raise BadExample("empty", '"messages" is empty.', "write a question and an answer in it.")
    if value.get("functions"):
        raise BadExample("tool", '"functions" is an outdated format.', FUNCTIONS)
    if system := value.get("system") or value.get("system_prompt"):
        messages = [{"role": "system", "content": system}, *messages]
    tools = value.get("tools")
    return tuple(map(_message, messages)), tuple(map(_tool, _listed(tools))) if tools else ()


def _sharegpt(turns: object) -> object:
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return turns
    return [
        {"role": SHAREGPT.get(turn["from"], turn["from"]), "content": turn.get("value")}
        if isinstance(turn.get("from"), str)
        else turn
        for turn in turns
    ]


def _pair(value: dict[str, Any]) -> list[Message]:
    """Make a conversation of a question and its answer, whatever their names are."""
    answer = next((value[name] for name in ANSWERS if value.get(name) is not None), None)
    question = next((value[name] for name in QUESTIONS if value.get(name) is not None), None)
    if value.get("instruction") is not None:  # Alpaca: what to do, and on what
        task, on = _text(value["instruction"]), _text(value.get("input") or "")
        question = f"{task}\n\n{on}" if task and on else task or on
    if question is None or answer is None:
        _unknown_shape(value)
    if isinstance(question, list) and isinstance(answer, list):  # TRL's conversational format
        return [*question, *answer]
    return [*_history(value.get("history")), *_turn(question, answer)]


def _turn(question: object, answer: object) -> list[Message]:
    user, assistant = _text(question), _text(answer)
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def _history(turns: object) -> list[Message]:
    """The earlier turns in LLaMA-Factory's Alpaca files: pairs of texts."""
    if not turns:
        return []
    if not isinstance(turns, list) or any(
        not isinstance(turn, list) or len(turn) != 2 for turn in turns
    ):
        raise BadExample(
            "shape", '"history" is not a list of pairs.', 'write "history": [["…", "…"]]'
        )
    return [message for turn in turns for message in _turn(*turn)]


def _unknown_shape(value: dict[str, Any]) -> NoReturn:
    names = ", ".join(f'"{name}"' for name in list(value)[:6]) or "nothing"
    near = next((key for key in value if get_close_matches(key.lower(), ["messages"], 1, 0.7)), "")
    fix = 'write {"messages": [{"role": "user", …}, {"role": "assistant", …}]}, or name the two '
    fix += 'columns "prompt" and "completion"'
    if near:
        fix = f'write "messages" instead of "{near}"'
    raise BadExample("columns", f"has {names}, but no question with an answer.", fix)


def _text(value: object) -> str:
    """Text as it is; anything else as JSON, which a model can learn to write."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(value: object) -> Message:
    if not isinstance(value, dict):
        fix = 'write {"role": "user", "content": "…"}'
        raise BadExample("shape", f"a message is {_kind(value)}.", fix)
    content, calls = value.get("content"), value.get("tool_calls")
    if value.get("function_call"):
        raise BadExample("tool-call", '"function_call" is an outdated format.', CALLS)
    if isinstance(content, list):
        value = {**value, "content": _joined(content)}
    elif content is not None and not isinstance(content, str):
        fix = "write the content as text, between double quotes."
        raise BadExample("content", f'a message\'s "content" is {_kind(content)}.', fix)
    return {**value, "tool_calls": [_call(call) for call in _listed(calls)]} if calls else value


def _joined(parts: list[Any]) -> str:
    """The text of a message in parts, put together as Mistral's tokenizer does."""
    if all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return "\n\n".join(part["text"] for part in parts if part["text"])
    fix = 'use text only: write "content": "…"'
    raise BadExample("content", "a message has parts that are not text.", fix)


def _call(value: object) -> dict[str, Any]:
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadExample("tool-call", "a call in tool_calls has no function name.", CALLS)
    assert isinstance(value, dict)
    return {**value, "function": {**function, "arguments": _arguments(function.get("arguments"))}}


def _arguments(value: object) -> str:
    """JSON spaced as Mistral's tokenizer writes it; invalid JSON is left for the checks."""
    try:
        value = DECODER.decode(value) if isinstance(value, str) and value else value or {}
    except ValueError:
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _tool(value: object) -> dict[str, Any]:
    """A tool's description with its keys in the order of Mistral's tokenizer."""
    function = value.get("function") if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadExample("tool", "an entry of tools has no function name.", FUNCTIONS)
    names = ("name", "description", "parameters")
    described = {"description": "", "parameters": {}, **function}
    return {"type": "function", "function": {name: described[name] for name in names}}


def _listed(value: object) -> list[Any]:
    """A list, also if it is stored as a JSON string."""
    try:
        value = DECODER.decode(value) if isinstance(value, str) else value
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise BadExample("shape", "tools or tool_calls is not a list.", 'write "tools": [{…}, {…}]')
    return value


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
