"""Can the Hugging Face hub be reached?

Warns when it cannot, or takes over a second to answer. Only deploying to Spaces and downloading
models need it.
"""

from hackkit.doctor.findings import Category, Finding, Status, ok, warning
from hackkit.network.blocked import ANOTHER_NETWORK, SLOW, Site, latency, why_blocked
from hackkit.network.fetch import fetch
from hackkit.project.context import Context

TITLE = "Hugging Face hub"
CATEGORY = Category.NETWORK
ONLINE = True

_ADDRESS = "https://huggingface.co"
_VARIABLE = "HF_ENDPOINT"
_STATUS_PAGE = "open https://status.huggingface.co"


def check(context: Context) -> Finding:
    url = (context.value(_VARIABLE) or _ADDRESS).rstrip("/") + "/api/models?limit=1"
    reply = fetch(url, context.env)
    blocked = why_blocked(reply, Site(url, _VARIABLE, context.system))
    if blocked:
        return Finding(Status.WARN, blocked)
    if reply.status >= 500 or reply.json() is None:  # noqa: PLR2004 - a server error
        return warning(f"answers with an error (status {reply.status})", _STATUS_PAGE)
    if reply.seconds > SLOW:
        return warning(f"answers only after {latency(reply)}", ANOTHER_NETWORK)
    return ok(f"answers in {latency(reply)}")
