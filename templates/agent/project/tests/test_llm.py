from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import QUICK
from mistral_server import CHAT, MistralServer, calls, hanging, text
from PIL import Image

from agent import memory, runner
from agent.events import Answer, Draft, Event, Result, Task, Usage
from agent.settings import Settings, cost

ASKED = "What is 2 * 21?"


def do(task: Task, settings: Settings) -> list[Event]:
    events = runner.run(memory.new_id(), task, settings)
    return [event for event in events if not isinstance(event, Draft)]


@pytest.fixture
def local() -> Iterator[MistralServer]:
    with MistralServer(deviant=True) as server:
        yield server


@pytest.fixture
def own(local: MistralServer, settings: Settings) -> Settings:
    """Your own server, which is only roughly compatible, as Ollama is."""
    changes = {"llm_base_url": f"{local.url}/v1", "chat_model": "ministral-3:8b"}
    return Settings(**(settings.model_dump() | changes))


def test_your_own_server_can_call_tools(own: Settings, local: MistralServer) -> None:
    local.will(calls(("calculate", {"expression": "2 * 21"})), text("It is 42."))
    events = do(Task(ASKED), own)
    assert [event.text for event in events if isinstance(event, Result)] == ["42"]
    [answer] = [event for event in events if isinstance(event, Answer)]
    assert answer == Answer("It is 42.", "ministral-3:8b")
    assert local.requests[-1].body["model"] == "ministral-3:8b"


def test_calls_streamed_in_pieces_are_joined(own: Settings, local: MistralServer) -> None:
    both = ("calculate", {"expression": "2 * 21"}), ("calculate", {"expression": "3 * 3"})
    local.will(calls(*both, pieces=4), text("42 and 9."))
    events = do(Task(ASKED), own)
    assert sorted(event.text for event in events if isinstance(event, Result)) == ["42", "9"]


def test_the_cost_of_an_unknown_model_is_none(own: Settings, local: MistralServer) -> None:
    local.will(text("Hello."))
    assert isinstance(usage := do(Task("Hi."), own)[-1], Usage)
    assert usage.cost is None


def test_prices_are_for_a_million_tokens() -> None:
    assert cost(1_000_000, 0, "mistral-small-latest") == 0.15
    assert cost(0, 1_000_000, "mistral-small-latest") == 0.60
    assert cost(1, 1, "another-model") is None


def test_requests_are_valid_for_the_real_api(online: Settings, server: MistralServer) -> None:
    server.will(calls(("calculate", {"expression": "2 * 21"})), text("42."))
    do(Task(ASKED), online)
    first = next(request for request in server.requests if request.path == CHAT)
    assert first.body["model"] == "mistral-small-latest"
    assert first.body["max_tokens"] == online.max_tokens
    assert first.headers["authorization"].startswith("Bearer NotARealKey")
    assert {"calculate", "write_file"} <= {t["function"]["name"] for t in first.body["tools"]}


def test_a_silent_server_times_out(settings: Settings) -> None:
    with MistralServer() as server:
        quick = QUICK | {"timeout": 0.2, "patience": 0}
        silent = Settings(
            mistral_api_key="k",
            mistral_server_url=server.url,
            memory_dir=settings.memory_dir,
            **quick,
        )
        server.will(hanging())
        [answer] = [event for event in do(Task(ASKED), silent) if isinstance(event, Answer)]
    assert answer.notice == "The model could not be reached."
    assert "42" in answer.text


def test_a_picture_reaches_the_model(
    online: Settings, server: MistralServer, tmp_path: Path
) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "pixel.gif")
    server.will(text("One pixel."))
    do(Task("", (str(tmp_path / "pixel.gif"),)), online)
    [words, picture] = server.requests[-1].body["messages"][-1]["content"]
    assert words["type"] == "text"
    assert picture["image_url"]["url"].startswith("data:image/jpeg;base64,")
