"""Can Mistral's API be reached?

Fails when a key is set and the API cannot be reached: the app could only give offline answers.
Without a key that is a warning. Warns, too, when an answer takes over a second. Skipped when the
app uses another server (`LLM_BASE_URL`).
"""

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.network.blocked import ANOTHER_NETWORK, SLOW, Site, latency, why_blocked
from hackkit.network.fetch import Reply, fetch
from hackkit.project.context import Context

TITLE = "Mistral's API"
CATEGORY = Category.NETWORK
ONLINE = True

_ADDRESS = "https://api.mistral.ai"
_VARIABLE = "MISTRAL_SERVER_URL"


def check(context: Context) -> Finding:
    if context.value("LLM_BASE_URL"):
        return skipped("not needed: the app uses LLM_BASE_URL")
    url = (context.value(_VARIABLE) or _ADDRESS).rstrip("/") + "/v1/models"
    reply = fetch(url, context.env)
    blocked = why_blocked(reply, Site(url, _VARIABLE, context.system))
    bad = failure if context.value("MISTRAL_API_KEY") else warning
    if blocked:
        return bad(blocked.problem, blocked.fix, cause=blocked.cause)
    if reply.status >= 500:  # noqa: PLR2004 - a server error
        return warning(
            f"answers with a server error ({reply.status})", "open https://status.mistral.ai"
        )
    if reply.status == 404 or not isinstance(reply.json(), dict):  # noqa: PLR2004 - "Not Found"
        return bad(*_not_mistral(reply, context))
    if reply.seconds > SLOW:
        return warning(f"answers only after {latency(reply)}", ANOTHER_NETWORK)
    return ok(f"answers in {latency(reply)}")


def _not_mistral(reply: Reply, context: Context) -> tuple[str, str]:
    address = context.value(_VARIABLE).rstrip("/")
    if not address:
        return (
            f"answers with an unexpected status ({reply.status})",
            "open https://status.mistral.ai",
        )
    if address.endswith("/v1"):
        message = f"{_VARIABLE} ends in /v1, which the app adds itself"
        return message, f"edit .env: set {_VARIABLE}={address.removesuffix('/v1')}"
    message = f"the server at {_VARIABLE} is not Mistral's API (status {reply.status})"
    return message, f"edit .env: leave {_VARIABLE} empty, to use {_ADDRESS}"
