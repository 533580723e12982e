"""Is there a Mistral key, and does it look like one?

Warns when there is none (the app's offline stand-in answers), when the environment and `.env` hold
different ones, and when its length is unusual. Fails when it cannot be a key: quotes or spaces in
it, `Bearer` before it, or a placeholder.
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
# What keys of others begin with, which are easily pasted here.
_OTHERS = {"hf_": "a Hugging Face token", "sk-": "another provider's key", "gsk_": "a Groq key"}


def check(context: Context) -> Finding:
    key = context.value(_NAME).strip()
    unused = bool(context.value("LLM_BASE_URL"))
    if not key:
        if unused:
            return skipped("none needed: the app uses LLM_BASE_URL")
        return warning("none: the app's offline stand-in answers", _enter(context))
    wrong = _wrong(key)
    if wrong:
        return (warning if unused else failure)(wrong, _enter(context))
    in_file = context.project.dotenv.get(_NAME, "").strip() if context.project else ""
    if in_file and in_file != key:
        return warning("the environment's key wins over another one in .env", _forget(context))
    if not _SHAPE.fullmatch(key) and not context.value("MISTRAL_SERVER_URL"):
        words = f"{len(key)} characters, where a key has 32 letters and digits: copied wholly?"
        return warning(words, _enter(context))
    return ok(f"set in {context.origin(_NAME)} ({len(key)} characters)")


def _wrong(key: str) -> str:
    """Say why this cannot be a key, without a word of it."""
    if key.lower().startswith("bearer"):
        return 'it begins with "Bearer", which the app adds itself'
    if key[0] in "'\"`" or key[-1] in "'\"`":
        return "it has quotes around it"
    if _PLACEHOLDER.search(key):
        return "it is a placeholder, not a key"
    if re.search(r"\s", key):
        return "it has spaces in it"
    if not key.isascii():
        return "it has letters that no key has"
    other = next((words for start, words in _OTHERS.items() if key.startswith(start)), "")
    return f"it is {other}, not Mistral's" if other else ""


def _enter(context: Context) -> str:
    if context.origin(_NAME) == "the environment":
        return f"set {_NAME} anew, with a key from {_CONSOLE}"
    if context.project:
        return f"edit .env: put a key from {_CONSOLE} after {_NAME}="
    return f"open {_CONSOLE} and make a key: a project keeps it in .env"


def _forget(context: Context) -> str:
    return f"Remove-Item Env:{_NAME}" if context.system == "windows" else f"unset {_NAME}"
