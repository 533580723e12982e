"""The test server must be as strict as the real API, or tests pass where a demo fails."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_mistralai import ChatMistralAI
from mistral_server import (
    CHAT,
    TRANSCRIPTIONS,
    Body,
    MistralServer,
    calls,
    hanging,
    slowly,
    status,
    text,
    transcript,
    truncated,
)
from mistralai.client import Mistral
from mistralai.client.models import File

KEY = "NotARealKeyNotARealKeyNotARealKe"
ADD = {"a": 2, "b": 3}
TOOL: Body = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER: Body = {"role": "user", "content": "Add."}
RESULT: Body = {"role": "tool", "content": "5", "tool_call_id": "aaaaaaaa1"}


def call(call_id: str = "aaaaaaaa1", name: str = "add") -> Body:
    return {"id": call_id, "function": {"name": name, "arguments": "{}"}}


def assistant(*tool_calls: Body, content: str = "") -> Body:
    return {"role": "assistant", "content": content, "tool_calls": list(tool_calls)}


def seen(chunk: Body) -> Body:
    return {"role": "user", "content": [{"type": "text", "text": "See."}, chunk]}


@pytest.fixture(scope="module")
def only() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def server(only: MistralServer) -> MistralServer:
    only.requests.clear()
    only.replies.clear()
    return only


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
        [USER, assistant(call()), RESULT],
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
def test_a_well_formed_conversation_is_accepted(
    server: MistralServer, messages: list[Body]
) -> None:
    assert sent(server, messages, tools=[TOOL]) == 200


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([USER, assistant(call("call_abc123")), RESULT | {"tool_call_id": "call_abc123"}], 400),
        ([USER, assistant(call()), RESULT | {"tool_call_id": "bbbbbbbb1"}], 400),
        ([USER, assistant(call()), RESULT, RESULT], 400),
        ([USER, assistant(call(), call()), RESULT, RESULT], 400),
        ([USER, assistant(call()), USER], 400),
        ([USER, assistant(call(), call("aaaaaaaa2")), RESULT], 400),
        ([USER, assistant(call(), call("aaaaaaaa2")), RESULT, assistant(content="5"), USER], 400),
        ([USER, assistant(call()), RESULT, USER], 400),
        ([USER, RESULT], 400),
        ([USER, assistant(content="5")], 400),
        ([USER, assistant(), USER], 400),
        ([], 400),
        ([seen({"type": "image_url", "image_url": "data:image/png;base64,oops!"})], 400),
        ([seen({"type": "image_url", "image_url": "file:///etc/passwd"})], 400),
        ([seen({"type": "image", "base64": "iVBORw0KGgo="})], 422),
        ([seen({"type": "text", "text": "See.", "id": "lc_1"})], 422),
        ([USER, assistant(call() | {"name": "add"}), RESULT], 422),
        ([USER, assistant(call()), RESULT | {"status": "success"}], 422),
        ([USER | {"id": "1"}], 422),
    ],
)
def test_requests_that_the_real_api_refuses_are_refused(
    server: MistralServer, messages: list[Body], code: int
) -> None:
    assert sent(server, messages) == code


def test_tools_need_unique_valid_names(server: MistralServer) -> None:
    named = TOOL | {"function": TOOL["function"] | {"name": "add numbers"}}
    assert sent(server, [USER], tools=[TOOL, TOOL]) == 400
    assert sent(server, [USER], tools=[named]) == 400


def test_a_model_without_vision_takes_no_image(server: MistralServer) -> None:
    image = seen({"type": "image_url", "image_url": PIXEL})
    assert sent(server, [image], model="codestral-latest") == 400


@pytest.mark.parametrize("pieces", [1, 3])
def test_mistrals_client_reads_streamed_calls(server: MistralServer, pieces: int) -> None:
    server.will(calls(("add", ADD), ("add", "{oops"), text="I add.", pieces=pieces))
    client = Mistral(api_key=KEY, server_url=server.url)
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


def test_mistrals_client_reads_calls_without_streaming(server: MistralServer) -> None:
    server.will(calls(("add", ADD), ("add", ADD), thinking="Two and three."))
    client = Mistral(api_key=KEY, server_url=server.url)
    [choice] = client.chat.complete(model="mistral-small-latest", messages=[USER]).choices
    assert choice.message and choice.message.tool_calls
    assert [one.function.arguments for one in choice.message.tool_calls] == ['{"a": 2, "b": 3}'] * 2
    assert isinstance(choice.message.content, list)
    assert choice.message.content[0].type == "thinking"
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize("streaming", [True, False])
def test_langchain_calls_tools_and_sends_the_results_back(
    server: MistralServer, streaming: bool
) -> None:
    server.will(calls(("add", ADD), ("add", ADD), text="I add.", thinking="Hm."), text("5 and 5."))
    chat = model(server, disable_streaming=not streaming)
    messages: list[BaseMessage] = [HumanMessage("Add.")]
    messages.append(chat.invoke(messages))
    assert isinstance(messages[1], AIMessage)
    assert [one["args"] for one in messages[1].tool_calls] == [ADD, ADD]
    assert messages[1].response_metadata["finish_reason"] == "tool_calls"
    assert messages[1].text == "I add."
    messages += [ToolMessage("5", tool_call_id=one["id"]) for one in messages[1].tool_calls]
    assert chat.invoke(messages).content == "5 and 5."


def test_a_limit_of_tokens_cuts_a_call_off(server: MistralServer) -> None:
    server.will(truncated("add", ADD))
    [raw] = (answer := model(server).invoke("Add.")).additional_kwargs["tool_calls"]
    assert raw["function"]["arguments"] == '{"a": 2, "'
    assert answer.response_metadata["finish_reason"] == "length"


def test_a_roughly_compatible_server_calls_tools_too() -> None:
    with MistralServer(deviant=True) as loose:
        loose.will(calls(("add", ADD)), calls(("add", ADD), pieces=3))
        whole, dealt = (model(loose).invoke("Add.") for _ in range(2))
        assert [one["args"] for one in whole.tool_calls] == [ADD]
        assert whole.tool_calls[0]["id"].startswith("call_")
        assert "finish_reason" not in whole.response_metadata
        [raw] = dealt.additional_kwargs["tool_calls"]
        assert raw["function"]["arguments"] == '{"a": 2, "b": 3}'


def test_the_answer_may_depend_on_the_messages() -> None:
    def answer(messages: list[Body]) -> Any:
        return "Done." if "stop" in messages[-1]["content"] else calls(("add", ADD))

    with MistralServer(answer) as scripted:
        chat = model(scripted)
        ids = [chat.invoke("Go on.").tool_calls[0]["id"] for _ in range(2)]
        assert len(set(ids)) == 2, "an endless loop needs new ids"
        assert chat.invoke("Now stop.").content == "Done."


def test_a_streamed_error_is_an_httpx_error(server: MistralServer) -> None:
    server.will(status(429, retry_after=2))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        model(server).invoke("Add.")
    assert caught.value.response.status_code == 429
    assert caught.value.response.headers["retry-after"] == "2"


def test_a_hanging_request_ends_when_the_server_closes() -> None:
    with ThreadPoolExecutor() as pool:
        with MistralServer() as server:
            server.will(hanging())
            answer = pool.submit(sent, server, [USER])
            while not server.requests:
                time.sleep(0.001)
            assert not answer.done()
        assert isinstance(answer.exception(), httpx.RemoteProtocolError)


def test_a_slow_model_pauses_between_words(server: MistralServer) -> None:
    pauses: list[float] = []
    server.will(slowly("One two three four.", 0.05, pauses.append))
    words = [chunk.text for chunk in model(server).stream("Count.") if chunk.text]
    assert words == ["One ", "two ", "three ", "four."]
    assert pauses[-4:] == [0.05] * 4


def test_a_recording_arrives_complete_and_its_text_comes_back(server: MistralServer) -> None:
    recording = bytes(range(256)) + b"\r\n--\r\n\r\r\n"
    client = Mistral(api_key=KEY, server_url=server.url).audio.transcriptions
    file = File(file_name="a.wav", content=recording)
    first = client.complete(model="voxtral-mini-latest", file=file)
    server.will(transcript("Stop."), path=TRANSCRIPTIONS)
    assert client.complete(model="voxtral-mini-latest", file=file).text == "Stop."
    assert first.text == "Add the numbers 2 and 3."
    assert server.requests[0].body["file"]["content"] == recording
