"""What a secret looks like: finds secrets in text, and takes them out of text."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_NAMES = re.compile(r"(?i)key|token|secret|passw|credential")
_PLACE = re.compile(r"[/~.\\]|[A-Za-z]:[\\/]|\w+://")  # a path or an address: KEY_FILE, TOKEN_URL
_LEAST = 8  # characters; a shorter value is a word like "none", not a secret
_LEAST_TELLING = 12  # characters; a shorter value may stand in a file by chance
_MASK = "[secret]"
# Whoever finds one of these in a file has found a secret; the group "secret" is what to hide.
# A project's .pre-commit-config.yaml stops the same ones.
_RULES = {
    # (Mistral3ForConditionalGeneration is a class, and has 32 letters and digits by chance.)
    "a Mistral API key": r"(?i)(?:mistral|api.?key)[^\n]{0,60}(?:\n[^\n]{0,20}){0,2}"
    r"\b(?P<secret>(?=[a-z]*[0-9])(?=[0-9]*[a-z])(?!\w+(?:generation|classification)\b)"
    r"[a-z0-9]{32})\b",
    "a bearer token": r"(?i)\bbearer\s+(?P<secret>(?=[\w.~+/-]*[0-9])[\w.~+/-]{20,})",
    "a Hugging Face token": r"\b(?P<secret>hf_[A-Za-z0-9]{30,})",
    "a GitHub token": r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36})",
    "a private key": r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----)",
}
RULES: Mapping[str, re.Pattern[str]] = {name: re.compile(rule) for name, rule in _RULES.items()}
KNOWN = "a secret of this machine"
# Where a leaked secret is replaced by a new one.
PAGES: Mapping[str, str] = {
    "a Mistral API key": "https://console.mistral.ai",
    "a Hugging Face token": "https://huggingface.co/settings/tokens",
    "a GitHub token": "https://github.com/settings/tokens",
}
# A rule is tried only on a text with one of its words: that is many times faster.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "a Mistral API key": ("mistral", "api"),
    "a bearer token": ("bearer",),
    "a Hugging Face token": ("hf_",),
    "a GitHub token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "a private key": ("private key-----",),
}
_HARMLESS_ENV = (".example", ".sample", ".template", ".dist")  # names without values
_LOCKS = re.compile(r"(?:[\w-]+\.lock|package-lock\.json|pnpm-lock\.yaml|go\.sum)")
_USER_IN_URL = re.compile(r"(?<=://)[^\s/@:]+(?::[^\s/@]*)?@")


@dataclass(frozen=True)
class Leak:
    """A secret in a text: its kind ("a Mistral API key") and its line, from 1; never itself."""

    kind: str
    line: int


def is_secret_name(name: str) -> bool:
    """Tell whether a variable of this name holds a secret."""
    return _NAMES.search(name) is not None


def secrets_among(variables: Mapping[str, str]) -> frozenset[str]:
    """Return the values of variables whose names say that they are secret."""
    return frozenset(
        value.strip()
        for name, value in variables.items()
        if is_secret_name(name) and len(value.strip()) >= _LEAST and not _PLACE.match(value.strip())
    )


def telling(secrets: Collection[str]) -> frozenset[str]:
    """Return those that no file holds by chance: not words like "not-needed"."""
    return frozenset(
        secret
        for secret in secrets
        if len(secret) >= _LEAST_TELLING and re.search(r"[0-9]", secret) and not secret.isdigit()
    )


def is_env_file(path: str) -> bool:
    """Tell whether a path is that of a file for variables with their values."""
    name = path.rsplit("/", 1)[-1]
    return name == ".env" or (name.startswith(".env.") and not name.endswith(_HARMLESS_ENV))


def is_lock(path: str) -> bool:
    """Tell whether a path is that of a lock file: long, made by a tool, and full of checksums."""
    return _LOCKS.fullmatch(path.rsplit("/", 1)[-1]) is not None


def suspicious(text: str) -> bool:
    """Tell, quickly, whether a text may hold what a rule finds."""
    lowered = text.lower()
    return any(word in lowered for words in _WORDS.values() for word in words)


def leaks(text: str, known: Collection[str] = ()) -> Iterator[Leak]:
    """Yield each secret in a text: what the rules find, and the known ones literally."""
    lowered = text.lower()
    for kind, rule in RULES.items():
        if any(word in lowered for word in _WORDS[kind]):
            for match in rule.finditer(text):
                yield Leak(kind, text.count("\n", 0, match.start("secret")) + 1)
    yield from known_leaks(text, known)


def known_leaks(text: str, known: Collection[str]) -> Iterator[Leak]:
    """Yield each place where one of the known secrets stands."""
    for secret in known:
        position = text.find(secret)
        while position >= 0:
            yield Leak(KNOWN, text.count("\n", 0, position) + 1)
            position = text.find(secret, position + len(secret))


def scrub(text: str, known: Collection[str] = ()) -> str:
    """Return the text without secrets: known ones, what the rules find, passwords in addresses."""
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    for rule in RULES.values():
        text = rule.sub(lambda match: match.group().replace(match["secret"], _MASK), text)
    return _USER_IN_URL.sub(f"{_MASK}@", text)
