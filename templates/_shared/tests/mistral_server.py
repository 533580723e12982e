"""A Mistral-compatible server on localhost: as strict as the real API, and can fail on demand."""

import base64
import binascii
import email
import itertools
import json
import re
import select
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from mistralai.client import models
from pydantic import ValidationError

CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
KNOWN = {
    CHAT: ["mistral-small-latest", "mistral-medium-latest", "mistral-large-latest"]
    + ["codestral-latest", "ministral-3b-2512", "ministral-8b-2512", "ministral-14b-2512"],
    EMBEDDINGS: ["mistral-embed"],
    TRANSCRIPTIONS: ["voxtral-mini-latest"],
}
BLIND = ["codestral-latest"]  # takes no images
RETIRED = ["open-mistral-7b", "open-mixtral-8x7b", "open-mistral-nemo", "mistral-small-2506"]
REQUESTS: dict[str, Any] = {
    CHAT: models.ChatCompletionRequest,
    EMBEDDINGS: models.EmbeddingRequest,
    TRANSCRIPTIONS: models.AudioTranscriptionRequest,
}
# The SDK's own model of a message accepts any chunk of content.
CHUNKS: dict[str, Any] = {
    "text": models.TextChunk,
    "thinking": models.ThinkChunk,
    "image_url": models.ImageURLChunk,
    "document_url": models.DocumentURLChunk,
    "input_audio": models.AudioChunk,
}
Body = dict[str, Any]  # the JSON of a request, or the fields of a form
Reply = Callable[["Handler", Body], None]
Call = tuple[str, Body | str]  # a tool's name and its arguments; a str is sent unchanged


class Request(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: Body


class Refused(Exception):
    """A request that the real API would reject: status, message."""


@dataclass(frozen=True)
class Said:
    """One answer of the model, and how it is streamed."""

    words: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    reason: str = "stop"
    pieces: int = 1  # number of deltas for the arguments of a call
    pause: float = 0  # seconds before each piece
    sleep: Callable[[float], object] = time.sleep

    def content(self) -> str | list[Body]:
        words = [{"type": "text", "text": self.words}] if self.words else []
        return [thought(self.thinking), *words] if self.thinking else self.words

    def whole(self) -> str:
        return "".join([self.thinking, self.words, *map(str, self.calls)])

    def deltas(self, called: list[Body]) -> Iterator[Body]:
        """The deltas of a stream; tool calls, if any, come last."""
        yield {"role": "assistant", "content": ""}
        yield from ({"content": [thought(piece)]} for piece in split(self.thinking))
        yield from ({"content": piece} for piece in split(self.words))
        for call in called:
            yield from ({"tool_calls": [piece]} for piece in call_deltas(call, self.pieces))
        if not called:
            yield {"content": ""}


def status(code: int, retry_after: float | None = None) -> Reply:
    return lambda handler, _: handler.refuse(code, f"scripted {code}", retry_after)


def text(words: str) -> Reply:
    return lambda handler, body: handler.chat(body, words)


def calls(*called: Call, text: str = "", thinking: str = "", pieces: int = 1) -> Reply:
    """Call one or more tools in one answer."""
    said = Said(text, thinking, called, "tool_calls", pieces)
    return lambda handler, body: handler.say(body, said)


def truncated(name: str, arguments: Body) -> Reply:
    """Reach the token limit in the middle of a tool call."""
    words = json.dumps(arguments)
    said = Said(calls=((name, words[: len(words) * 2 // 3]),), reason="length")
    return lambda handler, body: handler.say(body, said)


def slowly(words: str, seconds: float, sleep: Callable[[float], object] = time.sleep) -> Reply:
    """Stream words with a pause before each one."""
    return lambda handler, body: handler.say(body, Said(words, pause=seconds, sleep=sleep))


def transcript(words: str) -> Reply:
    """The text of a recording, for the next request to TRANSCRIPTIONS."""
    return lambda handler, body: handler.transcribe(body, words)


def hanging() -> Reply:
    """Send nothing until the client disconnects or the server closes."""

    def reply(handler: "Handler", _: Body) -> None:
        handler.connection.recv(1)
        handler.close_connection = True

    return reply


def slow(seconds: float) -> Reply:
    """Answer after a while, or not at all when the client goes away before."""

    def reply(handler: "Handler", body: Body) -> None:
        gone, _, _ = select.select([handler.connection], [], [], seconds)
        if gone:
            handler.close_connection = True
        else:
            handler.answer(body)

    return reply


def malformed() -> Reply:
    return lambda handler, body: handler.stream([handler.chunk(body, "The "), "data: {oops\n\n"])


def dropped() -> Reply:
    return lambda handler, body: handler.stream([handler.chunk(body, "The ")], cut=True)


def cite_passages(messages: list[Body]) -> str:
    """Quote the first sentence of the first two passages in the last message."""
    marked = r'(?m)^\W*(?:\[|passage[^>\n]*?")(\d+)[\]"].*\n+(?:#.*\n+)*(.+?[.!?](?=\s)|.+)'
    quotes = re.findall(marked, str(messages[-1]["content"]))[:2]
    said = [f"According to [{number}]: {sentence}" for number, sentence in quotes]
    return "\n\n".join(said) or "The documents do not say."


def embed(words: str) -> list[float]:
    """Hash the longer words into 1,024 dimensions: texts that share words get close vectors."""
    vector = [0.0] * 1024
    for word, count in Counter(re.findall(r"\w{4,}", words.lower()) or [words]).items():
        vector[zlib.crc32(word.encode()) % 1024] += count**0.5
    length = sum(x * x for x in vector) ** 0.5
    return [round(x / length, 6) for x in vector]


def split(words: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", words)


def thought(words: str) -> Body:
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}]}


def call_deltas(call: Body, pieces: int) -> Iterator[Body]:
    """Split a call's arguments into several deltas; only the first one names the tool."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    size = -(-len(arguments) // pieces) or 1
    for start in range(0, len(arguments) or 1, size):
        part = arguments[start : start + size]
        yield call | {"function": {"name": "" if start else name, "arguments": part}}


def tokens(words: object) -> int:
    return len(str(words)) // 4


def usage(prompt: object, answer: object = "") -> Body:
    asked, said = tokens(prompt), tokens(answer)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def check(path: str, body: Body) -> None:
    """Raise Refused for a body that the real API would reject."""
    check_shape(REQUESTS[path], body)
    if body["model"] in RETIRED:
        raise Refused(404, f"The model {body['model']} was retired")
    if body["model"] not in KNOWN[path]:
        raise Refused(400, f"Invalid model: {body['model']}")
    if path == EMBEDDINGS:
        sizes = [tokens(words) for words in inputs(body)]
        if max(sizes, default=0) > 8_192 or sum(sizes) > 16_384:
            raise Refused(400, "Too many tokens in the batch or in one text")
    elif path == TRANSCRIPTIONS:
        if not any(body.get(key) for key in ("file", "file_url", "file_id")):
            raise Refused(400, "Exactly one of file, file_url and file_id is needed")
    else:
        check_tools(body.get("tools") or [])
        check_chunks(body)
        check_order(body["messages"])


def check_shape(expected: Any, body: Body) -> None:
    try:
        expected.model_validate(body, extra="forbid")
    except ValidationError as error:
        raise Refused(422, [f"{e['loc']}: {e['msg']}" for e in error.errors()]) from None


def check_tools(tools: list[Body]) -> None:
    names = [tool["function"]["name"] for tool in tools if "function" in tool]
    for name, times in Counter(names).items():
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
            raise Refused(400, f"Function name was {name} but must be a-z, A-Z, 0-9, _ or -")
        if times > 1:
            raise Refused(400, f"Duplicate tool name: {name}")


def check_chunks(body: Body) -> None:
    """Check the keys of content chunks, and that only models with vision get images."""
    contents = [message.get("content") for message in body["messages"]]
    for chunk in (chunk for content in contents if isinstance(content, list) for chunk in content):
        if chunk.get("type") not in CHUNKS:
            raise Refused(422, f"Input tag {chunk.get('type')} does not match any expected tag")
        check_shape(CHUNKS[chunk["type"]], chunk)
        if chunk["type"] == "image_url":
            if body["model"] in BLIND:
                raise Refused(400, f"Image input is not enabled for the model {body['model']}")
            url = chunk["image_url"]
            check_image(url if isinstance(url, str) else url["url"])


def check_image(url: str) -> None:
    kind, _, data = url.partition(";base64,")
    try:
        if re.fullmatch(r"data:image/[\w.+-]+", kind) and base64.b64decode(data, validate=True):
            return
    except binascii.Error:
        pass
    if not re.match(r"https?://", url):
        raise Refused(400, "Image could not be loaded: neither a URL nor base64 of an image")


def check_order(messages: list[Body]) -> None:
    """Check the order of the roles, and that each tool call is followed by its result."""
    open_calls: list[str] = []
    before = ""
    for message in messages:
        role = message["role"]
        if role == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise Refused(400, f"Unexpected tool call id {message.get('tool_call_id')}")
            open_calls.remove(message["tool_call_id"])
        elif open_calls:
            raise Refused(400, "Not the same number of function calls and responses")
        elif before == "tool" and role != "assistant":
            raise Refused(400, f"Unexpected role '{role}' after role 'tool'")
        elif role == "assistant":
            open_calls = call_ids(message)
        before = role
    if open_calls:
        raise Refused(400, "Not the same number of function calls and responses")
    if before not in ("user", "tool") and not (messages and messages[-1].get("prefix")):
        raise Refused(400, "Expected last role User or Tool (or Assistant with prefix True)")


def call_ids(message: Body) -> list[str]:
    """The ids of the tool calls in an assistant message, which must have calls or content."""
    ids = [str(call.get("id")) for call in message.get("tool_calls") or []]
    if not ids and not message.get("content"):
        raise Refused(400, "Assistant message must have either content or tool_calls")
    for call_id in ids:
        if not re.fullmatch(r"[a-zA-Z0-9]{9}", call_id):
            raise Refused(400, f"Tool call id was {call_id} but must be 9 of a-z, A-Z, 0-9")
    if len(set(ids)) < len(ids):
        raise Refused(400, "Duplicate tool call id")
    return ids


def inputs(body: Body) -> list[str]:
    return [body["input"]] if isinstance(body["input"], str) else body["input"]


def encoded(vector: list[float], body: Body) -> list[float] | str:
    """The openai client asks for base64 by default."""
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack("<1024f", *vector)).decode()


def form(content: bytes, content_type: str) -> Body:
    """The fields of a form; files have the shape of the SDK's models."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields: Body = {}
    for part in email.message_from_bytes(head + content).walk():
        name = part.get_param("name", header="content-disposition")
        value: Any = part.get_payload(decode=True)
        if isinstance(name, str) and (file := part.get_filename()):
            fields[name] = {"fileName": file, "content": value}
        elif isinstance(name, str):
            words = value.decode()
            fields[name] = {"true": True, "false": False}.get(words, words)
    return fields


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each small write may wait 40 ms
    server: "MistralServer"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.take([MODELS], {})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        if self.path == TRANSCRIPTIONS:
            return self.take([TRANSCRIPTIONS], form(content, self.headers["content-type"]))
        self.take([CHAT, EMBEDDINGS], json.loads(content))

    def take(self, paths: list[str], body: Body) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, body))
        self.server.connections.add(self.connection)
        if self.path not in paths:
            return self.refuse(404, "no Route matched with those values")
        if not self.server.deviant:
            if not re.fullmatch(r"Bearer \S+", headers.get("authorization", "")):
                return self.refuse(401, "Unauthorized")
            try:
                if self.path in KNOWN:
                    check(self.path, body)
            except Refused as refusal:
                return self.refuse(*refusal.args)
        queue = self.server.replies[self.path]
        (queue.popleft() if queue else Handler.answer)(self, body)

    def answer(self, body: Body) -> None:
        if self.path == CHAT:
            said = self.server.answer(body["messages"])
            self.chat(body, said) if isinstance(said, str) else said(self, body)
        elif self.path == EMBEDDINGS:
            vectors = enumerate(encoded(embed(words), body) for words in inputs(body))
            data = [{"index": i, "object": "embedding", "embedding": v} for i, v in vectors]
            self.send(self.filled(body, {"object": "list", "data": data}, usage(body["input"])))
        elif self.path == TRANSCRIPTIONS:
            self.transcribe(body, "Add the numbers 2 and 3.")
        else:
            names = [name for names in KNOWN.values() for name in names]
            cards = [{"id": name, "type": "base", "capabilities": {}} for name in names]
            self.send({"object": "list", "data": cards})

    def chat(self, body: Body, words: str) -> None:
        self.say(body, Said(words))

    def transcribe(self, body: Body, words: str) -> None:
        answer = {"text": words, "language": "en", "segments": []}
        self.send(self.filled(body, answer, usage("", words)))

    def say(self, body: Body, said: Said) -> None:
        """Send the answer, as a stream if the request asks for one."""
        called = [self.called(call, index) for index, call in enumerate(said.calls)]
        if body.get("stream"):
            return self.stream(self.events(body, said, called))
        said.sleep(said.pause * len(split(said.words)))
        message: Body = {"role": "assistant", "content": said.content()}
        message |= {"tool_calls": called} if called else {}
        choice: Body = {"index": 0, "message": message}
        choice |= {} if self.server.deviant else {"finish_reason": said.reason}
        answer: Body = {"object": "chat.completion", "choices": [choice]}
        self.send(self.filled(body, answer, usage(body["messages"], said.whole())))

    def called(self, call: Call, index: int) -> Body:
        """A tool call as JSON, with a unique id."""
        name, arguments = call
        words = arguments if isinstance(arguments, str) else json.dumps(arguments)
        number = next(self.server.numbers)
        whole: Body = {"function": {"name": name, "arguments": words}, "index": index}
        if self.server.deviant:
            return {"id": f"call_{number:08}", "type": "function"} | whole
        return {"id": f"call{number:05}"} | whole

    def events(self, body: Body, said: Said, called: list[Body]) -> Iterator[str]:
        """The events of a stream; the last delta has the finish reason and the usage."""
        *deltas, last = said.deltas(called)
        for delta in deltas:
            said.sleep(said.pause)
            yield self.event(body, self.loosened(delta))
        yield self.event(body, self.loosened(last), said.reason, said.whole())
        if self.server.deviant:
            yield f"data: {json.dumps(self.filled(body, {'choices': []}, None))}\n\n"
        yield "data: [DONE]\n\n"

    def loosened(self, delta: Body) -> Body:
        """Deviant servers omit a tool's id and name in the later deltas of a call."""
        [call] = delta.get("tool_calls") or [None]
        if not self.server.deviant or not call or call["function"]["name"]:
            return delta
        function = {"arguments": call["function"]["arguments"]}
        return {"tool_calls": [{"index": call["index"], "function": function}]}

    def chunk(self, body: Body, piece: str, whole: str | None = None) -> str:
        """One event of a text stream; the last one gets the whole answer, to count its tokens."""
        return self.event(body, {"content": piece}, None if whole is None else "stop", whole)

    def event(self, body: Body, delta: Body, reason: str | None = None, whole: object = "") -> str:
        choice: Body = {"index": 0, "delta": delta}
        choice |= {} if self.server.deviant else {"finish_reason": reason}
        spent = usage(body["messages"], whole) if reason else None
        event = self.filled(body, {"object": "chat.completion.chunk", "choices": [choice]}, spent)
        return f"data: {json.dumps(event)}\n\n"

    def filled(self, body: Body, answer: Body, spent: Body | None) -> Body:
        """Add the fields of every answer of the real API; fewer of them when deviant."""
        answer["model"] = body["model"]
        if self.server.deviant:
            return answer | {"usage": None}
        return answer | {"id": "made-here", "created": int(time.time()), "usage": spent}

    def refuse(self, code: int, message: object, retry_after: float | None = None) -> None:
        body: Body = {"object": "error", "message": message, "type": "error", "code": str(code)}
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.send({"error": message} if self.server.deviant else body, code, headers)

    def send(self, body: Body, code: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        sizes = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (sizes | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def stream(self, events: Iterable[str], cut: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self.wfile.write(f"{len(event.encode()):x}\r\n{event}\r\n".encode())
        if cut:
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(b"0\r\n\r\n")


class MistralServer(ThreadingHTTPServer):
    """`with MistralServer() as server:` then point the SDK's server_url at `server.url`.

    `answer` gets the messages and returns the text of the answer, or any reply (`calls(...)`).
    `deviant` answers like local servers that are only roughly compatible: no key, any model name,
    no id, no finish_reason, usage null, tool ids of another length, a last chunk without choices,
    errors of another shape.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, answer: Callable[[list[Body]], str | Reply] = cite_passages, deviant: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket.settimeout(1)  # a client may disconnect before it is accepted
        self.answer, self.deviant = answer, deviant
        self.requests: list[Request] = []
        self.numbers = itertools.count(1)  # of the tool calls
        self.replies: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self.connections: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, *replies: Reply, path: str = CHAT) -> None:
        """Queue replies for the next valid requests to a path."""
        self.replies[path].extend(replies)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # tests disconnect on purpose
            super().handle_error(request, client_address)

    def __enter__(self) -> "MistralServer":
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:  # keep-alive connections would stay open
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
