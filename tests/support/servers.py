"""Loopback servers for the tests: real sockets, with right and wrong answers."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import trustme

LOGIN_PAGE = "<!DOCTYPE html><html><body>Welcome to Venue-WiFi. Please log in.</body></html>"
NOT_HTTP = b"220 mail.venue.example ESMTP ready\r\n\r\n"
_TLS = b"\x16"  # the first byte of a TLS client
_DRIP = 0.05  # seconds between two bytes


@dataclass(frozen=True)
class Received:
    """A received request: its first line, and its headers with names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


Answer = Callable[[Received, threading.Event], Iterable[bytes]]


@dataclass
class Server:
    """A running server: its address, and the requests that it received."""

    url: str
    port: int
    received: list[Received] = field(default_factory=list)


def says(
    content: object = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Answer:
    """Answer every request with this; a value that is no text and no bytes is sent as JSON."""
    return lambda _request, _over: [response(content, status, headers, kind)]


def routes(answers: Mapping[str, Answer]) -> Answer:
    """Answer by the path; 404 for any other."""

    def answer(received: Received, over: threading.Event) -> Iterable[bytes]:
        return answers.get(received.target.partition("?")[0], says({}, 404))(received, over)

    return answer


def login_page(_request: Received, _over: threading.Event) -> Iterable[bytes]:
    """Answer with the login page of a network."""
    return [response(LOGIN_PAGE, kind="text/html; charset=utf-8")]


def sends_to(target: str, status: int = 302) -> Answer:
    """Redirect every request."""
    return says("", status, {"Location": target}, "text/html")


def garbage(_request: Received, _over: threading.Event) -> Iterable[bytes]:
    """Answer with something that is not HTTP."""
    return [NOT_HTTP]


def hangs_up(_request: Received, _over: threading.Event) -> Iterable[bytes]:
    """Read the request and close the connection."""
    return []


def silence(_request: Received, over: threading.Event) -> Iterable[bytes]:
    """Read the request and never answer."""
    over.wait(60)
    return []


def drips(_request: Received, over: threading.Event) -> Iterator[bytes]:
    """Start a valid answer that never ends."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n["
    while not over.wait(_DRIP):
        yield b" "


def drips_headers(_request: Received, over: threading.Event) -> Iterator[bytes]:
    """Start headers that never end."""
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while not over.wait(_DRIP):
        yield b"x"


def response(
    content: object = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> bytes:
    """Write a response as it goes over the wire."""
    if isinstance(content, str):
        body = content.encode()
    else:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = {
        "Content-Type": kind,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **(headers or {}),
    }
    reason = HTTPStatus(status).phrase
    head = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in lines.items())]
    return "\r\n".join([*head, "", ""]).encode() + body


@contextlib.contextmanager
def serving(answer: Answer, trust: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve on a free port of this machine until the block ends; over TLS with a context."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = Server(f"{'https' if trust else 'http'}://127.0.0.1:{port}", port)
        words = (listener, server, answer, trust, over)
        threading.Thread(target=_accept, args=words, daemon=True).start()
        try:
            yield server
        finally:
            over.set()


def _accept(
    listener: socket.socket,
    server: Server,
    answer: Answer,
    trust: ssl.SSLContext | None,
    over: threading.Event,
) -> None:
    with contextlib.suppress(OSError):  # closed: the test is over
        while True:
            connection, _ = listener.accept()
            connection.settimeout(60)
            words = (connection, server, answer, trust, over)
            threading.Thread(target=_serve, args=words, daemon=True).start()


def _serve(
    connection: socket.socket,
    server: Server,
    answer: Answer,
    trust: ssl.SSLContext | None,
    over: threading.Event,
) -> None:
    # A client that hangs up, or does not trust us, ends the connection.
    with contextlib.suppress(OSError, ValueError), connection:
        line = trust.wrap_socket(connection, server_side=True) if trust else connection
        with line:
            received = _read(line)
            server.received.append(received)
            for piece in answer(received, over):
                line.sendall(piece)


def _read(line: socket.socket) -> Received:
    data = b""
    while b"\r\n\r\n" not in data:
        more = line.recv(65536)
        if more[:1] == _TLS and not data:
            return Received("TLS", "", {})
        if not more:
            raise ConnectionAbortedError
        data += more
    first, *rest = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (each.partition(":") for each in rest)
    return Received(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def unused_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Authority:
    """A certificate authority; SSL_CERT_FILE with its file trusts it."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    @property
    def trusted(self) -> dict[str, str]:
        """Return the variables of a machine that trusts only this authority."""
        return {"SSL_CERT_FILE": str(self.file)}

    def certify(self, host: str = "127.0.0.1", until: datetime | None = None) -> ssl.SSLContext:
        """Return the TLS context of a server with this name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        begin = datetime(2000, 1, 1, tzinfo=UTC) if until else None
        self._ca.issue_cert(host, not_before=begin, not_after=until).configure_cert(context)
        return context

    def certify_for_later(self, since: datetime) -> ssl.SSLContext:
        """Return a certificate that is not valid yet."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        until = since.replace(year=since.year + 1)
        cert = self._ca.issue_cert("127.0.0.1", not_before=since, not_after=until)
        cert.configure_cert(context)
        return context
