"""A small server with Mistral's chat API for models that are loaded in this process.

Not `transformers serve`: its streams lack the finish_reason that Mistral's SDK requires, it names
models only by their folder, and it does not support adapters.
"""

from __future__ import annotations

import json
import secrets
import string
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from tune import prompts
from tune.dataset import Message
from tune.errors import TuneError
from tune.generate import TooLong, UnsupportedMessages

if TYPE_CHECKING:
    from tune.generate import Generator

Body = dict[str, Any]

LETTERS = string.ascii_letters + string.digits  # for a call's id of nine characters, as Mistral's
NEWER = {"developer": "system"}  # role names of other vendors' clients


class Named(BaseModel, extra="allow"):
    """A tool's name, and its other fields."""

    name: str


class Tool(BaseModel, extra="allow"):
    """A tool that the model may call."""

    function: Named


class Ask(BaseModel):
    """A chat request; other fields are ignored."""

    model: str = ""
    messages: list[Body] = Field(min_length=1)
    tools: list[Tool] | None = None
    stream: bool = False
    stop: list[str] | str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


def application(served: Mapping[str, Generator]) -> FastAPI:
    """The server for these models, by name; an unknown name gets the first one."""
    app = FastAPI(title="A tuned model")

    @app.get("/v1/models")
    def models() -> Body:
        return {"object": "list", "data": [_card(name) for name in served]}

    @app.post("/v1/chat/completions", response_model=None)
    async def chat(ask: Ask, request: Request) -> Response:
        name = ask.model if ask.model in served else next(iter(served))
        reply = _start(ask, served[name], name)
        try:  # before the first token, while the status can still report a failure
            first = await run_in_threadpool(next, reply.pieces, "")
        except UnsupportedMessages as error:
            return _refused(422, str(error))
        except TuneError as error:
            return _refused(400 if isinstance(error, TooLong) else 500, str(error))
        except Exception as error:  # other errors of the chat template
            return _refused(422, f"These messages cannot be sent to the model: {error}")
        if ask.stream and not reply.tools:
            return StreamingResponse(_events(reply, first), media_type="text/event-stream")
        return await _whole(reply, first, request, ask.stream)

    return app


@dataclass(frozen=True)
class Reply:
    """One answer in progress."""

    generator: Generator
    messages: list[Message]
    tools: tuple[Body, ...]
    pieces: Any  # a generator of text; `close` cancels it
    about: Body = field(default_factory=dict)  # the fields of every part of the answer

    def ending(self, text: str) -> tuple[str, Body]:
        """The finish reason and the token usage, counted from the texts."""
        tokenizer = self.generator.tokenizer
        tools = list(self.tools) or None
        prompt = tokenizer.apply_chat_template(self.messages, tools=tools, return_dict=True)
        said = len(tokenizer.encode(text, add_special_tokens=False))
        asked = len(prompt["input_ids"])
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        return "length" if said >= self.generator.room(asked) else "stop", usage

    def event(self, delta: Body, finish: str | None = None, usage: Body | None = None) -> str:
        """One part of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event = {**self.about, "object": "chat.completion.chunk", "choices": [choice]}
        return f"data: {json.dumps(event | ({'usage': usage} if usage else {}))}\n\n"


def _start(ask: Ask, generator: Generator, name: str) -> Reply:
    """Start an answer with the request's temperature, token limit and stop sequences."""
    temperature = generator.temperature if ask.temperature is None else ask.temperature
    limit = ask.max_tokens or ask.max_completion_tokens or generator.max_tokens
    own = replace(generator, temperature=temperature, max_tokens=limit)
    roles = [str(each.get("role")) for each in ask.messages]
    pairs = zip(ask.messages, roles, strict=True)
    messages = prompts.with_system([each | {"role": NEWER.get(role, role)} for each, role in pairs])
    tools = tuple(each.model_dump() for each in ask.tools or ())
    about = {"id": secrets.token_hex(16), "created": int(time.time()), "model": name}
    ends = [ask.stop] if isinstance(ask.stop, str) else ask.stop or []
    pieces = until([end for end in ends if end], own.stream(messages, tools=tools))
    return Reply(own, messages, tools, pieces, about)


def until(ends: Sequence[str], pieces: Iterator[str]) -> Iterator[str]:
    """The pieces up to the first stop sequence; a possible start of one is held back."""
    held = ""
    with closing(pieces):  # type: ignore[type-var]
        for piece in pieces:
            held += piece
            if any(end in held for end in ends):
                held = min((held.split(end)[0] for end in ends), key=len)
                break
            starts = (held[-n:] for end in ends for n in range(1, len(end)) if end[:n] == held[-n:])
            rest = max(starts, key=len, default="")
            if said := held.removesuffix(rest):
                yield said
            held = rest
    if held:
        yield held


async def _events(reply: Reply, first: str) -> AsyncIterator[str]:
    """The answer as server-sent events. A client that disconnects cancels it."""
    text = first
    with closing(reply.pieces):
        yield reply.event({"role": "assistant", "content": text})
        async for piece in iterate_in_threadpool(reply.pieces):
            text += piece
            yield reply.event({"content": piece})
        finish, usage = reply.ending(text)
        yield reply.event({"content": ""}, finish, usage)
        yield "data: [DONE]\n\n"


async def _whole(reply: Reply, first: str, request: Request, stream: bool) -> Response:
    """The answer as a whole, or as one event: with tools it may be a tool call."""
    text = first
    with closing(reply.pieces):
        async for piece in iterate_in_threadpool(reply.pieces):
            text += piece
            if await request.is_disconnected():
                break
    finish, usage = reply.ending(text)
    message: Body = {"role": "assistant", "content": text}
    if calls := tool_calls(text, reply.tools):
        finish, message = "tool_calls", {"role": "assistant", "content": "", "tool_calls": calls}
    if stream:
        event = reply.event(message, finish, usage)
        return Response(f"{event}data: [DONE]\n\n", media_type="text/event-stream")
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {**reply.about, "object": "chat.completion", "choices": [choice], "usage": usage}
    return JSONResponse(whole)


def tool_calls(text: str, tools: Sequence[Body]) -> list[Body]:
    """The tool calls in an answer: one or more times a tool's name and its JSON arguments."""
    names = sorted((tool["function"]["name"] for tool in tools), key=len, reverse=True)
    calls: list[Body] = []
    rest = text.strip()
    while rest:
        name = next((name for name in names if rest.startswith(f"{name}{{")), "")
        if not name:
            return []
        try:
            _, end = json.JSONDecoder().raw_decode(rest, len(name))
        except ValueError:
            return []
        function = {"name": name, "arguments": rest[len(name) : end]}
        call_id = "".join(secrets.choice(LETTERS) for _ in range(9))
        calls.append({"id": call_id, "type": "function", "index": len(calls), "function": function})
        rest = rest[end:].lstrip()
    return calls


def _card(name: str) -> Body:
    about = {"id": name, "object": "model", "created": 0, "owned_by": "you", "type": "base"}
    return about | {"capabilities": {"completion_chat": True}}


def _refused(status: int, message: str) -> Response:
    about = {"object": "error", "message": message, "type": "invalid_request_error", "code": None}
    return JSONResponse(about, status)
