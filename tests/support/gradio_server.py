"""A small server with the API of a Gradio app; it can also misbehave."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

ANSWER = {"answer": "Judges look at four things.", "citations": [], "notice": ""}
INFO: dict[str, dict[str, object]] = {"named_endpoints": {"/ask": {}}, "unnamed_endpoints": {}}
_COOKIE = "access-token-a1=s3s4m3"
PAGE = b"<!DOCTYPE html><html><body>Ask the documents</body></html>"


def event(name: str, data: object) -> bytes:
    """Write one event of a stream."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


@dataclass
class App:
    """What the app does. `stream`: its answer's events; `hangs`: the stream does not end.

    `bodies`: another answer for a path: its status, its type and its bytes. `token`: requests
    without it are refused. `password`: that of Gradio's login, which is before the app.
    """

    stream: bytes = event("heartbeat", None) + event("complete", [ANSWER])
    hangs: bool = False
    info: object = field(default_factory=lambda: INFO)
    bodies: Mapping[str, tuple[int, str, bytes]] = field(default_factory=dict)
    token: str = ""
    password: str = ""
    address: str = ""
    asked: list[object] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)


@contextlib.contextmanager
def running(app: App, port: int = 0) -> Iterator[App]:
    """Run the app on a port of this machine, or on a free one, until the block ends."""
    over = threading.Event()

    class Handler(_Handler):
        played, ended = app, over

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        # A client that disconnects before it is accepted must not block the server forever.
        server.socket.settimeout(1)
        app.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield app
        finally:
            over.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    played: App
    ended: threading.Event

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path == "/":
            self._send(200, "text/html", PAGE)
        elif self.path == "/gradio_api/info":
            self._send(200, "application/json", json.dumps(self.played.info).encode())
        elif self.path == "/gradio_api/call/ask/e1":
            self._stream()
        else:
            self._send(404, "application/json", b'{"detail": "Not Found"}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/login":
            self._log_in(parse_qs(body.decode()))
            return
        if self._refused():
            return
        content: dict[str, Any] = json.loads(body)
        if self.path == "/gradio_api/call/ask":
            self.played.asked += content["data"]
            self._send(200, "application/json", b'{"event_id": "e1"}')
        else:
            self._send(500, "text/plain", b"Internal Server Error")

    def _refused(self) -> bool:
        self.played.tokens.append(self.headers.get("authorization", ""))
        if self.played.token and self.played.tokens[-1] != f"Bearer {self.played.token}":
            self._send(401, "application/json", b'{"error": "Invalid credentials"}')
            return True
        if self.played.password and _COOKIE not in self.headers.get("cookie", ""):
            wanted = {"error": "Not authenticated", "auth_message": None}
            self._send(401, "application/json", json.dumps({"detail": wanted}).encode())
            return True
        if self.path in self.played.bodies:
            self._send(*self.played.bodies[self.path])
            return True
        return False

    def _log_in(self, form: Mapping[str, list[str]]) -> None:
        right = form.get("username") and form.get("password") == [self.played.password]
        self.send_response(200 if right else 400)
        if right:
            self.send_header("set-cookie", f"{_COOKIE}; HttpOnly; Path=/; SameSite=none; Secure")
        self.send_header("content-length", "0")
        self.end_headers()

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.played.stream)
        while self.played.hangs and not self.ended.wait(0.05):
            with contextlib.suppress(OSError):  # the client has disconnected
                self.wfile.write(event("heartbeat", None))

    def log_message(self, *_words: object) -> None:
        """Print nothing."""
