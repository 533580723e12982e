"""Checks examples and data files: faults, personal data, duplicates, leaks, and figures."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, combinations, islice
from pathlib import Path
from typing import Any

import numpy as np

from tune import dataset, tokens
from tune.dataset import TOOL_ID, Example, Level, OnBytes, Problem, label, read, reply
from tune.formats import DECODER, Message

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
        (_slug(name), f"{name}: {shown}.", PLACEHOLDER) for name, shown in find_private(text)
    )
    if row.tools:
        yield from _unknown_tools(row)


@cache
def _slug(name: str) -> str:
    """The kind of a match: all secrets are of one kind."""
    return "secret" if name in SECRETS else f"personal-{name.split()[1]}"


def _unknown_tools(row: Example) -> Iterator[Fault]:
    known = {tool["function"]["name"] for tool in row.tools}
    for message in row.messages:
        for call in message.get("tool_calls") or ():
            if (name := call["function"]["name"]) not in known:
                fix = 'describe it in "tools", or correct the name.'
                yield "tool-unknown", f"{name} is called but not described in tools.", fix


# Personal data and secrets

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
_SECRETS = [(name, re.compile(pattern)) for name, pattern in SECRETS.items()]
_EMAIL = re.compile(r"\b[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[A-Za-z]{2,24}\b")
_RESERVED = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|\w+\.(?:example|test|invalid))$")
_DIGITS = re.compile(
    r"\d(?:[ ().\-/]{0,2}\d){6}"
)  # with fewer than seven digits it is no phone, card or account
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(
    r"(?<![\w.-])(?:"
    r"[2-6]\d{12,18}"
    r"|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"  # 4111 1111 1111 1111
    r"|3\d{3}([ -])\d{6}\2\d{4,5}"  # 3782 822463 10005
    r")(?![\w-])"
)
_PHONE = re.compile(
    r"(?<![\w+.-])(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ .\-/]{0,2}\(?\d\)?){7,12}"  # +49 30 1234567
    r"|\(?0\d{2,4}\)?[ /-]\d{3,4}[ -]?\d{2,5}(?:[ -]\d{2,4})?"  # 030 1234567
    r"|0[1-9](?:[ .]\d{2}){4}"  # 06 12 34 56 78
    r"|\(?[2-9]\d{2}\)?[ .-][2-9]\d{2}[.-]\d{4}"  # (212) 555-0123
    r")(?![\w-])"
)


def find_private(text: str) -> Iterator[tuple[str, str]]:
    """Yield each match as a name ("an e-mail address") and a part that is safe to show."""
    if "@" in text:
        for found in _EMAIL.finditer(text):
            if not _RESERVED.search(found[0].lower()):
                yield "an e-mail address", _shown(found[0])
    if _DIGITS.search(text):
        yield from _numbers(text)
    if max(map(len, text.split()), default=0) >= 16 or "-----BEGIN" in text:
        for name, pattern in _SECRETS:
            if secret := pattern.search(text):
                yield name, _shown(secret[secret.lastgroup or 0])


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    ibans, cards = list(_IBAN.finditer(text)), list(_CARD.finditer(text))
    yield from (("an IBAN", _shown(each[0])) for each in ibans if _is_iban(each[0]))
    yield from (("a card number", _shown(each[0])) for each in cards if _is_card(each[0]))
    for found in _PHONE.finditer(text):
        if not any(each.start() <= found.start() < each.end() for each in (*ibans, *cards)):
            yield "a phone number", _shown(found[0])


def _is_iban(text: str) -> bool:
    """The checksum of ISO 13616: country at the end, letters as numbers, remainder 1."""
    text = text.replace(" ", "")
    moved = text[4:] + text[:4]
    return len(text) >= 15 and int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1


def _is_card(text: str) -> bool:
    """The check digit of ISO/IEC 7812 (Luhn)."""
    digits = [int(sign) for sign in reversed(text) if sign.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return 13 <= len(digits) <= 19 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _shown(text: str) -> str:
    """Enough to find it again, and too little to use it."""
    return f"{text[:3]}… ({len(text)} characters)"


# Whole files

FEW, FEW_HELD_BACK = 50, 20  # fewer rows teach little, fewer test rows prove little
SAME = 0.9  # if one answer has this share of the rows, a model learns only that
PERCENTILES = (50, 90, 95, 99, 100)
NO_NUMBER = 0
MIXER = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, as in Fibonacci hashing


@dataclass(frozen=True)
class Finding:
    """One kind of problem: its count and the first few."""

    kind: str
    level: str
    count: int
    shown: tuple[Problem, ...]


@dataclass(frozen=True)
class Figures:
    """The figures of a file. Tokens are Mistral's, with the chat template's control tokens."""

    file: str
    rows: int
    broken: int  # rows with an error, which are in no other figure
    turns: float  # questions per row, on average
    with_system: int
    with_tools: int
    tokens: int
    learned: int  # tokens that are trained on
    lengths: dict[str, int]  # percentiles of a row's tokens; "max" is the longest row
    answers: dict[str, int]  # the same for the tokens that are trained on
    too_long: int  # rows above max_length, which training leaves out


@dataclass(frozen=True)
class Survey:
    """The result for some files: the figures of each, and all problems."""

    files: tuple[Figures, ...]
    findings: tuple[Finding, ...]
    max_length: int

    @property
    def errors(self) -> int:
        return sum(each.count for each in self.findings if each.level == "error")

    @property
    def warnings(self) -> int:
        return sum(each.count for each in self.findings if each.level == "warning")

    def as_dict(self) -> dict[str, Any]:
        """The survey as a dictionary, for JSON."""
        return {"errors": self.errors, "warnings": self.warnings, **asdict(self)}


class Tally:
    """Counts problems by their kind, and keeps the first few of each."""

    def __init__(self, show: int) -> None:
        self.show = show
        self.counts: Counter[tuple[str, str]] = Counter()
        self.shown: dict[tuple[str, str], list[Problem]] = {}

    def add(self, problem: Problem) -> None:
        key = (problem.level, problem.kind)
        self.counts[key] += 1
        if self.counts[key] <= self.show:
            self.shown.setdefault(key, []).append(problem)

    def count(self, problems: Iterator[Problem], many: int) -> None:
        """Create only the problems that are shown, and count all."""
        first = list(islice(problems, self.show))
        for problem in first:
            self.add(problem)
        if first:
            self.counts[first[0].level, first[0].kind] += many - len(first)

    def findings(self) -> tuple[Finding, ...]:
        order = sorted(self.counts, key=lambda key: (key[0], -self.counts[key], key[1]))
        return tuple(
            Finding(kind, level, self.counts[level, kind], tuple(self.shown[level, kind]))
            for level, kind in order
        )


class Columns:
    """A few numbers for each row of a file, which is all that is kept: 36 bytes per row.

    Texts are kept as hashes, which differ in every process.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.question, self.answer, self.but_for_numbers = (array("q") for _ in range(3))
        self.line, self.total, self.learned = (array("I") for _ in range(3))
        self.earlier, self.earlier_line = array("q"), array("I")  # questions before a row's last
        self.broken = self.turns = self.with_system = self.with_tools = 0

    def add(self, row: Example, count: tokens.Count) -> None:
        self.line.append(row.line)
        *question, answer = map(dataset.plain, row.messages)
        alike = [dataset.without_numbers(text) for text in question]
        self.question.append(hash(tuple(question)))
        self.answer.append(hash(answer))
        self.but_for_numbers.append(hash((*alike, answer)) if alike != question else NO_NUMBER)
        for place in row.answers[:-1]:
            self.earlier.append(hash(tuple(question[:place])))
            self.earlier_line.append(row.line)
        for column, number in zip((self.total, self.learned), count, strict=True):
            column.append(number)
        roles = [message["role"] for message in row.messages]
        self.turns += roles.count("user")
        self.with_system += roles[0] == "system"
        self.with_tools += bool(row.tools)


def survey(
    paths: Sequence[Path],
    max_length: int,
    *,
    show: int = 5,
    on_bytes: OnBytes | None = None,
) -> Survey:
    """Check files row by row and against each other. Uses little memory for any number of rows."""
    tally = Tally(show)
    columns = [_columns(path, tally, on_bytes) for path in paths]
    for each in columns:
        for found in chain(_repeats(each), _alike(each), _long(each, max_length), _few(each)):
            tally.count(*found)
    for first, second in combinations(columns, 2):
        for found in _leaks(first, second):
            tally.count(*found)
    figures = tuple(_figures(each, max_length) for each in columns)
    return Survey(figures, tally.findings(), max_length)


def _columns(path: Path, tally: Tally, on_bytes: OnBytes | None) -> Columns:
    columns = Columns(label(path))
    for each in read(path, on_bytes=on_bytes):
        problems = [each] if isinstance(each, Problem) else check(each)
        for problem in problems:
            tally.add(problem)
        if isinstance(each, Example) and all(problem.level == "warning" for problem in problems):
            columns.add(each, tokens.count(each))
        else:
            columns.broken += 1
    return columns


def _figures(columns: Columns, max_length: int) -> Figures:
    rows, total = len(columns.line), np.asarray(columns.total)
    return Figures(
        file=columns.file,
        rows=rows,
        broken=columns.broken,
        turns=round(columns.turns / max(rows, 1), 2),
        with_system=columns.with_system,
        with_tools=columns.with_tools,
        tokens=sum(columns.total),
        learned=sum(columns.learned),
        lengths=_percentiles(total),
        answers=_percentiles(np.asarray(columns.learned)),
        too_long=int((total > max_length).sum()),
    )


def _percentiles(numbers: np.ndarray) -> dict[str, int]:
    """Percentiles that are lengths of real rows, not interpolated."""
    if not len(numbers):
        return {}
    found = np.percentile(numbers, PERCENTILES, method="inverted_cdf")
    names = [f"{each}%" for each in PERCENTILES[:-1]]
    return dict(zip([*names, "max"], map(int, found), strict=True))


# Problems between rows

Found = tuple[Iterator[Problem], int]  # the problems, created only as needed; their number


def _earlier(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of repeated keys, and the first position of each."""
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    again = np.flatnonzero(ranked[1:] == ranked[:-1]) + 1
    later, first = order[again], order[np.searchsorted(ranked, ranked[again])]
    by_place = np.argsort(later)
    return later[by_place], first[by_place]


def _repeats(columns: Columns) -> Iterator[Found]:
    question, answer = (
        np.asarray(each).view(np.uint64) for each in (columns.question, columns.answer)
    )
    whole = question * np.uint64(MIXER) + answer  # wraps around: a hash of both
    later, first = _earlier(whole)
    fix = "keep one of them: a duplicate is learned twice."
    fault = ("duplicate", "is the same or nearly the same as line {}.", fix)
    yield _at_both(columns, fault, later, first), len(later)
    later, first = _earlier(question)
    other = whole[later] != whole[first]
    fix = "keep the right answer."
    text = "asks the same or nearly the same as line {}, with a different answer."
    fault = ("contradiction", text, fix)
    yield _at_both(columns, fault, later[other], first[other]), int(other.sum())


def _at_both(
    columns: Columns, fault: Fault, later: np.ndarray, first: np.ndarray
) -> Iterator[Problem]:
    kind, text, fix = fault
    for at, before in zip(later, first, strict=True):
        problem = text.format(columns.line[before])
        yield Problem(columns.file, columns.line[at], kind, problem, fix, "warning")


def _leaks(first: Columns, second: Columns) -> Iterator[Found]:
    """Questions that are in both files: an answer to a row seen in training proves nothing."""
    known = np.concatenate([np.asarray(first.question), np.asarray(first.earlier)])
    lines = np.concatenate([np.asarray(first.line), np.asarray(first.earlier_line)])
    leaked = np.isin(second.question, known)
    near = np.isin(second.but_for_numbers, first.but_for_numbers) & ~leaked
    near &= np.asarray(second.but_for_numbers) != NO_NUMBER

    def leaks() -> Iterator[Problem]:
        fix = "delete one of the two, or join the files and split them again."
        for at in np.flatnonzero(leaked):
            line = lines[np.argmax(known == second.question[at])]
            text = f"its question, or nearly the same, is also in {first.file}, line {line}."
            yield Problem(second.file, second.line[at], "leak", text, fix)

    def near_leaks() -> Iterator[Problem]:
        fix = "use a different question, unless the numbers are what matters."
        for at in np.flatnonzero(near):
            line = first.line[first.but_for_numbers.index(second.but_for_numbers[at])]
            text = f"is {first.file}, line {line}, with different numbers and the same answer."
            yield Problem(second.file, second.line[at], "near-leak", text, fix, "warning")

    yield leaks(), int(leaked.sum())
    yield near_leaks(), int(near.sum())


def _alike(columns: Columns) -> Iterator[Found]:
    rows = len(columns.line)
    if rows < FEW_HELD_BACK:
        return
    _, first, counts = np.unique(np.asarray(columns.answer), return_index=True, return_counts=True)
    top = int(np.argmax(counts))
    if (share := counts[top] / rows) >= SAME:
        text = f"{share:.0%} of the rows have its answer: a model learns to give only that."
        fix = "add rows with different answers."
        line = columns.line[int(first[top])]
        yield iter([Problem(columns.file, line, "alike", text, fix, "warning")]), 1


def _long(columns: Columns, max_length: int) -> Iterator[Found]:
    places = np.flatnonzero(np.asarray(columns.total) > max_length)
    fix = "shorten it, or raise MAX_LENGTH in .env; longer rows are left out of training."

    def problems() -> Iterator[Problem]:
        for at in places:
            text = f"has {columns.total[at]:,} tokens; MAX_LENGTH is {max_length:,}."
            yield Problem(columns.file, columns.line[at], "too-long", text, fix, "warning")

    yield problems(), len(places)


def _few(columns: Columns) -> Iterator[Found]:
    rows, name = len(columns.line), Path(columns.file).stem.lower()
    held_back = any(word in name for word in ("test", "valid", "eval", "dev"))
    enough = FEW_HELD_BACK if held_back else FEW
    if rows >= enough or (columns.broken and not rows):  # the errors are reported already
        return
    text = f"has {rows} valid rows; fewer than {enough} "
    text += "prove very little." if held_back else "teach very little."
    level: Level = "warning" if rows else "error"
    yield iter([Problem(columns.file, 0, "few", text, "add rows.", level)]), 1
