"""Turns the Hugging Face hub's error answers into a problem and a fix."""

from hackkit.errors import HackkitError
from hackkit.system.command_line import hackkit

TOKENS = (
    "open https://huggingface.co/settings/tokens, create a token with write access, "
    "and add it to .env as HF_TOKEN"
)
STATUS_PAGE = "open https://status.huggingface.co"
_REPEAT = hackkit("deploy", "spaces")


class RefusedError(HackkitError):
    """The hub refused a request; `status` is the HTTP status."""

    def __init__(self, status: int, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.status = status


class RateLimitError(RefusedError):
    """The hub's rate limit is reached."""

    def __init__(self, seconds: int = 0) -> None:
        wait = f"wait {_in_words(seconds)}" if seconds else "wait a few minutes"
        problem = "The rate limit of Hugging Face is reached (429)."
        super().__init__(429, problem, fix=f"{wait}, then: {_REPEAT}")


def refusal(status: int, message: str, about: str, origin: str) -> RefusedError:
    """Return the error for a refused request.

    message: the hub's own, without secrets. about: the name of the Space. origin: where the token
    was found.
    """
    if status == 429:  # noqa: PLR2004 - "Too Many Requests"
        return RateLimitError()
    if status >= 500:  # noqa: PLR2004 - server errors
        return RefusedError(status, f"Hugging Face has a server error ({status}).", STATUS_PAGE)
    meanings = {
        401: (f"Hugging Face rejected the token in {origin}.", TOKENS),
        402: ("Hugging Face requires payment for this.", "open https://huggingface.co/pro"),
        403: (
            f"The token in {origin} may not write to {about}.",
            f"{TOKENS}; for a Space of your own: {hackkit('deploy', 'spaces', '--space', 'NAME')}",
        ),
        404: (f"There is no Space {about}, or the token may not see it.", _REPEAT),
        409: (
            f"The name {about} is taken.",
            hackkit("deploy", "spaces", "--space", "ANOTHER-NAME"),
        ),
        412: (f"Another deployment changed {about} at the same time.", _REPEAT),
        413: ("The upload is too large for Hugging Face.", "git rm --cached -- THE-LARGEST-FILE"),
    }
    problem, fix = meanings.get(
        status, (f"Hugging Face refused the request ({status}).", STATUS_PAGE)
    )
    details = f" Its message: {_line(message)}" if message else ""
    return RefusedError(status, problem + details, fix)


def _line(text: str, most: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"


def _in_words(seconds: int) -> str:
    return f"{seconds} s" if seconds < 100 else f"{-(-seconds // 60)} minutes"  # noqa: PLR2004 - longer times are easier to read in minutes
