"""Calls to a model: retries, the rate limit, and error messages that users may see."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from plumbing.settings import ModelSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

GLANCE = 0.1  # seconds between two calls of `stop` during a pause


class ModelUnavailable(Exception):
    """The model did not answer. The text may be shown to users; the log has the cause."""


class Stopped(BaseException):
    """Raised to cancel a request; must not be caught on the way."""


class Clock:
    """Reads the time and waits, in seconds; a test passes one on which waiting takes no time."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


CLOCK = Clock()


def retry(
    call: Callable[[], T],
    model: str,
    settings: ModelSettings,
    patience: float | None = None,
    stop: Callable[[], None] = lambda: None,
    clock: Clock = CLOCK,
) -> T:
    """Call the model until it works; pause for Retry-After, or twice as long each time.

    `patience` is the limit in seconds for "too many requests"; other errors use the settings'.
    `stop` is called before each try and during the pauses; it may raise Stopped.
    """
    started, pause = clock.now(), settings.backoff
    while True:
        rate_limiter(settings, model).wait(stop, clock)
        try:
            return call()
        except Exception as error:
            wait, pause = _retry_after(error, pause), min(2 * pause, 30.0)
            longest = patience if patience and status(error) == 429 else settings.patience
            if not is_passing(error) or clock.now() + wait - started > longest:
                raise
            log.info("%s: trying again in %.1f s (%s)", model, wait, type(error).__name__)
        _sleep(wait, stop, clock)


class RateLimiter:
    """Rate limiter of one model; also blocks it for a while after a failure."""

    def __init__(self, interval: float) -> None:
        self.interval, self.next_turn, self.closed_until = interval, 0.0, 0.0
        self.lock = threading.Lock()

    def wait(self, stop: Callable[[], None] = lambda: None, clock: Clock = CLOCK) -> None:
        """Wait for a turn of one's own; `stop` may raise, which ends the waiting."""
        with self.lock:
            turn = max(self.next_turn, clock.now())
            self.next_turn = turn + self.interval
        _sleep(turn - clock.now(), stop, clock)


@cache
def rate_limiter(settings: ModelSettings, model: str = "") -> RateLimiter:
    """The limiter of a model; without a name the one of the server, which blocks all its models."""
    limited = settings.provider == "mistral" and settings.requests_per_second
    return RateLimiter(1 / settings.requests_per_second if limited else 0.0)


def _sleep(seconds: float, stop: Callable[[], None], clock: Clock) -> None:
    end = clock.now() + seconds
    stop()
    while (left := end - clock.now()) > 0:
        clock.sleep(min(left, GLANCE))
        stop()


@contextmanager
def polite_errors(
    model: str, settings: ModelSettings, optional: bool = False, clock: Clock = CLOCK
) -> Iterator[None]:
    """Turn any error of a request into ModelUnavailable, and log the cause.

    `optional`: the app works without this model, so after a 404 it is not requested again.
    """
    server, own = rate_limiter(settings), rate_limiter(settings, model)
    if clock.now() < max(server.closed_until, own.closed_until):
        raise ModelUnavailable("The model did not answer a moment ago.")
    try:
        yield
    except Exception as error:
        if is_passing(error):
            away = status(error) is None  # then the server is, with all its models
            (server if away else own).closed_until = clock.now() + settings.cooldown
        elif optional and status(error) == 404:
            own.closed_until = math.inf
        cause = f"{type(error).__name__}: {error}"
        log.warning("%s failed: %s", model, without_keys(cause, settings))
        raise ModelUnavailable(_message(error, model)) from None


def without_keys(text: str, settings: ModelSettings) -> str:
    """Replace every API key in a text with *** (some servers repeat a rejected key)."""
    for secret in (settings.mistral_api_key, settings.llm_api_key):
        key = secret.get_secret_value().strip()
        text = text.replace(key, "***") if key else text
    return text


def status(error: Exception) -> int | None:
    """The HTTP status of the server's response; None when there was no response."""
    # Both SDKs put it on the error, httpx on the response. The body has no common format.
    code = getattr(error, "status_code", None)
    return getattr(getattr(error, "response", None), "status_code", None) if code is None else code


def is_passing(error: Exception) -> bool:
    """Whether to retry: too many requests, a server error (5xx), or no connection."""
    code = status(error)
    if code is not None:
        return code in {408, 425, 429} or code >= 500
    names = {base.__name__ for base in type(error).__mro__}  # both httpx and httpx2 use these
    return bool(names & {"TransportError", "APIConnectionError", "OSError"})


def _retry_after(error: Exception, default: float) -> float:
    headers = getattr(getattr(error, "response", error), "headers", {})
    try:
        return max(0.0, float(headers.get("retry-after", default)))
    except ValueError:  # an HTTP date: rare, so use our own pause
        return default


def _message(error: Exception, model: str) -> str:
    code = status(error)
    if code in {401, 403}:
        return "The model refused the API key."
    if code == 429:
        return "The model is busy: too many requests."
    if code is not None and code >= 500:
        return "The model's service has a problem."
    if code is not None and code >= 400:
        return f"The model {model} did not accept the request."
    if is_passing(error):
        return "The model could not be reached."
    return "The model's answer could not be read."
