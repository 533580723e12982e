from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Talk, changed, only
from mistral_server import CHAT, MistralServer, calls, hanging, text
from PIL import Image

from agent import runner
from agent.events import Answer, Result, Task
from agent.settings import Settings, cost

ASKED = "What is 2 * 21?"
SUM = ("calculate", {"expression": "2 * 21"})


@pytest.fixture
def local() -> Iterator[MistralServer]:
    with MistralServer(deviant=True) as server:
        yield server


@pytest.fixture
def own(local: MistralServer, settings: Settings) -> Talk:
    """Your own server, which is only roughly compatible, as Ollama is."""
    changes = {"llm_base_url": f"{local.url}/v1", "chat_model": "ministral-3:8b"}
    return Talk(changed(settings, **changes), local)


def test_your_own_server_can_call_tools(own: Talk) -> None:
    own.will(calls(SUM), text("It is 42."))
    events = own.do(ASKED)
    assert only(Result, events).text == "42"
    assert only(Answer, events) == Answer("It is 42.", "ministral-3:8b")
    assert own.server.requests[-1].body["model"] == "ministral-3:8b"
    assert events[-1].cost is None  # the price of this model is unknown


def test_calls_streamed_in_pieces_are_joined(own: Talk) -> None:
    own.will(calls(SUM, ("calculate", {"expression": "3 * 3"}), pieces=4), text("42 and 9."))
    events = own.do(ASKED)
    assert sorted(event.text for event in events if isinstance(event, Result)) == ["42", "9"]


def test_prices_are_for_a_million_tokens() -> None:
    assert cost(1_000_000, 0, "mistral-small-latest") == 0.15
    assert cost(0, 1_000_000, "mistral-small-latest") == 0.60
    assert cost(1, 1, "another-model") is None


def test_requests_are_valid_for_the_real_api(talk: Talk) -> None:
    talk.will(calls(SUM), text("42."))
    talk.do(ASKED)
    first = next(request for request in talk.server.requests if request.path == CHAT)
    assert first.body["model"] == "mistral-small-latest"
    assert first.body["max_tokens"] == talk.settings.max_tokens
    assert first.headers["authorization"].startswith("Bearer NotARealKey")
    assert {"calculate", "write_file"} <= {t["function"]["name"] for t in first.body["tools"]}


def test_a_silent_server_times_out(settings: Settings) -> None:
    with MistralServer() as server:
        slow = {"mistral_api_key": "k", "mistral_server_url": server.url, "patience": 0}
        silent = Talk(changed(settings, **slow, timeout=0.2), server)
        silent.will(hanging())
        answer = only(Answer, silent.do(ASKED))
    assert answer.notice == "The model could not be reached."
    assert "42" in answer.text


def test_a_picture_reaches_the_model(talk: Talk, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.gif")
    talk.will(text("One pixel."))
    list(runner.run(talk.chat, Task("", (str(tmp_path / "pixel.gif"),)), talk.settings))
    [words, picture] = talk.sent()[-1][-1]["content"]
    assert words["type"] == "text"
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
