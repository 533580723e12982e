"""Checks an example: its messages, its tool calls, personal data and secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tune.dataset import Example, Problem, reply
from tune.formats import DECODER, Message

# Which role may follow which, and the problem if another one does
FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant", "user"),
}
OUT_OF_ORDER = {
    "assistant": ("an assistant's message does not follow a user's.", "put a question before it."),
    "system": ("the system prompt is not first.", "put it first, and only once."),
    "tool": ("a tool answers without a call.", "put the assistant's tool_calls before it."),
    "user": ("there are two user messages in a row.", "join them, or put an answer between."),
}
PLACEHOLDER = "replace it with a placeholder such as [EMAIL], or an invented value."
# Each name with its pattern. A model that has learned one of these may repeat it to anyone.
SECRETS = {
    "a Mistral API key": (
        r"(?i:(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}"
        r"\b(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])"
        r"(?!\w+(?:generation|classification)\b)[a-z0-9]{32})\b)"
    ),
    "a bearer token": r"(?i:\bbearer)\s+(?P<secret>(?=[\w.~+/-]*[0-9])[\w.~+/-]{20,})",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})",
    "an API key": r"\b(?:sk|pk|rk)[-_](?=[\w-]*\d)[\w-]{20,}",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google key": r"\bAIza[\w-]{35}",
    "a Slack token": r"\bxox[abprs]-[\w-]{10,}",
    "a token (JWT)": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a private key": r"-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----",
}
PERSONAL = {
    "an e-mail address": (
        r"\b[\w.+-]{1,64}@(?!(?:[\w-]+\.)*(?:example\.(?:com|org|net)|\w+\.(?:example|test))\b)"
        r"(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b"
    ),
    "a phone number": (
        r"(?<![\w+.-])(?:"
        r"(?:\+|00)[1-9]\d{0,2}(?:[ .\-/]{0,2}\(?\d\)?){7,12}"  # +49 30 1234567
        r"|\(?0\d{2,4}\)?[ /-]\d{3,4}[ -]?\d{2,5}(?:[ -]\d{2,4})?"  # 030 1234567
        r"|0[1-9](?:[ .]\d{2}){4}"  # 06 12 34 56 78
        r"|\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[.-]\d{4}"  # (212) 555-0123
        r")(?![\w-])"
    ),
}
_PRIVATE = {name: re.compile(pattern) for name, pattern in (PERSONAL | SECRETS).items()}
# What all of them have: an @, a long word or seven digits; most texts have none and are skipped
_SUSPECT = re.compile(r"@|\S{16}|\d(?:\D{0,2}\d){6}|-{5}")
_CONTROL = re.compile(
    r"</?s>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|THINK)\]"
    r"|\[(?:TOOL_CALLS|TOOL_CONTENT|ARGS|CALL_ID|IMG|IMG_BREAK|IMG_END|PREFIX|MIDDLE|SUFFIX)\]"
    "|[\ud800-\udfff]"  # half a character, which no tokenizer takes
)
# What UTF-8 looks like when it was read as cp1252: "Ã¼" for "ü", "â€™" for an apostrophe
_TWICE_DECODED = re.compile("[ÂÃ][\u0080-\u00bf]|â€|\ufffd")

Fault = tuple[str, str, str]  # the kind, the problem, the fix


def check(example: Example) -> list[Problem]:
    """List an example's problems. An error spoils the training; a warning is worth a look."""
    errors = [Problem(example.file, example.line, *fault) for fault in _errors(example)]
    warnings = _warnings(example)
    return errors + [Problem(example.file, example.line, *each, "warning") for each in warnings]


def _errors(example: Example) -> Iterator[Fault]:
    before = ""
    calls: list[object] = []  # those without a result so far
    for message in example.messages:
        if (role := message.get("role")) not in OUT_OF_ORDER:
            yield "role", f"the role {role!r} is unknown.", f"write {', '.join(OUT_OF_ORDER)}."
            return
        if role not in FOLLOWS[before]:
            yield "order", *OUT_OF_ORDER[role]
            return
        before = role
        yield from _content(message)
        yield from _calls(message, calls)
    if before != "assistant":
        fix = 'add the answer to learn: {"role": "assistant", "content": "…"}'
        yield "no-answer", "it does not end with an answer of the assistant.", fix
    if example.tools:
        yield from _control(json.dumps(example.tools, ensure_ascii=False))
    answers = (each for each in example.messages if each["role"] == "assistant")
    weights = [1 if each.get("weight") is None else each["weight"] for each in answers]
    if weights and (not any(weights) or any(each not in (0, 1) for each in weights)):
        fix = 'write "weight": 0 (not trained on) or 1, and 1 for at least one answer.'
        yield "weight", f"the answers have the weights {weights}.", fix


def _content(message: Message) -> Iterator[Fault]:
    text, role = reply(message), message["role"]
    if not text.strip() and role != "tool":
        yield "empty", f"the {role}'s message is empty.", "write it, or delete the example."
    yield from _control(text)


def _control(text: str) -> Iterator[Fault]:
    if found := _CONTROL.search(text):
        fix = "remove it: the chat template adds the control tokens."
        yield "control-token", f"the text contains {found[0]!r}, which is no text to a model.", fix


def _calls(message: Message, calls: list[object]) -> Iterator[Fault]:
    """Problems of tool calls and their results."""
    if message["role"] == "tool":
        if (answered := message.get("tool_call_id")) in calls:
            calls.remove(answered)
        else:
            fix = 'write "tool_call_id" with the id of the call.'
            yield "tool-result", f"a tool's message answers the unknown call {answered!r}.", fix
    elif calls:
        fix = f'add {{"role": "tool", "tool_call_id": "{calls[0]}", "content": "…"}}'
        yield "tool-result", f"the call {calls.pop(0)} has no result.", fix
    for call in message.get("tool_calls") or ():
        calls.append(call.get("id"))
        if not _is_object(call["function"]["arguments"]):
            fix = 'write an object as text: "arguments": "{\\"city\\": \\"Paris\\"}"'
            name = call["function"]["name"]
            yield "tool-call", f"the arguments of {name} are not a JSON object.", fix


def _is_object(text: str) -> bool:
    try:
        return isinstance(DECODER.decode(text), dict)
    except ValueError:
        return False


def _warnings(example: Example) -> Iterator[Fault]:
    text = "\n".join(map(reply, example.messages))
    if not text.isascii() and (found := _TWICE_DECODED.search(text)):
        around = text[max(0, found.start() - 8) : found.end() + 8]
        fix = "read the source again as UTF-8, or: text.encode('cp1252').decode('utf-8')"
        yield "mojibake", f"the text was read in the wrong encoding: {around!r}.", fix
    for name, shown in find_private(text):
        yield "secret" if name in SECRETS else "personal", f"{name}: {shown}.", PLACEHOLDER
    known = {tool["function"]["name"] for tool in example.tools}
    calls = (call for each in example.messages for call in each.get("tool_calls") or ())
    unknown = {call["function"]["name"] for call in calls} - known
    if known and unknown:
        fix = 'describe it in "tools", or correct the name.'
        yield "tool-unknown", f"{min(unknown)} is called but not described in tools.", fix


def find_private(text: str) -> Iterator[tuple[str, str]]:
    """Yield the first match of each kind: its name and a part that is safe to show."""
    for name, pattern in _PRIVATE.items() if _SUSPECT.search(text) else ():
        if found := pattern.search(text):
            shown = found[found.lastgroup or 0]
            yield name, f"{shown[:3]}… ({len(shown)} characters)"
