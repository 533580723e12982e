import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import httpx2
import pytest
from mistralai.client.errors import SDKError
from pydantic import SecretStr

from plumbing.retries import Clock, ModelUnavailable, Stopped, polite_errors, retry, without_keys

URL = "http://localhost/v1/chat/completions"
MODEL = "mistral-small-latest"
KEY = "NotARealKeyNotARealKeyNotARealKe"


@dataclass(frozen=True)
class Quick:
    """Settings with short waits. Gates are cached by settings, so each test has its own."""

    test: str
    provider: str = "mistral"
    mistral_api_key: SecretStr = SecretStr("")
    llm_api_key: SecretStr = SecretStr("")
    requests_per_second: float = 0
    patience: float = 1
    backoff: float = 0.01
    cooldown: float = 0


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> Quick:
    return Quick(request.node.name)


def refused(code: int, **headers: str) -> httpx.HTTPStatusError:
    """The error that langchain-mistralai raises; the response has the status and the headers."""
    request = httpx.Request("POST", URL)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(code, headers=names, request=request)
    return httpx.HTTPStatusError(f"Error response {code}", request=request, response=response)


def sdk_error(code: int) -> SDKError:
    """The error that Mistral's own client raises."""
    response = httpx2.Response(code, request=httpx2.Request("POST", URL))
    return SDKError("API error occurred", response)


@dataclass
class FastClock(Clock):
    """A clock that only sleeping moves on; no test waits for it."""

    time: float = 0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


class Call:
    """Fails with these errors, one after the other, and then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.tries = list(errors), 0

    def __call__(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "Now."


def stop_at(glance: int) -> Callable[[], None]:
    """A `stop` that raises on its n-th call."""
    left = [None] * (glance - 1)

    def stop() -> None:
        if not left:
            raise Stopped
        left.pop()

    return stop


def shown(settings: Quick, error: Exception, model: str = MODEL, **how: Any) -> str:
    """The message that users see when a request to the model fails."""
    with pytest.raises(ModelUnavailable) as caught, polite_errors(model, settings, **how):
        raise error
    return str(caught.value)


# Retries


@pytest.mark.parametrize(
    "error",
    [
        refused(408),
        refused(425),
        refused(429),
        refused(500),
        sdk_error(503),
        httpx.ConnectError("no"),
        httpx.ReadTimeout("no"),
        httpx2.ConnectError("no"),
        httpx2.ReadTimeout("no"),
        ConnectionResetError("no"),
    ],
)
def test_a_passing_failure_is_tried_again(
    settings: Quick, clock: FastClock, error: Exception
) -> None:
    assert retry(Call(error, error), MODEL, settings, clock=clock) == "Now."


@pytest.mark.parametrize(
    "error", [refused(401), refused(404), sdk_error(422), ValueError("not JSON")]
)
def test_a_permanent_failure_is_not_retried(settings: Quick, error: Exception) -> None:
    call = Call(error)
    with pytest.raises(type(error)):
        retry(call, MODEL, settings)
    assert call.tries == 1


def test_the_server_says_how_long_to_wait(settings: Quick, clock: FastClock) -> None:
    assert retry(Call(refused(429, retry_after="0.25")), MODEL, settings, clock=clock) == "Now."
    assert clock.now() == pytest.approx(0.25)


def test_the_rate_limit_may_be_waited_for_longer_than_a_broken_server(
    settings: Quick, clock: FastClock
) -> None:
    hasty = replace(settings, patience=0)
    limits = Call(refused(429), refused(429))
    assert retry(limits, MODEL, hasty, patience=60, clock=clock) == "Now."
    with pytest.raises(httpx.HTTPStatusError):
        retry(Call(refused(500)), MODEL, hasty, patience=60)


def test_requests_are_spaced_out(settings: Quick, clock: FastClock) -> None:
    limited, times = replace(settings, requests_per_second=4), list[float]()
    for _ in range(4):
        retry(lambda: times.append(clock.now()), MODEL, limited, clock=clock)
    assert times == pytest.approx([0, 0.25, 0.5, 0.75])


# Stopping


def test_a_stop_ends_the_wait_for_the_rate_limit(settings: Quick, clock: FastClock) -> None:
    slow = replace(settings, requests_per_second=1 / 60)
    retry(Call(), MODEL, slow, clock=clock)
    call = Call()
    with pytest.raises(Stopped):
        retry(call, MODEL, slow, stop=stop_at(3), clock=clock)
    assert call.tries == 0
    assert clock.now() < 1


def test_a_stop_is_not_a_failure_of_the_model(settings: Quick) -> None:
    resting = replace(settings, cooldown=60)
    with pytest.raises(Stopped), polite_errors(MODEL, resting):
        raise Stopped
    with polite_errors(MODEL, resting):
        assert retry(Call(), MODEL, resting) == "Now."


# Messages, and the pause after a failure


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(401), "The model refused the API key."),
        (refused(422), f"The model {MODEL} did not accept the request."),
        (refused(429), "The model is busy: too many requests."),
        (refused(503), "The model's service has a problem."),
        (httpx.ConnectError("no"), "The model could not be reached."),
        (httpx2.ReadTimeout("no"), "The model could not be reached."),
        (ValueError("not JSON"), "The model's answer could not be read."),
    ],
)
def test_a_failure_gives_a_polite_message(settings: Quick, error: Exception, expected: str) -> None:
    assert shown(settings, error) == expected


def test_after_a_failure_only_that_model_pauses(settings: Quick, clock: FastClock) -> None:
    resting = replace(settings, cooldown=20)
    shown(resting, refused(500), clock=clock)
    clock.sleep(19)
    after = shown(resting, refused(401), clock=clock)
    assert after == "The model did not answer a moment ago."
    assert shown(resting, refused(401), "another", clock=clock) == "The model refused the API key."
    clock.sleep(1)
    assert shown(resting, refused(401), clock=clock) == "The model refused the API key."


def test_a_missing_model_is_requested_again_unless_it_is_optional(settings: Quick) -> None:
    for _ in range(2):
        assert shown(settings, refused(404)).endswith("did not accept the request.")
    shown(settings, refused(404), "mistral-embed", optional=True)
    after = shown(settings, refused(404), "mistral-embed", optional=True)
    assert after == "The model did not answer a moment ago."


def test_a_key_in_an_error_message_is_not_logged(
    settings: Quick, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = replace(settings, mistral_api_key=SecretStr(KEY), llm_api_key=SecretStr("other"))
    shown(secret, ValueError(f"Incorrect API keys: {KEY}, other"))
    assert "Incorrect API keys: ***, ***" in caplog.text
    assert KEY not in caplog.text
    assert without_keys("nothing to hide", settings) == "nothing to hide"
