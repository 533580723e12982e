"""What a secret looks like: finds secrets in text, and takes them out of text."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_NAMES = re.compile(r"(?i)key|token|secret|passw|credential")
_LEAST = 8  # characters; a shorter value is a word like "none", not a secret
_MASK = "[secret]"
# Whoever finds one of these in a file has found a secret; the group "secret" is what to hide.
_RULES = {
    "a Mistral API key": r"(?i)(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}"
    r"\b(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])[a-z0-9]{32})\b",
    "a bearer token": r"(?i)\bbearer\s+(?P<secret>(?=[\w.~+/-]*[0-9])[\w.~+/-]{20,})",
    "a Hugging Face token": r"\b(?P<secret>hf_[A-Za-z0-9]{30,})",
    "a GitHub token": r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36})",
    "a private key": r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----)",
}
RULES: Mapping[str, re.Pattern[str]] = {name: re.compile(rule) for name, rule in _RULES.items()}
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@:]+(?::[^\s/@]*)?@")


@dataclass(frozen=True)
class Leak:
    """A secret in a text: its kind ("a Mistral API key") and its line, from 1; never itself."""

    kind: str
    line: int


def secrets_among(variables: Mapping[str, str]) -> frozenset[str]:
    """Return the values of variables whose names say that they are secret."""
    return frozenset(
        value.strip()
        for name, value in variables.items()
        if _NAMES.search(name) and len(value.strip()) >= _LEAST and "/" not in value
    )


def leaks(text: str, known: Collection[str] = ()) -> Iterator[Leak]:
    """Yield each secret in a text: what the rules find, and the known ones literally."""
    for kind, rule in RULES.items():
        for match in rule.finditer(text):
            yield Leak(kind, text.count("\n", 0, match.start("secret")) + 1)
    for secret in known:
        position = text.find(secret)
        if position >= 0:
            yield Leak("a secret of this machine", text.count("\n", 0, position) + 1)


def scrub(text: str, known: Collection[str] = ()) -> str:
    """Return the text without secrets: known ones, what the rules find, passwords in addresses."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    for rule in RULES.values():
        text = rule.sub(lambda match: match.group().replace(match["secret"], _MASK), text)
    return _USER_IN_URL.sub(f"{_MASK}@", text)
