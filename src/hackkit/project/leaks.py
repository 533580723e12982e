"""Finds secrets in text, and masks them."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from hackkit.project.secret_parts import SETTINGS_FILE
from hackkit.project.secret_rules import RULES, SETTINGS, Rule

_NAMES = re.compile(
    r"(?i)key|token|secret|passw|passphrase|credential|cookie|webhook|dsn$"
    r"|(?:^|_)(?:pat|pass)$|_(?:pwd|auth)$"
)
_ADDRESS_IS_SECRET = re.compile(r"(?i)webhook|dsn$")
_PLACE = re.compile(r"[/~.\\]|[A-Za-z]:[\\/]|\w+://")  # a path or an address: KEY_FILE, TOKEN_URL
_LEAST = 8  # characters; a shorter value is a word like "none", not a secret
_LEAST_UNIQUE = 12  # characters; a shorter value may be in a file by chance
_MASK = "[secret]"
_COMPILED = tuple((rule, re.compile(rule.pattern)) for rule in RULES)
_Rules = tuple[tuple[Rule, re.Pattern[str]], ...]
_IN_SETTINGS = (*_COMPILED, *((rule, re.compile(rule.pattern)) for rule in SETTINGS))
_SETTINGS_FILE = re.compile(SETTINGS_FILE)
PAGES = {rule.name: rule.page for rule in RULES if rule.page}
KNOWN = "a secret of this machine"
_HARMLESS_ENV = (".example", ".sample", ".template", ".dist")  # names without values
_LOCKS = re.compile(r"(?:[\w-]+\.lock|package-lock\.json|pnpm-lock\.yaml|go\.sum)")
_PASSWORD_IN_URL = re.compile(r"://[^\s/@:]*:[^\s/@]+@")
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@:]+(?::[^\s/@]*)?@")


@dataclass(frozen=True)
class Leak:
    """A secret in a text: its kind ("a Mistral API key") and its line, from 1; never itself."""

    kind: str
    line: int


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name holds a secret."""
    return _NAMES.search(name) is not None


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable holds a secret, by its name or by its value."""
    if is_secret_name(name) or _PASSWORD_IN_URL.search(value):
        return True
    return any(leaks(f"{name}={value}", path=".env"))


def secrets_among(variables: Mapping[str, str]) -> frozenset[str]:
    """Return the secret values of variables, and the password inside an address."""
    return frozenset(
        secret
        for name, value in variables.items()
        for secret in _secrets_of(name, value.strip())
        if len(secret) >= _LEAST
    )


def _secrets_of(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name) and not _PLACE.match(value):
        yield value
    if _ADDRESS_IS_SECRET.search(name) and "://" in value:
        yield value
    text, before = f"{name}={value}", len(name) + 1
    for start, end, _ in _matches(text, _IN_SETTINGS):
        yield value
        yield text[max(start, before) : end]


def unique(secrets: Collection[str]) -> frozenset[str]:
    """Return those that no file contains by chance: not words like "not-needed"."""
    return frozenset(
        secret
        for secret in secrets
        if len(secret) >= _LEAST_UNIQUE and re.search(r"[0-9]", secret) and not secret.isdigit()
    )


def is_env_file(path: str) -> bool:
    """Return whether a path is that of a file for variables with their values."""
    name = path.rsplit("/", 1)[-1]
    return name == ".env" or (name.startswith(".env.") and not name.endswith(_HARMLESS_ENV))


def is_lock(path: str) -> bool:
    """Return whether a path is that of a lock file: long, made by a tool, full of checksums."""
    return _LOCKS.fullmatch(path.rsplit("/", 1)[-1]) is not None


def is_settings_file(path: str) -> bool:
    """Return whether a path is that of a file whose values are secret by their names: prod.env."""
    return _SETTINGS_FILE.search(path) is not None


def suspicious(text: str) -> bool:
    """Return, quickly, whether a text may contain what a rule finds."""
    lowered = text.lower()
    return any(word in lowered for rule in RULES for word in rule.keywords)


def leaks(text: str, known: Collection[str] = (), path: str = "") -> Iterator[Leak]:
    """Yield each secret in a text: what the rules find, once, and the known ones literally.

    In a lock file only the known ones are searched; a file of settings has one more rule.
    """
    if not is_lock(path):
        rules = _IN_SETTINGS if is_settings_file(path) else _COMPILED
        for start, _, kind in sorted(_matches(text, rules)):
            yield Leak(kind, text.count("\n", 0, start) + 1)
    yield from known_leaks(text, known)


def _matches(text: str, rules: _Rules) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and kind of each match, without those that overlap an earlier rule's."""
    lowered, taken = text.lower(), list[tuple[int, int]]()
    for rule, pattern in rules:
        if any(word in lowered for word in rule.keywords):
            for match in pattern.finditer(text):
                start, end = _place(match)
                if not any(start < other[1] and other[0] < end for other in taken):
                    taken.append((start, end))
                    yield start, end, rule.name


def known_leaks(text: str, known: Collection[str]) -> Iterator[Leak]:
    """Yield each place of one of the known secrets."""
    for secret in known:
        position = text.find(secret)
        while position >= 0:
            yield Leak(KNOWN, text.count("\n", 0, position) + 1)
            position = text.find(secret, position + len(secret))


def scrub(text: str, known: Collection[str] = ()) -> str:
    """Return the text without secrets: known ones, what the rules find, passwords in addresses."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    for _, pattern in _COMPILED:
        text = pattern.sub(_masked, text)
    return _USER_IN_URL.sub(f"{_MASK}@", text)


def _masked(match: re.Match[str]) -> str:
    start, end = _place(match)
    return match.string[match.start() : start] + _MASK + match.string[end : match.end()]


def _place(match: re.Match[str]) -> tuple[int, int]:
    """Return where the secret of a match is: in its group, or all of it."""
    return match.span(match.lastgroup or 0)
