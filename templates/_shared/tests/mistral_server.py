"""A Mistral-compatible server on loopback: strict like the real one, scripted to fail on demand."""

import base64
import json
import re
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from mistralai.client import models
from pydantic import ValidationError

CHAT, EMBEDDINGS, MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"
KNOWN = {
    CHAT: ["mistral-small-latest", "mistral-medium-latest", "mistral-large-latest"]
    + ["codestral-latest", "ministral-3b-2512", "ministral-8b-2512", "ministral-14b-2512"],
    EMBEDDINGS: ["mistral-embed"],
}
RETIRED = ["open-mistral-7b", "open-mixtral-8x7b", "open-mistral-nemo", "mistral-small-2506"]
Body = dict[str, Any]  # JSON as it came over the wire
Reply = Callable[["Handler", Body], None]


class Request(NamedTuple):
    path: str
    headers: dict[str, str]  # names in lower case
    body: Body


class Refused(Exception):
    """A request that the real API would refuse: status, message."""


def status(code: int, retry_after: float | None = None) -> Reply:
    return lambda handler, _: handler.refuse(code, f"scripted {code}", retry_after)


def text(words: str) -> Reply:
    return lambda handler, body: handler.chat(body, words)


def slow(seconds: float) -> Reply:
    def reply(handler: "Handler", body: Body) -> None:
        time.sleep(seconds)
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
    """Hash the longer words into 1,024 places: texts that share words come out close."""
    vector = [0.0] * 1024
    for word, count in Counter(re.findall(r"\w{4,}", words.lower()) or [words]).items():
        vector[zlib.crc32(word.encode()) % 1024] += count**0.5
    length = sum(x * x for x in vector) ** 0.5
    return [round(x / length, 6) for x in vector]


def tokens(words: object) -> int:
    return len(str(words)) // 4


def usage(prompt: object, answer: object = "") -> Body:
    asked, said = tokens(prompt), tokens(answer)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def check(path: str, body: Body) -> None:
    """Raise Refused for a body that the real API would not take."""
    expected = models.ChatCompletionRequest if path == CHAT else models.EmbeddingRequest
    try:
        expected.model_validate(body, extra="forbid")
    except ValidationError as error:
        raise Refused(422, [f"{e['loc']}: {e['msg']}" for e in error.errors()]) from None
    if body["model"] in RETIRED:
        raise Refused(404, f"The model {body['model']} was retired")
    if body["model"] not in KNOWN[path]:
        raise Refused(400, f"Invalid model: {body['model']}")
    if path == EMBEDDINGS:
        sizes = [tokens(words) for words in inputs(body)]
        if max(sizes, default=0) > 8_192 or sum(sizes) > 16_384:
            raise Refused(400, "Too many tokens in the batch or in one text")
    elif not body["messages"] or body["messages"][-1]["role"] not in ("user", "tool"):
        raise Refused(400, "Expected last role User or Tool")


def inputs(body: Body) -> list[str]:
    return [body["input"]] if isinstance(body["input"], str) else body["input"]


def encoded(vector: list[float], body: Body) -> list[float] | str:
    """The openai client asks for base64 unless told otherwise."""
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack("<1024f", *vector)).decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise small writes wait 40 ms for each other
    server: "MistralServer"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.take([MODELS], {})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
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
            self.chat(body, self.server.answer(body["messages"]))
        elif self.path == EMBEDDINGS:
            vectors = enumerate(encoded(embed(words), body) for words in inputs(body))
            data = [{"index": i, "object": "embedding", "embedding": v} for i, v in vectors]
            self.send(self.filled(body, {"object": "list", "data": data}, usage(body["input"])))
        else:
            names = [*KNOWN[CHAT], *KNOWN[EMBEDDINGS]]
            cards = [{"id": name, "type": "base", "capabilities": {}} for name in names]
            self.send({"object": "list", "data": cards})

    def chat(self, body: Body, words: str) -> None:
        if body.get("stream"):
            pieces = [self.chunk(body, piece) for piece in re.findall(r"\s*\S+\s*", words)]
            return self.stream([*pieces, self.chunk(body, "", words), "data: [DONE]\n\n"])
        choice = {"index": 0, "message": {"role": "assistant", "content": words}}
        choice |= {} if self.server.deviant else {"finish_reason": "stop"}
        answer = {"object": "chat.completion", "choices": [choice]}
        self.send(self.filled(body, answer, usage(body["messages"], words)))

    def chunk(self, body: Body, piece: str, whole: str | None = None) -> str:
        """One event of a stream; the last one knows the whole answer and carries the usage."""
        choice: Body = {"index": 0, "delta": {"content": piece}}
        if not self.server.deviant:
            choice["finish_reason"] = None if whole is None else "stop"
        spent = None if whole is None else usage(body["messages"], whole)
        event = self.filled(body, {"object": "chat.completion.chunk", "choices": [choice]}, spent)
        return f"data: {json.dumps(event)}\n\n"

    def filled(self, body: Body, answer: Body, spent: Body | None) -> Body:
        """Add what every answer of the real API carries, or what is left of it when deviant."""
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

    def stream(self, events: list[str], cut: bool = False) -> None:
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

    `deviant` answers as loosely compatible local servers do: no key, any model name, neither id
    nor finish_reason, usage null, errors of another shape.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, answer: Callable[[list[Body]], str] = cite_passages, deviant: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.deviant = answer, deviant
        self.requests: list[Request] = []
        self.replies: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self.connections: set[socket.socket] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, *replies: Reply, path: str = CHAT) -> None:
        """Queue replies for the next well-formed requests of a path."""
        self.replies[path].extend(replies)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # clients may go away: they are tested
            super().handle_error(request, client_address)

    def __enter__(self) -> "MistralServer":
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        for connection in self.connections:  # kept-alive ones would go on being served
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
