"""Does the server at `LLM_BASE_URL` answer, and does it have the project's models?

Fails when it cannot be reached, is not OpenAI-compatible, refuses the key, or lacks the chat model.
Warns when it does not answer in time, and when it lacks the embedding model: search then uses
keywords only. Skipped when the variable
is not set; with `--offline` only a server on this machine is checked.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from hackkit.doctor.findings import Category, Finding, Status, failure, ok, skipped, warning
from hackkit.network.blocked import Site, why_blocked
from hackkit.network.fetch import Kind, Reply, fetch, within
from hackkit.network.urls import is_address, is_loopback
from hackkit.project.context import Context
from hackkit.system.command_line import line

TITLE = "LLM server"
CATEGORY = Category.SERVICES
SECONDS = 6.0

_NAME = "LLM_BASE_URL"
_CHAT, _EMBED = "ministral-3:8b", "mistral-embed"
_OLLAMA_PORT = 11434
_APP_SECONDS = 1.5  # for the project's own code, after the requests


def check(context: Context) -> Finding:
    base = context.value(_NAME).strip().rstrip("/")
    if not base:
        return skipped(f"{_NAME} is not set")
    if context.offline and is_address(base) and not is_loopback(base):
        return skipped("not checked: --offline")
    reply = _ask(base, context)
    if _lacks_v1(reply, base, context):
        return failure(f"{_NAME} does not end in /v1", f"edit .env: set {_NAME}={base}/v1")
    return _problem(reply, base, context) or _about(reply, base, context)


def _lacks_v1(reply: Reply, base: str, context: Context) -> bool:
    odd = reply.answered and reply.status in {200, 404} and _models(reply) is None
    return odd and not base.endswith("/v1") and _models(_ask(f"{base}/v1", context)) is not None


def _ask(base: str, context: Context) -> Reply:
    key = context.value("LLM_API_KEY").strip()
    return fetch(f"{base}/models", context.env, {"Authorization": f"Bearer {key}"} if key else {})


def _problem(reply: Reply, base: str, context: Context) -> Finding | None:
    if reply.kind in {Kind.REFUSED, Kind.TIMEOUT, Kind.UNREACHABLE}:
        bad = warning if reply.kind is Kind.TIMEOUT else failure
        return bad(reply.error, no_answer_fix(base))
    blocked = why_blocked(reply, Site(base, _NAME, context.system, pages=is_loopback(base)))
    if blocked:
        return Finding(Status.FAIL, blocked)
    if reply.refuses_key:
        key = "the key in LLM_API_KEY" if context.value("LLM_API_KEY") else "requests without a key"
        fix = "edit .env: set LLM_API_KEY to a key of that server"
        return failure(f"it refuses {key} ({reply.status})", fix)
    if reply.status == 429 or reply.status >= 500:  # noqa: PLR2004 - busy, or a server error
        return warning(f"it answers {reply.status}", f"open {base}/models in a browser")
    if _models(reply) is None:
        message = f"no OpenAI-compatible server answers there (status {reply.status})"
        return failure(message, f"edit .env: set {_NAME}, for Ollama to http://localhost:11434/v1")
    return None


def _about(reply: Reply, base: str, context: Context) -> Finding:
    models = _models(reply) or []
    names = [str(model.get("id", "")) for model in models]
    if any(model.get("owned_by") == "llamacpp" for model in models):
        return ok(f"llama.cpp answers with {', '.join(names)}")  # it ignores the name of the model
    chat, embed = _chosen(context)
    details = (f"it has: {', '.join(names) or 'no model'}",)
    if not _has(chat, names):
        return failure(
            f"it lacks {chat}", missing_model_fix(chat, "CHAT_MODEL", base, names), details=details
        )
    if embed and not _has(embed, names):
        message = f"it has {chat}, but not {embed}: search uses keywords only"
        return warning(message, missing_model_fix(embed, "EMBED_MODEL", base, []), details=details)
    chosen = " and ".join(filter(None, (chat, embed)))
    return ok(f"answers in {reply.seconds * 1000:.0f} ms, has {chosen}", details)


def _chosen(context: Context) -> tuple[str, str]:
    """Return the project's chat and embedding models; outside a project, the template's."""
    app = within(context.app, _APP_SECONDS)
    if app and not app.problem and app.provider == "server":
        return app.chat_model, app.embed_model
    embed = context.value("EMBED_MODEL") or _EMBED
    return context.value("CHAT_MODEL") or _CHAT, "" if embed == "none" else embed


def _has(name: str, names: list[str]) -> bool:
    return name in names or f"{name}:latest" in names


def missing_model_fix(name: str, variable: str, base: str, names: list[str]) -> str:
    """Return how to add the model to the server, or how to choose another."""
    if _is_ollama(base) and name != _EMBED:
        return line(["ollama", "pull", name])
    if variable == "EMBED_MODEL":
        return f"edit .env: set {variable} to an embedding model of that server, or to none"
    return f"edit .env: set {variable}={names[0]}" if names else "load a model into that server"


def no_answer_fix(base: str) -> str:
    """Return how to start the server."""
    if _is_ollama(base) and is_loopback(base):
        return "ollama serve"
    return f"start the server there, or edit .env: set {_NAME} to where it is"


def _is_ollama(base: str) -> bool:
    return urlsplit(base).port == _OLLAMA_PORT


def _models(reply: Reply) -> list[Mapping[str, object]] | None:
    """Return the models that a server lists; None when the answer is no such list."""
    content = reply.json() if reply.status == 200 else None  # noqa: PLR2004 - "OK"
    if not isinstance(content, dict) or "data" not in content:
        return None
    listed = content["data"] or []  # null for Ollama without a model
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else None
