"""Tests the server's API with three vendors' clients and a model that repeats the question."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from conftest import Tuned

from tune import serve, server
from tune.errors import TuneError
from tune.runs import Record, Run
from tune.serve import Address

ROOT = Path(__file__).parent.parent
QUESTION = [{"role": "user", "content": "one two three"}]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


class Words:
    """A tokenizer with one token per word."""

    def apply_chat_template(self, messages: Sequence[Any], **_: object) -> dict[str, list[int]]:
        return {"input_ids": [0] * sum(len(each["content"].split()) for each in messages)}

    def encode(self, text: str, **_: object) -> list[str]:
        return text.split()


@dataclass(frozen=True)
class Parrot:
    """A model that repeats the question, slowly on request, and records its input."""

    max_tokens: int = 100
    temperature: float = 0.0
    received: list[Any] = field(default_factory=list)
    tokenizer: Words = field(default_factory=Words)

    def room(self, asked: int) -> int:
        return self.max_tokens

    def stream(self, messages: Sequence[Any], *, tools: Sequence[Any] = ()) -> Iterator[str]:
        self.received.append((list(messages), self.temperature))
        if messages[-1]["role"] not in {"user", "tool"}:
            raise ValueError("no question")
        try:
            for word in messages[-1]["content"].split()[: self.max_tokens]:
                time.sleep(0.05 if word == "slow" else 0)
                yield f"{word} "
            self.received.append("all said")
        finally:
            self.received.append("ended")


@pytest.fixture(scope="module")
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture(scope="module")
def url(parrot: Parrot) -> Iterator[str]:
    served: dict[str, Any] = {"tuned": parrot, "base": Parrot(max_tokens=1)}
    with serve.background(served) as address:
        yield address.url.removesuffix("/v1")


def post(url: str, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/chat/completions", json={"messages": QUESTION} | body, timeout=60)


def until(done: Callable[[], bool]) -> None:
    """Wait, but not forever."""
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        time.sleep(0.02)


# Three vendors' clients


def test_mistrals_strict_sdk_reads_list_answer_and_stream(url: str) -> None:
    from mistralai.client import Mistral

    client = Mistral(api_key="none", server_url=url)
    assert [model.id for model in client.models.list().data or []] == ["tuned", "base"]
    whole: Any = client.chat.complete(model="tuned", messages=QUESTION)  # type: ignore[arg-type]
    assert whole.choices[0].message.content == "one two three "
    events: Any = client.chat.stream(model="tuned", messages=QUESTION)  # type: ignore[arg-type]
    choices = [event.data.choices[0] for event in events]
    assert "".join(choice.delta.content for choice in choices) == "one two three "
    assert choices[-1].finish_reason == "stop"


def test_openais_client_reads_answer_and_stream(url: str) -> None:
    from openai import OpenAI

    client: Any = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    whole = client.chat.completions.create(model="tuned", messages=QUESTION)
    assert whole.choices[0].message.content == "one two three "
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 3)
    parts = client.chat.completions.create(model="tuned", messages=QUESTION, stream=True)
    assert "".join(part.choices[0].delta.content for part in parts) == "one two three "


def test_langchains_client_reads_answer_and_stream(url: str) -> None:
    langchain = pytest.importorskip("langchain_mistralai")
    client = langchain.ChatMistralAI(model="tuned", base_url=f"{url}/v1", api_key="none")
    assert client.invoke("one two three").content == "one two three "
    assert "".join(part.content for part in client.stream("one two")) == "one two "


# Requests


def test_an_unknown_model_name_gets_the_tuned_model(url: str) -> None:
    assert post(url, model="gpt-9").json()["model"] == "tuned"


def test_the_base_can_be_asked_by_its_name(url: str) -> None:
    answer = post(url, model="base").json()["choices"][0]
    assert answer["message"]["content"] == "one "


def test_an_answer_that_reaches_the_limit_says_so(url: str) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        answer = post(url, **{limit: 2}).json()["choices"][0]
        assert (answer["message"]["content"], answer["finish_reason"]) == ("one two ", "length")


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ("two", "one "),
        (["three", "two thr"], "one "),  # across two pieces, and the earlier of both
        (["two four", ""], "one two three "),  # a partial match is not cut
        ("one", ""),
    ],
)
def test_an_answer_ends_before_a_stop_sequence(url: str, stop: Any, said: str) -> None:
    answer = post(url, stop=stop).json()["choices"][0]
    assert (answer["message"]["content"], answer["finish_reason"]) == (said, "stop")
    events = post(url, stop=stop, stream=True).text.split("data: ")[1:-1]
    parts = [json.loads(event)["choices"][0]["delta"]["content"] for event in events]
    assert "".join(parts) == said


def test_a_stop_sequence_stops_the_model(url: str, parrot: Parrot) -> None:
    parrot.received.clear()
    post(url, stop="two")
    assert parrot.received[1:] == ["ended"]


def test_the_temperature_of_the_request_is_used(url: str, parrot: Parrot) -> None:
    post(url, temperature=0.7)
    assert ([*QUESTION], 0.7) in parrot.received


def test_a_developers_message_is_the_system_message(url: str, parrot: Parrot) -> None:
    post(url, messages=[{"role": "developer", "content": "be brief"}, *QUESTION])
    system = {"role": "system", "content": "be brief"}
    assert ([system, *QUESTION], 0.0) in parrot.received


def test_a_wrong_request_is_refused_with_a_reason(url: str) -> None:
    assert post(url, messages=[]).status_code == 422
    assert post(url, messages="hello").status_code == 422
    assert post(url, tools=[{"type": "web_search"}]).status_code == 422
    refused = post(url, messages=[{"role": "assistant", "content": "hm"}])
    assert refused.status_code == 422
    assert "no question" in refused.json()["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_disconnects_cancels_the_answer(
    url: str, parrot: Parrot, stream: bool
) -> None:
    parrot.received.clear()
    asked = [{"role": "user", "content": "slow " * 2000}]
    body = {"messages": asked, "stream": stream, "max_tokens": 2000}
    address = url.removeprefix("http://").split(":")
    text = json.dumps(body)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    with socket.create_connection((address[0], int(address[1]))) as line:
        line.sendall((head + text).encode())
        until(lambda: bool(parrot.received))  # the answer has started
    until(lambda: "ended" in parrot.received)
    assert "ended" in parrot.received and "all said" not in parrot.received


# Tool calls


def test_a_tool_call_is_returned_as_a_tool_call(url: str) -> None:
    asked = [{"role": "user", "content": 'add{"a": 1}'}]
    for tools, reason in (([TOOL], "tool_calls"), ([], "stop")):
        choice = post(url, messages=asked, tools=tools).json()["choices"][0]
        assert choice["finish_reason"] == reason


def test_the_strict_sdk_reads_a_streamed_call(url: str) -> None:
    from mistralai.client import Mistral

    asked: Any = [{"role": "user", "content": 'add{"a": 1}'}]
    tools: Any = [TOOL]
    client = Mistral(api_key="none", server_url=url)
    events: Any = client.chat.stream(model="tuned", messages=asked, tools=tools)
    [call] = [call for event in events for call in event.data.choices[0].delta.tool_calls or []]
    assert (call.function.name, call.function.arguments) == ("add", '{"a": 1}')
    assert len(call.id) == 9 and call.id.isalnum()


def test_several_calls_are_separated() -> None:
    tools = [TOOL, {"type": "function", "function": {"name": "add_all"}}]
    calls = server.tool_calls('add{"a": "}{"} add_all{"b": [1]}', tools)
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
        ("add", '{"a": "}{"}'),
        ("add_all", '{"b": [1]}'),
    ]


@pytest.mark.parametrize("text", ["add two numbers", 'add{"a": 1', 'sub{"a": 1}', ""])
def test_text_that_only_looks_like_a_call_stays_text(text: str) -> None:
    assert server.tool_calls(text, [TOOL]) == []


# The command


def test_a_taken_port_is_reported_before_anything_is_loaded(tmp_path: Path) -> None:
    run = Run(tmp_path / "mine")
    run.write(Record("ministral-3b", state="done"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TuneError, match=f"Port {port}") as caught:
            serve.serve(run, Address(port=port))
    assert caught.value.fix == f"--port {port + 1}"


def test_an_address_for_all_interfaces_is_shown_as_loopback() -> None:
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80/v1"
    assert Address("::1", 80).url == "http://[::1]:80/v1"


def test_a_server_that_others_can_reach_says_so() -> None:
    assert "no key" in serve.env_lines(["mine"], Address("0.0.0.0"))
    assert "no key" not in serve.env_lines(["mine"], Address())


# The real model


def test_the_tuned_model_and_its_base_answer_under_their_names(tuned: Tuned) -> None:
    served: dict[str, Any] = dict(serve.generators(tuned.run, tuned.settings))
    asked = [{"role": "user", "content": "Is parcel the same as van?"}]
    expected = served[tuned.run.name].answer(asked).text
    with serve.background(served) as address:
        url = address.url.removesuffix("/v1")
        names = [each["id"] for each in httpx2.get(f"{url}/v1/models").json()["data"]]
        answers = [
            post(url, model=name, messages=asked).json()["choices"][0]["message"]["content"]
            for name in names
        ]
        odd = post(url, messages=[{"role": "narrator", "content": "Meanwhile"}])
    assert odd.status_code == 422 and "cannot be sent to the model" in odd.json()["message"]
    assert names == [tuned.run.name, tuned.base.name]
    assert answers[0] == expected != answers[1]


def test_only_a_question_beyond_the_context_is_too_long(tuned: Tuned) -> None:
    served: dict[str, Any] = dict(serve.generators(tuned.run, tuned.settings))
    with serve.background(served) as address:
        url = address.url.removesuffix("/v1")
        long = [{"role": "user", "content": "parcel " * 20_000}]
        refused = [post(url, messages=long, stream=stream) for stream in (True, False)]
        whole = post(url, max_tokens=10**9).json()
    assert [each.status_code for each in refused] == [400, 400]
    assert all("the model reads 4,096" in each.json()["message"] for each in refused)
    assert whole["choices"][0]["finish_reason"] == "stop"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
def test_the_command_serves_until_ctrl_c_and_prints_the_lines_for_env(tuned: Tuned) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tune.serve", tuned.run.name, "--port", str(port)]
    program = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end and program.poll() is None:
            try:  # the port is open from the start; it answers when the weights are loaded
                if httpx2.get(f"http://127.0.0.1:{port}/v1/models", timeout=60).is_success:
                    break
            except httpx2.HTTPError:
                time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        printed = program.communicate(timeout=60)[1]
    finally:
        program.kill()
    assert f"LLM_BASE_URL=http://127.0.0.1:{port}/v1\nCHAT_MODEL={tuned.run.name}\n" in printed
    assert "Stopped." in printed and "Traceback" not in printed
    assert program.returncode == 130
