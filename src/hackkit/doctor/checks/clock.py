"""Is this machine's clock right?

Compares it with the Date header of Mistral's server. Warns from one minute on, fails from five:
certificates and tokens then count as expired.
"""

from email.utils import parsedate_to_datetime

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.network import fetch
from hackkit.network.blocked import SET_CLOCK
from hackkit.project.context import Context

TITLE = "Clock"
CATEGORY = Category.MACHINE
ONLINE = True

_SERVER = "https://api.mistral.ai"
_WARNS, _FAILS = 60, 300  # seconds


def check(context: Context) -> Finding:
    # No secret is sent, and with a wrong clock no certificate is valid: none is checked.
    url = context.value("MISTRAL_SERVER_URL") or _SERVER
    reply = fetch.fetch(url, context.env, verify=False)
    try:
        right = parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return skipped(f"nothing to compare with: {reply.error or 'the answer has no Date'}")
    # The Date is cut to whole seconds, and was set about half the answer's time ago.
    ahead = context.now() - right - 0.5 - reply.seconds / 2
    if abs(ahead) < _WARNS:
        return ok(
            f"right to within {max(round(abs(ahead)), 1)} s",
            ("compared with the Date header of the answer",),
        )
    message = f"{_length(abs(ahead))} {'ahead' if ahead > 0 else 'behind'}"
    fix = SET_CLOCK.get(context.system, SET_CLOCK["linux"])
    return failure(message, fix) if abs(ahead) >= _FAILS else warning(message, fix)


def _length(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
