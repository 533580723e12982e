"""The test server must be as strict as the real API, or tests pass where a demo fails."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_mistralai import ChatMistralAI
from mistral_server import CHAT, Body, MistralServer, calls, slowly, status, text
from mistralai.client import Mistral

KEY = "NotARealKeyNotARealKeyNotARealKe"
ADD = {"a": 2, "b": 3}
TOOL: Body = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER: Body = {"role": "user", "content": "Add."}
RESULT: Body = {"role": "tool", "content": "5", "tool_call_id": "aaaaaaaa1"}


def call(call_id: str = "aaaaaaaa1") -> Body:
    return {"id": call_id, "function": {"name": "add", "arguments": "{}"}}


def assistant(*tool_calls: Body, content: str = "") -> Body:
    return {"role": "assistant", "content": content, "tool_calls": list(tool_calls)}


def seen(part: Body) -> Body:
    return {"role": "user", "content": [{"type": "text", "text": "See."}, part]}


@pytest.fixture(scope="module")
def only() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


def sent(server: MistralServer, messages: list[Body], **more: Any) -> int:
    """The server's status for these messages."""
    body = {"model": "mistral-small-latest", "messages": messages} | more
    headers = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(server.url + CHAT, json=body, headers=headers, timeout=60).status_code


def model(server: MistralServer, **more: Any) -> Any:
    values: dict[str, Any] = {"model": "mistral-small-latest", "api_key": KEY, "timeout": 60}
    chat = ChatMistralAI(base_url=f"{server.url}/v1", **(values | {"streaming": True} | more))
    return chat.bind_tools([TOOL])


@pytest.mark.parametrize(
    "messages",
    [
        [
            USER,
            assistant(call(), call("aaaaaaaa2")),
            RESULT | {"tool_call_id": "aaaaaaaa2"},
            RESULT,
        ],
        [USER, assistant(call(), content="I add."), RESULT, assistant(content="5"), USER],
        [USER, {"role": "assistant", "content": "The sum", "prefix": True}],
        [seen({"type": "image_url", "image_url": PIXEL})],
        [seen({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})],
    ],
)
def test_a_well_formed_conversation_is_accepted(only: MistralServer, messages: list[Body]) -> None:
    assert sent(only, messages, tools=[TOOL]) == 200


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([USER, assistant(call("call_abc123")), RESULT | {"tool_call_id": "call_abc123"}], 400),
        ([USER, assistant(call()), RESULT | {"tool_call_id": "bbbbbbbb1"}], 400),
        ([USER, assistant(call(), call()), RESULT, RESULT], 400),
        ([USER, assistant(call()), USER], 400),
        ([USER, assistant(call()), RESULT, USER], 400),
        ([USER, RESULT], 400),
        ([USER, assistant(content="5")], 400),
        ([USER, assistant(), USER], 400),
        ([], 400),
        ([seen({"type": "image_url", "image_url": "data:image/png;base64,oops!"})], 400),
        ([seen({"type": "image", "base64": "iVBORw0KGgo="})], 422),
        ([seen({"type": "text", "text": "See.", "id": "lc_1"})], 422),
        ([USER, assistant(call()), RESULT | {"status": "success"}], 422),
    ],
)
def test_requests_that_the_real_api_refuses_are_refused(
    only: MistralServer, messages: list[Body], code: int
) -> None:
    assert sent(only, messages) == code


def test_names_of_models_and_tools_are_checked(only: MistralServer) -> None:
    named = TOOL | {"function": TOOL["function"] | {"name": "add numbers"}}
    assert sent(only, [USER], tools=[TOOL, TOOL]) == 400
    assert sent(only, [USER], tools=[named]) == 400
    assert sent(only, [USER], model="mistral-tiny") == 400


@pytest.mark.parametrize("pieces", [1, 3])
def test_mistrals_client_reads_streamed_calls(only: MistralServer, pieces: int) -> None:
    only.will(calls(("add", ADD), ("add", "{oops"), text="I add.", pieces=pieces))
    client = Mistral(api_key=KEY, server_url=only.url)
    events = list(client.chat.stream(model="mistral-small-latest", messages=[USER]))
    choices = [event.data.choices[0] for event in events]
    called = [one for choice in choices for one in choice.delta.tool_calls or []]
    assert "".join(str(choice.delta.content or "") for choice in choices) == "I add."
    for index, arguments in enumerate(['{"a": 2, "b": 3}', "{oops"]):
        parts = [one for one in called if one.index == index]
        assert "".join(str(one.function.arguments) for one in parts) == arguments
        assert [one.function.name for one in parts] == ["add"] + [""] * (pieces - 1)
        assert {len(str(one.id)) for one in parts} == {9}
    assert choices[-1].finish_reason == "tool_calls"
    assert events[-1].data.usage and events[-1].data.usage.completion_tokens


@pytest.mark.parametrize("streaming", [True, False])
def test_langchain_calls_tools_and_sends_the_results_back(
    only: MistralServer, streaming: bool
) -> None:
    only.will(calls(("add", ADD), ("add", ADD), text="I add."), text("5 and 5."))
    chat = model(only, disable_streaming=not streaming)
    messages: list[BaseMessage] = [HumanMessage("Add.")]
    messages.append(chat.invoke(messages))
    assert isinstance(messages[1], AIMessage)
    assert [one["args"] for one in messages[1].tool_calls] == [ADD, ADD]
    messages += [ToolMessage("5", tool_call_id=one["id"]) for one in messages[1].tool_calls]
    assert chat.invoke(messages).content == "5 and 5."


def test_a_roughly_compatible_server_calls_tools_too() -> None:
    with MistralServer(deviant=True) as loose:
        loose.will(calls(("add", ADD)), calls(("add", ADD), pieces=3))
        whole, dealt = (model(loose).invoke("Add.") for _ in range(2))
        assert [one["args"] for one in whole.tool_calls] == [ADD]
        assert len(whole.tool_calls[0]["id"]) > 9
        assert "finish_reason" not in whole.response_metadata
        [raw] = dealt.additional_kwargs["tool_calls"]
        assert raw["function"]["arguments"] == '{"a": 2, "b": 3}'


def test_a_streamed_error_is_an_httpx_error(only: MistralServer) -> None:
    only.will(status(429, retry_after=2))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        model(only).invoke("Add.")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["retry-after"] == "2"


def test_a_slow_model_pauses_between_words(only: MistralServer) -> None:
    pauses: list[float] = []
    only.will(slowly("One two three four.", 0.05, pauses.append))
    words = [chunk.text for chunk in model(only).stream("Count.") if chunk.text]
    assert words == ["One ", "two ", "three ", "four."]
    assert pauses[-4:] == [0.05] * 4
