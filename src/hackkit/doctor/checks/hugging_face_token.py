"""Is the Hugging Face token valid, can it write, and can its account host a Space?

Skipped when there is none: only deploying to Spaces needs one. Warns when it is refused, is
read-only, or belongs to a free account, which cannot have Gradio or Docker Spaces.
"""

from hackkit.doctor.findings import Category, Finding, Status, ok, skipped, warning
from hackkit.network.blocked import Site, why_blocked
from hackkit.network.fetch import Reply, fetch
from hackkit.project.context import Context
from hackkit.services.hub import ADDRESS, token

TITLE = "Hugging Face token"
CATEGORY = Category.SERVICES
ONLINE = True

_TOKENS = "open https://huggingface.co/settings/tokens and make a token with write access"


def check(context: Context) -> Finding:
    secret, where = token(context)
    if not secret:
        return skipped("no token; only a deployment to Spaces needs one")
    url = (context.value("HF_ENDPOINT") or ADDRESS).rstrip("/") + "/api/whoami-v2"
    reply = fetch(url, context.env, {"Authorization": f"Bearer {secret}"})
    if not reply.answered:
        return skipped("not checked: the Hugging Face hub cannot be reached")
    blocked = why_blocked(reply, Site(url, "HF_ENDPOINT", context.system))
    if blocked:
        return Finding(Status.WARN, blocked)
    if reply.status in {401, 403}:
        return warning(f"the token in {where} is refused ({reply.status})", _TOKENS)
    return _about(reply, where)


def _about(reply: Reply, where: str) -> Finding:
    who = reply.json()
    if reply.status != 200 or not isinstance(who, dict):  # noqa: PLR2004 - "OK"
        message = f"the hub answers with an error (status {reply.status})"
        return warning(message, "open https://status.huggingface.co")
    name = str(who.get("name", "unknown"))
    if not _can_write(who):
        return warning(f"{name}'s token is read-only; a deployment needs write access", _TOKENS)
    if not _can_host(who):
        message = f"{name}'s token can write, but the account is free: Gradio Spaces need PRO"
        return warning(message, "open https://huggingface.co/pro")
    return ok(f"{name}'s token can write, on a PRO account", (f"found in {where}",))


def _can_write(who: dict[str, object]) -> bool:
    about = _inside(_inside(who, "auth"), "accessToken")
    if about.get("role") != "fineGrained":
        return about.get("role") in {"write", "admin"}
    scoped = _inside(about, "fineGrained").get("scoped")
    scopes = [each for each in scoped if isinstance(each, dict)] if isinstance(scoped, list) else []
    return any("repo.write" in (scope.get("permissions") or ()) for scope in scopes)


def _can_host(who: dict[str, object]) -> bool:
    """Return whether the account, or one of its organisations, has a paid plan."""
    listed = who.get("orgs")
    teams = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return bool(who.get("isPro")) or any(team.get("isEnterprise") for team in teams)


def _inside(content: dict[str, object], key: str) -> dict[str, object]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}
