"""Finds personal data and secrets in a text, by their pattern."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


def find(text: str) -> Iterator[tuple[str, str]]:
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
