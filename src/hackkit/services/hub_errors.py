"""What the Hugging Face hub means when it refuses, and what to do about it."""

from hackkit.errors import HackkitError
from hackkit.system.command_line import hackkit

TOKENS = (
    "open https://huggingface.co/settings/tokens, make a token that may write, "
    "and put it into .env as HF_TOKEN"
)
STATUS_PAGE = "open https://status.huggingface.co"
_AGAIN = hackkit("deploy", "spaces")


class RefusedError(HackkitError):
    """The hub's answer to a request: its HTTP status, and what it means."""

    def __init__(self, status: int, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.status = status


class RateLimitError(RefusedError):
    """The hub wants fewer requests."""

    def __init__(self, seconds: int = 0) -> None:
        wait = f"wait {_span(seconds)}" if seconds else "wait a few minutes"
        problem = "Hugging Face wants fewer requests for a while (429)."
        super().__init__(429, problem, fix=f"{wait}, then: {_AGAIN}")


def refusal(status: int, said: str, about: str, origin: str) -> RefusedError:
    """Return what a refusal means.

    said: the hub's own words, without secrets. about: the Space that it is about. origin: where
    the token was found.
    """
    if status == 429:  # noqa: PLR2004 - "Too Many Requests"
        return RateLimitError()
    if status >= 500:  # noqa: PLR2004 - the hub's own trouble
        return RefusedError(status, f"Hugging Face has trouble of its own ({status}).", STATUS_PAGE)
    meanings = {
        401: (f"Hugging Face does not take the token in {origin}.", TOKENS),
        402: ("Hugging Face wants to be paid for this.", "open https://huggingface.co/pro"),
        403: (
            f"The token in {origin} may not write to {about}.",
            f"{TOKENS}; for a Space of your own: {hackkit('deploy', 'spaces', '--space', 'NAME')}",
        ),
        404: (f"There is no Space {about}, or the token may not see it.", _AGAIN),
        409: (
            f"The name {about} is taken.",
            hackkit("deploy", "spaces", "--space", "ANOTHER-NAME"),
        ),
        412: (f"Somebody else changed {about} at the same time.", _AGAIN),
        413: ("Hugging Face finds this too large.", "git rm --cached -- THE-LARGEST-FILE"),
    }
    problem, fix = meanings.get(status, (f"Hugging Face refuses this ({status}).", STATUS_PAGE))
    own = f" It says: {_line(said)}" if said else ""
    return RefusedError(status, problem + own, fix)


def _line(text: str, most: int = 200) -> str:
    words = " ".join(text.split())
    return words if len(words) <= most else f"{words[:most]}…"


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{-(-seconds // 60)} minutes"  # noqa: PLR2004 - as people say it
