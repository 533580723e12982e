from collections.abc import Iterator
from typing import Any

import pytest
from mistral_server import CHAT, MistralServer, Reply, dropped, status, text
from starlette.responses import HTMLResponse

from plumbing.retries import ModelUnavailable
from tune import inference
from tune.settings import Settings

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 30, "cooldown": 0}
QUESTION = [{"role": "user", "content": "Where is my parcel?"}]


@pytest.fixture(scope="module")
def server() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture(scope="module")
def local() -> Iterator[MistralServer]:
    """A self-hosted server that is only loosely compatible."""
    with MistralServer(deviant=True) as server:
        yield server


@pytest.fixture(scope="module")
def online(server: MistralServer) -> Settings:
    return Settings(mistral_api_key=KEY, mistral_server_url=server.url, **QUICK)


@pytest.fixture(scope="module")
def own(local: MistralServer, server: MistralServer) -> Settings:
    """A self-hosted server, and a key for the API."""
    return Settings(
        llm_base_url=f"{local.url}/v1",
        chat_model="our-tuned",
        mistral_api_key=KEY,
        mistral_server_url=server.url,
        **QUICK,
    )


def test_the_api_gets_the_right_request(online: Settings, server: MistralServer) -> None:
    server.will(text("It left on Monday."))
    assert list(inference.chat(QUESTION, online)) == ["It ", "left ", "on ", "Monday."]
    body = server.requests[-1].body
    assert (body["model"], body["max_tokens"]) == ("mistral-small-latest", online.max_tokens)
    assert body["messages"] == QUESTION


def test_a_self_hosted_server_is_asked_for_the_named_model(
    own: Settings, local: MistralServer
) -> None:
    local.will(text("Monday."), text("Tuesday."))
    assert "".join(inference.chat(QUESTION, own)) == "Monday."
    assert "".join(inference.chat(QUESTION, own, "its-base")) == "Tuesday."
    assert [request.body["model"] for request in local.requests[-2:]] == ["our-tuned", "its-base"]


def test_with_a_server_the_api_can_still_be_asked(own: Settings, server: MistralServer) -> None:
    online = inference.api(own)
    assert online
    server.will(text("From the API."))
    assert "".join(inference.chat(QUESTION, online)) == "From the API."


def test_without_a_key_there_is_no_api(own: Settings) -> None:
    assert inference.api(Settings(**QUICK)) is None
    assert (
        inference.api(own.model_copy(update={"mistral_api_key": Settings().mistral_api_key}))
        is None
    )


def test_reasoning_is_not_part_of_the_answer(online: Settings, server: MistralServer) -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    server.will(text([thought, [{"type": "text", "text": "Monday."}]]))
    assert "".join(inference.chat(QUESTION, online)) == "Monday."


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (status(401), "refused the API key"),
        (status(400), "did not accept the request"),
        (dropped(), "could not be reached"),
    ],
)
def test_a_failure_gets_a_polite_message(
    online: Settings, server: MistralServer, reply: Reply, said: str
) -> None:
    server.will(reply)
    with pytest.raises(ModelUnavailable, match=said):
        list(inference.chat(QUESTION, online))


def test_a_page_instead_of_an_answer_is_no_answer(own: Settings, local: MistralServer) -> None:
    local.will(HTMLResponse("<html>Welcome to our Wi-Fi</html>"))
    with pytest.raises(ModelUnavailable, match="could not be read"):
        list(inference.chat(QUESTION, own))


def test_a_busy_server_is_asked_again(online: Settings, server: MistralServer) -> None:
    before = len(server.requests)
    server.will(status(429, 0.01), status(503), text("Now."))
    assert list(inference.chat(QUESTION, online)) == ["Now."]
    assert [request.path for request in server.requests[before:]] == [CHAT] * 3
