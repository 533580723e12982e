"""Checks an example: its messages, its tool calls, personal data and secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

from tune.dataset import Example, Message, Problem, reply
from tune.formats import DECODER

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
        r"(?i:(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}\b(?<![<-])"
        r"(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])(?!\w+(?:generation|classification)\b)"
        r"[a-z0-9]{32})\b)"
    ),
    "a Hugging Face token": r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{50,})",
    "an API key": (
        r"\b(?:(?:(?:sk|pk|rk)[-_]|tvly-|sb_secret_)(?=[\w-]{0,60}\d)[\w-]{20,}|gl(?:pat|dt|ptt|"
        r"oas)-[\w-]{20,}|(?:gsk_|xai-|csk-|pplx-|jina_|ntn_)[A-Za-z0-9]{40,}|(?:nvapi-|tgp_v1_|"
        r"figd_|pa-(?=[\w-]{0,40}\d))[\w-]{40,}|(?:pcsk_|wandb_v1_)\w{40,}|lsv2_(?:pt|sk)_[0-9a-f]"
        r"{32}\w*|(?:r8_|rnd_|whsec_|nfp_)(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{24,}|(?:fw_|a[ks]-)"
        r"(?=[A-Za-z]{0,22}\d)[A-Za-z0-9]{22,}|(?:fo1_|fm[12][ar]?_)[\w+/=-]{40,}|(?:SK|dapi|fc-|"
        r"key-|KGAT_|sbp_|e2b_|dop_v1_)[0-9a-f]{32,64}|SG\.[\w-]{16,32}\.[\w-]{30,}|pat[A-Za-z0-9]"
        r"{14}\.[0-9a-f]{64}|(?:ATATT3|hvs\.|glsa_|sntr|pscale_)[\w=+/.-]{30,}|[0-9a-f]{32}"
        r"-us\d{1,2}\b|AGE-SECRET-KEY-1[A-Z0-9]{50,})"
    ),
    "an access token": (
        r"\b(?:lin_(?:api|oauth)_[A-Za-z0-9]{40,}|shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}|(?<![+/])"
        r"EAAAE[\w-]{59}(?![\w+/=])|sq0(?:at|cs)p-[\w-]{22,}|dp\.(?:pt|st|ct|sa)\.(?:[\w-]{2,35}"
        r"\.)?[A-Za-z0-9]{40,}|NRAK-[A-Z0-9]{27}|(?:HRKU-AA|CFPAT-)[\w-]{40,}|glc_eyJ[\w+/=]{30,}|"
        r"sk\.eyJ[\w-]{20,}\.[\w-]{16,}|(?:napi_|phx_|sess-|secret_)(?=[A-Za-z]{0,40}\d)"
        r"[A-Za-z0-9]{40,}|(?:EAACEdEose0cBA|(?<![+/])ABSK(?=\w{90}))[\w+/=]{20,}|(?<![+/])"
        r"BSA(?=[A-Za-z_-]{0,25}\d)[\w-]{28}(?![\w+/=-])|sl\.[\w.-]{100,}|\w{14}"
        r"\.atlasv1\.[\w=-]{60,}|(?:x(?:key|smtp)sib-|pul-)[0-9a-f]{40,}|[0-9a-f]{8}"
        r"-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}:fx\b)"
    ),
    "an AWS key": (
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?i:\baws\w{0,12}(?:secret|key)[^\n]{0,40}?[^\w/+])"
        r"(?P<secret>(?=[A-Za-z/+]*[0-9])(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[\w/+]{40})(?![\w/+])"
    ),
    "a Google key": (
        r"(?<![\w/+])(?:AIza[\w-]{35}|GOCSPX-[\w-]{28}|ya29\.[\w-]{40,}|1//0[\w-]{50,}|"
        r"AQ\.Ab8[\w-]{30,})"
    ),
    "a Slack token": (
        r"\b(?:xox[abeprs]-(?=[\w-]{0,60}[0-9])|xapp-[0-9]-)[\w-]{10,}|"
        r"\bhooks\.slack\.com/(?:services|workflows)/(?P<secret>T[A-Z0-9]{5,}/\w+/\w{16,})"
    ),
    "a Discord or Telegram token": (
        r"\b(?:[MNO][\w-]{23,26}\.[\w-]{6}\.[\w-]{27,40}|[0-9]{8,10}:(?=[\w-]{0,34}[A-Z])"
        r"(?=[\w-]{0,34}[a-z])[\w-]{35})(?![\w-])|"
        r"\bdiscord(?:app)?\.com/api/webhooks/(?P<secret>[0-9]{16,20}/[\w-]{60,})"
    ),
    "an Azure key": (
        r"\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|sig)=(?P<secret>[\w+/%]{40,}={0,2}"
        r")|\b[A-Za-z0-9]{3}[0-9]Q~[\w~.-]{31,34}|\b[A-Za-z0-9]{50,54}JQQJ9[A-Za-z0-9]{20,30}\b"
    ),
    "a token (JWT)": r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a private key": (
        r"-----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY(?:[ ]BLOCK)?-----|\bPuTTY-User-Key-File-[0-9]:|"
        r"\bclient-key-data:\s{1,9}(?P<secret>[\w+/=]{40,})"
    ),
    "a token of a package registry": (
        r"\b(?:npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{40,}|dckr_pat_[\w-]{20,}|rubygems_[0-9a-f]{48})|"
        r"(?i:[/:]_(?:authToken|auth|password)\s{0,2}=\s{0,2}[\x22']?(?P<secret>[^\s\x22'$]{12,}))"
    ),
    "a password in an address": (
        r"\b[a-z][a-z0-9+]{1,24}://[^\s:@/\x22'<>`]{0,60}:(?P<secret>(?:(?=(?:%[0-9A-Fa-f]{2}|"
        r"[^\s@%0-9]){0,99}[0-9])(?=[^A-Za-z@]{0,99}[A-Za-z])|(?=[^\s%@]{10,99}@(?![\w.-]{0,60}"
        r"example)[\w-]+\.[a-z]))(?!(?i:\w{0,3}pass|secret|change|example|your|user|test|dummy|"
        r"xxx)\w*@)[^\s:@/\x22'<>{}$`\\]{6,100})@(?!localhost|127\.|0\.0\.0\.0|host[:/])[\w-]"
    ),
    "a bearer token": (
        r"(?i:\bbearer|\bauthorization[\x22':\s]{1,6}basic)\s+(?P<secret>(?=[\w.~+/-]*[0-9])"
        r"(?!dXNlc|QWxhZGRpb)[\w.~+/-]{20,})"
    ),
    "a key of a service": (
        r"(?i:\b(?:wandb|cohere|azure|twilio|pinecone|together|deepgram|assemblyai|elevenlabs|"
        r"serper|serpapi|cloudflare|heroku|vercel|kaggle|algolia|datadog)[^\n]{0,60}?(?<![\w/.-])"
        r"(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])(?:[a-z0-9]{32}|[a-z0-9]{40}|[a-z0-9]{64}))"
        r"(?![\w/.-]))"
    ),
    "a value that looks like a key": (
        r"(?i:(?:(?P<sure>(?:api|access|auth|client|bot|app|account|service|signing|encryption|"
        r"session|jwt|private|refresh|admin|secret)[_-]?(?:key|token|secret)|secret|passw(?:or)?d)"
        r"|key|token|auth)[\\\x22'\])]{0,4}\s{0,4}(?::\s?\w{1,20}\s?=|:=|=>|[:=,])\s{0,4}"
        r"[\\\x22'`]{0,3}(?(sure)|(?=[\w+/=~-]{32}))(?P<secret>(?=(?:[A-Za-z_+/=~-]{0,60}[0-9]){3}"
        r")(?=[\w+/=~-]{0,90}?[A-Za-z][0-9]{1,12}[A-Za-z])(?![\w+/=~-]{0,90}(?:your|example|"
        r"placeholder|dummy|replace|insert|change|xxxx))[\w+/=~-]{16,})(?![\w.(\[]))"
    ),
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
    except (ValueError, RecursionError):
        return False


def _warnings(example: Example) -> Iterator[Fault]:
    text = "\n".join(map(reply, example.messages))
    if not text.isascii() and (found := _TWICE_DECODED.search(text)):
        around = text[max(0, found.start() - 8) : found.end() + 8]
        fix = "read the source again as UTF-8, or: text.encode('cp1252').decode('utf-8')"
        yield "mojibake", f"the text was read in the wrong encoding: {around!r}.", fix
    for name, shown in find_private(text):
        yield "secret" if name in SECRETS else "personal", f"{name}: {shown}.", PLACEHOLDER
    if found := re.search(r"\{\{[^{}\n]{1,80}\}\}", text):
        yield "placeholder", f"{found[0]} is not filled in.", "fill it in, or delete the example."
    yield from _tool_warnings(example)


def _tool_warnings(example: Example) -> Iterator[Fault]:
    """What this project's chat template takes, and Mistral's API or mistral-finetune does not."""
    known = {tool["function"]["name"] for tool in example.tools}
    calls = [call for each in example.messages for call in each.get("tool_calls") or ()]
    names = {call["function"]["name"] for call in calls}
    if unknown := names - known:
        fix = 'describe it in "tools", or correct the name.'
        yield "tool-unknown", f"{min(unknown)} is called but not described in tools.", fix
    odd = [each for each in sorted(names | known) if not re.fullmatch("[A-Za-z0-9_-]{1,64}", each)]
    odd += [call["id"] for call in calls if not re.fullmatch("[A-Za-z0-9]{9}", f"{call['id']}")]
    if odd:
        fix = "a name has up to 64 letters, digits, _ and -; an id has 9 letters and digits."
        yield "tool-name", f"Mistral's API refuses the name or id {odd[0]!r}.", fix
    if any(each.get("content") and each.get("tool_calls") for each in example.messages):
        text = "an answer has text and calls: both are learned here; mistral-finetune refuses it."
        yield "text-and-calls", text, "delete the text if you use the example there."
    if ("tool", "user") in pairwise(each["role"] for each in example.messages):
        yield "order", "Mistral refuses a user after a tool's result.", "put an answer between."


def find_private(text: str) -> Iterator[tuple[str, str]]:
    """Yield the first match of each kind: its name and a part that is safe to show."""
    seen = ""  # a key may be of two kinds
    for name, pattern in _PRIVATE.items() if _SUSPECT.search(text) else ():
        if (found := pattern.search(text)) and (shown := found[found.lastgroup or 0]) not in seen:
            seen += f"{shown}\n"
            yield name, f"{shown[:3]}… ({len(shown)} characters)"
