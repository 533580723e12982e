"""Is the Mistral key accepted, and can it use the project's models?

Fails when the key is refused, or when the chat model does not exist. Warns when a model is
deprecated, when the embedding model does not exist, and when the quota is used up. Skipped without
a key, and when the app uses another server.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding, Status, failure, ok, skipped, warning
from hackkit.network.blocked import Site, why_blocked
from hackkit.network.fetch import Reply, fetch, within
from hackkit.project.context import Context
from hackkit.system.command_line import hackkit
from hackkit.system.wording import counted

TITLE = "Mistral models"
CATEGORY = Category.SERVICES
ONLINE = True
SECONDS = 5.0

_ADDRESS = "https://api.mistral.ai"
_CONSOLE = "open https://console.mistral.ai"
_CHAT, _EMBED = "mistral-small-latest", "mistral-embed"
_APP_SECONDS = 2.0  # for the project's own code, after the request


@dataclass(frozen=True)
class _Card:
    """What the API lists about one model."""

    name: str
    aliases: tuple[str, ...] = ()
    retires: str = ""
    replacement: str = ""

    def answers_to(self, name: str) -> bool:
        return name in {self.name, *self.aliases}


def check(context: Context) -> Finding:
    key = context.value("MISTRAL_API_KEY").strip()
    if context.value("LLM_BASE_URL"):
        return skipped("not needed: the app uses LLM_BASE_URL")
    if not key:
        return skipped("not checked: there is no key")
    url = (context.value("MISTRAL_SERVER_URL") or _ADDRESS).rstrip("/") + "/v1/models"
    reply = fetch(url, context.env, {"Authorization": f"Bearer {key}"})
    if not reply.answered:
        return skipped("not checked: Mistral's API cannot be reached")
    blocked = why_blocked(reply, Site(url, "MISTRAL_SERVER_URL", context.system))
    if blocked:
        return Finding(Status.WARN, blocked)
    return _refusal(reply, context) or _about(reply, context)


def _refusal(reply: Reply, context: Context) -> Finding | None:
    again = hackkit("doctor", "--only", "mistral-models", folder=context.folder)
    if reply.refuses_key:
        return failure(f"the key is refused ({reply.status})", f"{_CONSOLE} and make a new key")
    if reply.status == 429:  # noqa: PLR2004 - "Too Many Requests"
        wait = reply.headers.get("retry-after", "")
        when = f" for {wait} s" if wait.isdecimal() else ""
        left = _quota(reply)
        message = f"too many requests{when}" + (f"; left: {', '.join(left)}" if left else "")
        return warning(message, again)
    if reply.status >= 500:  # noqa: PLR2004 - a server error
        message = f"Mistral answers with a server error ({reply.status})"
        return warning(message, "open https://status.mistral.ai")
    if reply.status != 200 or not _cards(reply):  # noqa: PLR2004 - "OK"
        return warning(f"Mistral did not return a list of models (status {reply.status})", again)
    return None


def _about(reply: Reply, context: Context) -> Finding:
    cards = _cards(reply)
    left = _quota(reply)
    details = (*(f"left: {each}" for each in left), *sorted(card.name for card in cards))
    chat, embed = _chosen(context)
    for name, variable, missing in ((chat, "CHAT_MODEL", failure), (embed, "EMBED_MODEL", warning)):
        matching = [card for card in cards if card.answers_to(name)]
        if name and not matching:
            message = f"the key can use {counted(len(cards), 'model')}, but not {name}"
            return missing(message, _choose(variable, _similar(name, cards)), details=details)
        if name and all(card.retires or card.replacement for card in matching):
            message, better = _deprecated(name, matching[0])
            return warning(message, _choose(variable, better), details=details)
    spent = [each for each in left if each.startswith("0 ")]
    if spent:
        return warning(f"the quota is used up: {', '.join(spent)} left", _CONSOLE, details=details)
    rest = f"; left: {', '.join(left)}" if left else ""
    names = " and ".join(filter(None, (chat, embed)))
    return ok(f"{counted(len(cards), 'model')}, with {names}{rest}", details)


def _chosen(context: Context) -> tuple[str, str]:
    """Return the project's chat and embedding models; outside a project, the usual ones."""
    app = within(context.app, _APP_SECONDS)
    if app and not app.problem and app.provider == "mistral":
        return app.chat_model, app.embed_model
    embed = context.value("EMBED_MODEL") or _EMBED
    return context.value("CHAT_MODEL") or _CHAT, "" if embed == "none" else embed


def _deprecated(name: str, card: _Card) -> tuple[str, str]:
    message = f"{name} is deprecated" + (f" (until {card.retires[:10]})" if card.retires else "")
    return message, card.replacement


def _similar(name: str, cards: tuple[_Card, ...]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only after a mistake

    names = [each for card in cards for each in (card.name, *card.aliases)]
    usual = [each for each in (_EMBED if "embed" in name else _CHAT,) if each in names]
    return next(iter(get_close_matches(name, names, 1) or usual), "")


def _choose(variable: str, name: str) -> str:
    return f"edit .env: set {variable}={name}" if name else f"edit .env: set another {variable}"


def _quota(reply: Reply) -> list[str]:
    """Return the remaining quotas that the headers name: ["58 req/minute"]."""
    return [
        f"{value} {name.partition('-remaining-')[2].replace('-', '/')}"
        for name, value in sorted(reply.headers.items())
        if name.startswith("x-ratelimit") and "-remaining-" in name and value.isdecimal()
    ]


def _cards(reply: Reply) -> tuple[_Card, ...]:
    content = reply.json()
    listed = content.get("data") if isinstance(content, dict) else None
    return tuple(_read(listed)) if isinstance(listed, list) else ()


def _read(listed: list[object]) -> Iterator[_Card]:
    for each in listed:
        if isinstance(each, Mapping) and each.get("id"):
            aliases = each.get("aliases")
            yield _Card(
                name=str(each["id"]),
                aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else (),
                retires=str(each.get("deprecation") or ""),
                replacement=str(each.get("deprecation_replacement_model") or ""),
            )
