"""A Mistral-compatible server on localhost: as strict as the real API, and can fail on demand."""

import asyncio
import json
import math
import re
import secrets
import socket
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, takewhile
from typing import Any, NamedTuple

import uvicorn
from mistralai.client import models
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse, Response, StreamingResponse

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
KNOWN: dict[str, tuple[Any, str]] = {  # the SDK's model of a request, and the models
    CHAT: (models.ChatCompletionRequest, "mi(ni)?stral-(small|medium|large|8b)-(latest|2512)"),
    EMBEDDINGS: (models.EmbeddingRequest, "mistral-embed"),
    TRANSCRIPTIONS: (models.AudioTranscriptionRequest, "voxtral-mini-transcribe-latest"),
}
PARTS: dict[str, Any] = {"text": models.TextChunk, "image_url": models.ImageURLChunk}
IMAGE = "https?://.+|data:image/[a-z.+-]+;base64,[A-Za-z0-9+/]+={0,2}"
Body = dict[str, Any]  # the JSON of a request, or the fields of a form
Call = tuple[str, Body | str]  # a tool's name and its arguments; a str is sent unchanged


class Request(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: Body


@dataclass(frozen=True)
class Reply:
    """What the model answers, and how it is sent."""

    words: str | list[Any] = ""  # a list: the content of each delta
    pause: float = 0  # seconds before each delta
    sleep: Callable[[float], object] = time.sleep
    calls: tuple[Call, ...] = ()
    pieces: int = 1  # number of deltas for the arguments of a call
    reason: str = "stop"  # empty: the stream ends too early
    end: str = "[DONE]"  # the last event of a stream; empty: the connection is dropped
    delay: float = 0  # seconds before the answer


text = transcript = slowly = Reply
hanging = partial(Reply, delay=3600)
dropped = partial(Reply, "The ", reason="", end="")


def calls(*called: Call, text: str = "", thinking: str = "", pieces: int = 1) -> Reply:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": thinking}]}
    words = [[thought], text] if thinking else text
    return Reply(words, calls=called, pieces=pieces, reason="tool_calls")


def status(code: int, retry_after: float | None = None, message: object = "Scripted") -> Response:
    body = {"object": "error", "message": message, "type": "error", "code": str(code)}
    return JSONResponse(body, code, {"Retry-After": str(retry_after)} if retry_after else {})


def cite_sources(messages: list[Body]) -> str:
    """Quote the first sentence of the first two numbered sources in the last message."""
    marked = r'(?m)^\W*(?:\[|\w+[^>\n]*?")(\d+)[\]"].*\n+(?:#.*\n+)*(.+?[.!?](?=\s)|.+)'
    quotes = re.findall(marked, str(messages[-1]["content"]))[:2]
    said = [f"According to [{number}]: {sentence}" for number, sentence in quotes]
    return "\n\n".join(said) or "The documents do not say."


def embed(words: str) -> list[float]:
    """Hash the longer words into 1,024 dimensions: texts that share words get close vectors."""
    vector = [0.0] * 1024
    for word in re.findall(r"\w{4,}", words.lower()) or [words]:
        vector[zlib.crc32(word.encode()) % 1024] += 1
    length = math.hypot(*vector)
    return [round(x / length, 6) for x in vector]


def require(condition: object, message: str, code: int = 400) -> None:
    if not condition:
        raise ValueError(code, message)


def check(path: str, body: Body) -> None:
    """Refuse a body that the real API would refuse."""
    require(path in KNOWN, "no Route matched with those values", 404)
    shape, names = KNOWN[path]
    shape.model_validate(body, extra="forbid")
    require(re.fullmatch(names, body["model"]), f"Invalid or retired model: {body['model']}")
    sizes = [len(text) // 4 for text in body.get("input", [])]
    require(max(sizes, default=0) <= 8_192 and sum(sizes) <= 16_384, "Too many tokens")
    tools = [tool["function"]["name"] for tool in body.get("tools") or []]
    require(len(set(tools)) == len(tools), "Duplicate tool name")
    require(all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) for name in tools), "Function name")
    if path == CHAT:
        check_messages(body["messages"])


def check_messages(messages: list[Body]) -> None:
    """Check the parts of the contents, the roles, and that results follow their tool calls."""
    contents = [each["content"] for each in messages if isinstance(each.get("content"), list)]
    for part in chain(*contents):
        require(part.get("type") in PARTS, "Input tag does not match", 422)
        PARTS[part["type"]].model_validate(part, extra="forbid")
        url = part.get("image_url", "https://...")
        require(re.fullmatch(IMAGE, url if isinstance(url, str) else url["url"]), "Not an image")
    roles = [message["role"] for message in messages]
    ended = roles and (roles[-1] in ("user", "tool") or messages[-1].get("prefix"))
    require(ended, "Expected last role User or Tool (or Assistant with prefix True)")
    for at, message in enumerate(messages):
        if at and message["role"] == "tool":
            continue
        after = takewhile(lambda each: each["role"] == "tool", messages[at + 1 :])
        results = [each.get("tool_call_id") for each in after]
        following = roles[at + 1 + len(results) :][:1]
        ids = [str(call.get("id")) for call in message.get("tool_calls") or []]
        require(set(ids) == set(results), "Not the same number of function calls and responses")
        unique = len(set(ids)) == len(ids) == len(results)
        valid = unique and all(re.fullmatch("[a-zA-Z0-9]{9}", each) for each in ids)
        require(valid, "Tool call ids must be different, and 9 of a-z, A-Z, 0-9")
        require(message.get("content") or ids, "Neither content nor tool_calls")
        require(not ids or following in ([], ["assistant"]), "Unexpected role after role 'tool'")


class MistralServer:
    """`with MistralServer() as server:` then point the SDK's server_url at `server.url`.

    `answer` gets the messages and returns the text of the answer, or any reply.
    `deviant` answers like local servers that are only roughly compatible: no key, any model name,
    no id, no finish_reason, usage null, tool ids of another length, a last chunk without choices.
    """

    def __init__(self, answer: Callable[..., Any] = cite_sources, deviant: bool = False) -> None:
        self.answer, self.deviant = answer, deviant
        self.requests: list[Request] = []
        self.replies: defaultdict[str, deque[Reply | Response]] = defaultdict(deque)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        # Requests in progress are cancelled when the server closes.
        config = uvicorn.Config(self, log_level=60, lifespan="off", timeout_graceful_shutdown=0)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=[[self.socket]], daemon=True)

    def will(self, *replies: Reply | Response, path: str = CHAT) -> None:
        self.replies[path].extend(replies)

    def __enter__(self) -> "MistralServer":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = Asked(scope, receive)
        path, headers = asked.url.path, dict(asked.headers)
        if path == TRANSCRIPTIONS:
            form: Any = await asked.form()
            file = {"fileName": form["file"].filename, "content": await form["file"].read()}
            body: Body = {"model": form["model"], "file": file}
        else:
            body = await asked.json()
        self.requests.append(Request(path, headers, body))
        try:
            if not self.deviant:
                require(re.match(r"Bearer \S", headers.get("authorization", "")), "No key", 401)
                check(path, body)
            response = await self.respond(path, body)
        except ValueError as error:  # a ValidationError has no arguments
            code, message = error.args or (422, str(error))
            response = status(code, message=message)
        await response(scope, receive, send)

    async def respond(self, path: str, body: Body) -> Response:
        """The next reply in the queue, or the usual one, as JSON or a stream."""
        usual = self.answer if path == CHAT else lambda _: "Add the numbers 2 and 3."
        reply = self.replies[path].popleft() if self.replies[path] else usual(body.get("messages"))
        if isinstance(reply, Response):
            return reply
        reply = Reply(reply) if isinstance(reply, str) else reply
        await asyncio.sleep(reply.delay)
        if path == TRANSCRIPTIONS:
            return JSONResponse(self.whole(body, {"text": reply.words, "language": "en"}))
        if path == EMBEDDINGS:
            vectors = enumerate(map(embed, body["input"]))
            data = [{"object": "embedding", "index": i, "embedding": v} for i, v in vectors]
            return JSONResponse(self.whole(body, {"object": "list", "data": data}))
        if body.get("stream"):
            return StreamingResponse(self.events(body, reply), media_type="text/event-stream")
        said = {"role": "assistant", "content": reply.words, "tool_calls": self.called(reply)}
        return JSONResponse(self.whole(body, {"choices": [{"message": said}]}, reply.reason))

    async def events(self, body: Body, reply: Reply) -> AsyncIterator[str]:
        """The events of a stream; the last delta has the finish reason and the usage."""
        *deltas, last = ([{"index": 0, "delta": delta}] for delta in self.deltas(reply))
        answers = [self.whole(body, {"choices": delta}, "") for delta in deltas]
        answers.append(self.whole(body, {"choices": last}, reply.reason))
        answers += [{"choices": [], "usage": None}] * self.deviant
        for answer in answers:
            await asyncio.to_thread(reply.sleep, reply.pause)
            yield f"data: {json.dumps(answer)}\n\n"
        if not reply.end:
            raise ConnectionError("dropped on purpose")
        yield f"data: {reply.end}\n\n"

    def deltas(self, reply: Reply) -> Iterator[Body]:
        """The deltas of a stream; only the first one of a tool call names the tool."""
        yield {"role": "assistant", "content": ""}
        whole = isinstance(reply.words, str)
        for word in re.findall(r"\s*\S+\s*", reply.words) if whole else reply.words:
            yield {"content": word}
        for call in self.called(reply):
            name, arguments = call["function"].values()
            size = -(-len(arguments) // reply.pieces)
            for part in (arguments[at : at + size] for at in range(0, len(arguments), size)):
                yield {"tool_calls": [call | {"function": {"name": name, "arguments": part}}]}
                call, name = {"index": call["index"]} if self.deviant else call, ""

    def called(self, reply: Reply) -> list[Body]:
        called: list[Body] = []
        for name, given in reply.calls:
            words = given if isinstance(given, str) else json.dumps(given)
            call_id = secrets.token_hex(9)[: 18 if self.deviant else 9]
            function = {"name": name, "arguments": words}
            called.append({"id": call_id, "index": len(called), "function": function})
        return called

    def whole(self, body: Body, answer: Body, reason: str = "stop") -> Body:
        """The answer with the fields that all answers have."""
        answer |= {"model": body["model"], "usage": None}
        if self.deviant:
            return answer
        for choice in answer.get("choices", []):
            choice |= {"index": 0, "finish_reason": reason or None}
        sizes = {"prompt_tokens": len(str(body)) // 4, "completion_tokens": len(str(answer)) // 4}
        usage = sizes | {"total_tokens": sum(sizes.values())}
        fields = {"object": "chat.completion", "id": "made-here", "created": 0}
        return fields | answer | {"usage": usage if reason else None}
