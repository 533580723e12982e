"""Is there a Mistral key, and does it look valid?

Warns when there is none (the app then runs in offline mode), when the environment and `.env` have
different ones, and when its length is unusual. Fails when it cannot be a key: it has quotes or
spaces, starts with `Bearer`, or is a placeholder.
"""

import re

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.project.context import Context

TITLE = "Mistral key"
CATEGORY = Category.SERVICES

_NAME = "MISTRAL_API_KEY"
_CONSOLE = "https://console.mistral.ai"
_SHAPE = re.compile(r"[A-Za-z0-9]{32}")
_PLACEHOLDER = re.compile(
    r"(?i)your|change.?me|place.?holder|example|replace|api.?key|^(.)\1+$|\.\.\.|^<.*>$"
)
# How keys of other services start, which are easily pasted by mistake.
_OTHERS = {"hf_": "a Hugging Face token", "sk-": "another provider's key", "gsk_": "a Groq key"}


def check(context: Context) -> Finding:
    key = context.value(_NAME).strip()
    unused = bool(context.value("LLM_BASE_URL"))
    if not key:
        if unused:
            return skipped("none needed: the app uses LLM_BASE_URL")
        return warning("none: the app runs in offline mode", _enter(context))
    wrong = _wrong(key)
    if wrong:
        return (warning if unused else failure)(wrong, _enter(context))
    in_file = context.project.dotenv.get(_NAME, "").strip() if context.project else ""
    if in_file and in_file != key:
        return warning(
            "the environment and .env have different keys: the app uses the one in the environment",
            context.shell.unset(_NAME),
        )
    if not _SHAPE.fullmatch(key) and not context.value("MISTRAL_SERVER_URL"):
        message = f"{len(key)} characters, but a key has 32 letters and digits: is it complete?"
        return warning(message, _enter(context))
    return ok(f"set in {context.origin(_NAME)} ({len(key)} characters)")


def _wrong(key: str) -> str:
    """Say why this cannot be a key, without quoting it."""
    if key.lower().startswith("bearer"):
        return 'it starts with "Bearer", which the app adds itself'
    if key[0] in "'\"`" or key[-1] in "'\"`":
        return "it has quotes around it"
    if _PLACEHOLDER.search(key):
        return "it is a placeholder, not a key"
    if re.search(r"\s", key):
        return "it has spaces in it"
    if not key.isascii():
        return "it has letters that are not ASCII"
    other = next((message for start, message in _OTHERS.items() if key.startswith(start)), "")
    return f"it is {other}, not Mistral's" if other else ""


def _enter(context: Context) -> str:
    if context.origin(_NAME) == "the environment":
        return f"set {_NAME} to a key from {_CONSOLE}"
    if context.project:
        return f"edit .env: put a key from {_CONSOLE} after {_NAME}="
    return f"open {_CONSOLE} and make a key; in a project, put it in .env"
