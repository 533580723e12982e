import logging
from typing import Any

import pytest
from conftest import KEY, QUICK
from mistral_server import EMBEDDINGS, MistralServer, Reply, dropped, hanging, status, text
from starlette.responses import Response

from plumbing.retries import ModelUnavailable
from rag import llm
from rag.settings import Settings

QUESTION = [{"role": "user", "content": "Why?"}]


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The same for all tests here, so that each client is created only once."""
    return Settings(**QUICK)


def changed(settings: Settings, **changes: Any) -> Settings:
    return Settings(**(settings.model_dump() | changes))


def own_server(settings: Settings, server: MistralServer) -> Settings:
    """The same server as your own server, at LLM_BASE_URL."""
    changes = {"llm_base_url": f"{server.url}/v1", "llm_api_key": KEY, "mistral_api_key": ""}
    return changed(settings, **changes)


@pytest.fixture(params=["mistral", "server"])
def either(request: pytest.FixtureRequest, online: Settings, server: MistralServer) -> Settings:
    """Both clients, for tests that both must pass."""
    return online if request.param == "mistral" else own_server(online, server)


def said(settings: Settings) -> str:
    return "".join(piece.text for piece in llm.chat(QUESTION, settings))


def refusal(settings: Settings) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        said(settings)
    return str(caught.value)


# Answers


def test_the_answer_is_streamed_with_its_token_counts(
    either: Settings, server: MistralServer
) -> None:
    server.will(text("One two three."))
    pieces = list(llm.chat(QUESTION, either))
    assert [piece.text for piece in pieces if piece.text] == ["One ", "two ", "three."]
    assert sum(piece.tokens_in for piece in pieces) > 0
    assert sum(piece.tokens_out for piece in pieces) > 0


def test_reasoning_is_left_out_of_the_answer(either: Settings, server: MistralServer) -> None:
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hmm."}]}]
    server.will(text([thought, [{"type": "text", "text": "Because"}], "."]))
    assert said(either) == "Because."


def test_a_roughly_compatible_server_works(settings: Settings) -> None:
    with MistralServer(deviant=True) as server:
        loose = changed(
            settings, llm_base_url=f"{server.url}/v1", chat_model="any:1b", embed_model="any"
        )
        assert said(loose) == "The documents do not say."
        [[vector]] = llm.embed(["one"], loose)
        assert len(vector) == 1024
        server.will(status(500), status(500), text("Again."))
        assert said(loose) == "Again."


# Retries and the rate limit


@pytest.mark.parametrize("reply", [status(429), status(500), Response(status_code=503)])
def test_a_temporary_failure_is_retried(
    either: Settings, server: MistralServer, reply: Reply
) -> None:
    server.will(reply, text("Now."))
    assert said(either) == "Now."


def test_a_server_without_embeddings_gets_only_one_request(
    online: Settings, server: MistralServer
) -> None:
    without = changed(online, title="Without embeddings")  # its own gates
    server.will(status(404), path=EMBEDDINGS)
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            next(llm.embed(["one"], without))
    assert len(server.requests) == 1
    assert said(without)


# Failures


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (status(401), "The model refused the API key."),
        (status(422), "The model mistral-small-latest did not accept the request."),
        (Reply("The ", end="{oops"), "The model's answer could not be read."),
        (dropped(), "The model could not be reached."),
    ],
)
def test_a_permanent_failure_gives_a_polite_message_without_a_retry(
    either: Settings, server: MistralServer, reply: Reply, expected: str
) -> None:
    server.will(reply)
    assert refusal(either) == expected
    assert len(server.requests) == 1


def test_a_stream_that_ends_too_early_is_a_failure(online: Settings, server: MistralServer) -> None:
    server.will(Reply("Half an ", reason=""))
    assert refusal(online) == "The model could not be reached."


def test_a_silent_server_is_given_up_in_time(either: Settings, server: MistralServer) -> None:
    server.will(hanging())
    assert refusal(changed(either, timeout=0.1, patience=0)) == "The model could not be reached."


# Embeddings


def test_many_texts_are_sent_in_requests_that_the_api_accepts(
    online: Settings, server: MistralServer
) -> None:
    texts = [f"{number} " + "word " * 400 for number in range(100)]  # 50,000 tokens
    sizes = [len(vectors) for vectors in llm.embed(texts, online)]
    assert sum(sizes) == 100
    assert [len(request.body["input"]) for request in server.requests] == sizes


# The key


@pytest.mark.parametrize("code", [401, 500])
def test_the_key_is_never_shown_or_logged(
    either: Settings, server: MistralServer, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    caplog.set_level(logging.DEBUG)
    server.will(status(code, message=f"Incorrect API key provided: {KEY}"))  # some servers do
    shown = refusal(changed(either, patience=0)) + repr(either) + str(either)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in shown + caplog.text
    assert "***" in caplog.text  # the cause is logged, without the key
