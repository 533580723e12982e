"""Checks a row for problems, each with a fix."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from tune import privacy
from tune.example import DECODER, Example, Message, Problem, reply

HUGE = 100_000  # characters of one row: about 25,000 tokens
ROLES = ("system", "user", "assistant", "tool")
OTHER_NAMES = {
    "human": "user",
    "customer": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "agent": "assistant",
    "developer": "system",
    "function": "tool",
}
# Which role may follow which, and the problem if another one does
FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant", "user"),
}
OUT_OF_ORDER = {
    "assistant": ("the user's message is not first.", "put it first."),
    "system": ("the system prompt is not first.", "put it first, and only once."),
    "tool": ("a tool answers without a call.", "put the assistant's tool_calls before it."),
    "user": ("there are two user messages in a row.", "join them, or put an answer between."),
}
TWICE = ("there are two assistant messages in a row.", "join them into one.")
PLACEHOLDER = "replace it with a placeholder such as [EMAIL], or an invented value."

Fault = tuple[str, str, str]  # the kind, the problem, the fix

TOOL_ID = re.compile(r"[A-Za-z0-9]{9}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONTROL = re.compile(
    r"</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|THINK)\]"
    r"|\[(?:TOOL_CALLS|TOOL_CONTENT|ARGS|CALL_ID|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX)\]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# What UTF-8 looks like when it was read as cp1252: "Ã¼" for "ü", "â€™" for an apostrophe
_TWICE_DECODED = re.compile("[ÂÃ][\u0080-\u00bf]|â€|\ufffd")


def check(row: Example) -> list[Problem]:
    """List a row's problems. An error would spoil the training; a warning is worth a look."""
    errors = [Problem(row.file, row.line, *fault) for fault in _errors(row)]
    return errors + [Problem(row.file, row.line, *fault, "warning") for fault in _warnings(row)]


def _errors(row: Example) -> Iterator[Fault]:
    for message in row.messages:
        if message.get("role") not in ROLES:
            yield _unknown_role(message)
            return
    yield from _order(row)
    for message in row.messages:
        yield from _content(message)
    yield from _weights(row)
    if row.tools or any(m.get("tool_calls") or m["role"] == "tool" for m in row.messages):
        yield from _tools(row)


def _unknown_role(message: Message) -> Fault:
    role = message.get("role")
    if role is None:
        return "role", 'a message has no "role".', 'write "role": "user" or "role": "assistant".'
    name = str(role).strip().lower()
    name = OTHER_NAMES.get(name, name)
    right = f'"{name}"' if name in ROLES else ", ".join(f'"{each}"' for each in ROLES)
    return "role", f'the role "{role}" is unknown.', f"write {right}."


def _order(row: Example) -> Iterator[Fault]:
    before = ""
    for message in row.messages:
        role = message["role"]
        if role not in FOLLOWS[before]:
            yield "order", *(TWICE if before == role == "assistant" else OUT_OF_ORDER[role])
            return
        before = role
    if before != "assistant":
        fix = 'add the answer to learn: {"role": "assistant", "content": "…"}'
        yield "no-answer", "it does not end with an answer of the assistant.", fix


def _content(message: Message) -> Iterator[Fault]:
    text, role = message.get("content"), message["role"]
    if isinstance(text, str) and text.strip():
        yield from _text(text)
    elif role == "assistant" and not message.get("tool_calls"):
        fix = "write the answer, or delete the row."
        yield "empty-answer", "an assistant's message is empty.", fix
    elif role in {"system", "user"}:
        fix = "write it, or delete the " + ("message." if role == "system" else "row.")
        yield "empty", f"the {role}'s message is empty.", fix


def _text(text: str) -> Iterator[Fault]:
    if ("[" in text or "<" in text) and (found := _CONTROL.search(text)):
        fix = "remove it: the chat template adds the control tokens."
        yield "control-token", f"the text contains the control token {found[0]}.", fix
    if not text.isascii() and _SURROGATE.search(text):
        fix = "write the character itself, or both halves of its \\u escape."
        yield "surrogate", "the text contains half a character (a lone surrogate).", fix


def _weights(row: Example) -> Iterator[Fault]:
    learned = False
    for message in row.messages:
        weight = message.get("weight")
        if weight is not None and (weight not in (0, 1) or message["role"] != "assistant"):
            fix = "write 0 (not trained on) or 1, only on the assistant's messages."
            yield "weight", f"the weight {weight!r} is on the {message['role']}'s message.", fix
        learned = learned or (message["role"] == "assistant" and weight != 0)
    if not learned and row.messages[-1]["role"] == "assistant":
        fix = 'remove "weight": 0 from the last answer, or delete the row.'
        yield "weight", "every answer has the weight 0: there is nothing to learn.", fix


def _tools(row: Example) -> Iterator[Fault]:
    """Problems of tool calls and their results."""
    yield from _text(json.dumps(row.tools, ensure_ascii=False))
    open_calls: list[str] = []
    for message in row.messages:
        if message["role"] == "tool":
            yield from _result(message, open_calls)
        elif open_calls:
            fix = f'add {{"role": "tool", "tool_call_id": "{open_calls[0]}", "content": "…"}}'
            yield "tool-result", f"the call {open_calls[0]} has no result.", fix
            return
        for call in message.get("tool_calls") or ():
            yield from _call(call)
            open_calls.append(str(call.get("id")))


def _result(message: Message, open_calls: list[str]) -> Iterator[Fault]:
    wanted = message.get("tool_call_id")
    if wanted in open_calls:
        open_calls.remove(wanted)
    else:
        fix = f'write "tool_call_id": "{open_calls[0] if open_calls else "…"}", the id of the call.'
        yield (
            "tool-result",
            f"a tool's message answers the call {wanted!r}, which was not made.",
            fix,
        )


def _call(call: Message) -> Iterator[Fault]:
    identity, function = call.get("id"), call["function"]
    if not isinstance(identity, str) or not TOOL_ID.fullmatch(identity):
        fix = (
            'write nine letters and digits, such as "id": "a1B2c3D4e"; convert writes them for you.'
        )
        yield "tool-id", f"the id {identity!r} of a call is not nine letters and digits.", fix
    if not _TOOL_NAME.fullmatch(function["name"]):
        fix = "use only letters, digits, _ and -, at most 64."
        yield "tool-call", f"the function name {function['name']!r} is not allowed.", fix
    yield from _text(function["arguments"])
    try:
        wrong = not isinstance(DECODER.decode(function["arguments"]), dict)
    except (ValueError, RecursionError):
        wrong = True
    if wrong:
        fix = 'write an object as text: "arguments": "{\\"city\\": \\"Paris\\"}"'
        yield "tool-arguments", f"the arguments of {function['name']} are not a JSON object.", fix


# Warnings


def _warnings(row: Example) -> Iterator[Fault]:
    text = "\n".join(map(reply, row.messages))
    if len(text) > HUGE:
        fix = "split it, or remove what the answer does not need."
        yield "huge", f"the row has {len(text):,} characters.", fix
    if not text.isascii() and (found := _TWICE_DECODED.search(text)):
        around = text[max(0, found.start() - 8) : found.end() + 8]
        fix = "read the source again as UTF-8, or: text.encode('cp1252').decode('utf-8')"
        yield "mojibake", f"the text was read in the wrong encoding: {around!r}.", fix
    yield from (
        (_slug(name), f"{name}: {shown}.", PLACEHOLDER) for name, shown in privacy.find(text)
    )
    if row.tools:
        yield from _unknown_tools(row)


@cache
def _slug(name: str) -> str:
    """The kind of a match: all secrets are of one kind."""
    return "secret" if name in privacy.SECRETS else f"personal-{name.split()[1]}"


def _unknown_tools(row: Example) -> Iterator[Fault]:
    known = {tool["function"]["name"] for tool in row.tools}
    for message in row.messages:
        for call in message.get("tool_calls") or ():
            if (name := call["function"]["name"]) not in known:
                fix = 'describe it in "tools", or correct the name.'
                yield "tool-unknown", f"{name} is called but not described in tools.", fix
