"""Loopback servers for the tests: real sockets that answer as told, well or badly."""

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
_TLS = b"\x16"  # what a TLS client says first
_DRIP = 0.05  # seconds between two bytes


@dataclass(frozen=True)
class Heard:
    """One request: what its first line asked for, and its headers, names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]


Answer = Callable[[Heard, threading.Event], Iterable[bytes]]


@dataclass
class Server:
    """A server that runs: where it is, and what it was asked."""

    url: str
    port: int
    heard: list[Heard] = field(default_factory=list)


def says(
    content: object = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Answer:
    """Answer everything alike; what is neither text nor bytes is sent as JSON."""
    return lambda _heard, _over: [response(content, status, headers, kind)]


def routes(answers: Mapping[str, Answer]) -> Answer:
    """Answer by the path; 404 for any other."""

    def answer(heard: Heard, over: threading.Event) -> Iterable[bytes]:
        return answers.get(heard.target.partition("?")[0], says({}, 404))(heard, over)

    return answer


def login_page(_heard: Heard, _over: threading.Event) -> Iterable[bytes]:
    """Answer as a venue's network does before one has logged in."""
    return [response(LOGIN_PAGE, kind="text/html; charset=utf-8")]


def sends_to(target: str, status: int = 302) -> Answer:
    """Redirect everything."""
    return says("", status, {"Location": target}, "text/html")


def garbage(_heard: Heard, _over: threading.Event) -> Iterable[bytes]:
    """Answer with what is not HTTP."""
    return [NOT_HTTP]


def hangs_up(_heard: Heard, _over: threading.Event) -> Iterable[bytes]:
    """Take the request and close the line."""
    return []


def silence(_heard: Heard, over: threading.Event) -> Iterable[bytes]:
    """Take the request and never answer."""
    over.wait(60)
    return []


def drips(_heard: Heard, over: threading.Event) -> Iterator[bytes]:
    """Begin a good answer that never ends."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n["
    while not over.wait(_DRIP):
        yield b" "


def drips_headers(_heard: Heard, over: threading.Event) -> Iterator[bytes]:
    """Begin headers that never end."""
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
            threading.Thread(target=_talk, args=words, daemon=True).start()


def _talk(
    connection: socket.socket,
    server: Server,
    answer: Answer,
    trust: ssl.SSLContext | None,
    over: threading.Event,
) -> None:
    # A client that hangs up, or does not trust us, ends the talk.
    with contextlib.suppress(OSError, ValueError), connection:
        line = trust.wrap_socket(connection, server_side=True) if trust else connection
        with line:
            heard = _read(line)
            server.heard.append(heard)
            for piece in answer(heard, over):
                line.sendall(piece)


def _read(line: socket.socket) -> Heard:
    data = b""
    while b"\r\n\r\n" not in data:
        more = line.recv(65536)
        if more[:1] == _TLS and not data:
            return Heard("TLS", "", {})
        if not more:
            raise ConnectionAbortedError
        data += more
    first, *rest = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (each.partition(":") for each in rest)
    return Heard(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def nobody() -> int:
    """Return a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Authority:
    """Someone who issues certificates; who trusts it has its file in SSL_CERT_FILE."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        self._ca = trustme.CA(organization_name=name)
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    @property
    def trusted(self) -> dict[str, str]:
        """Return the variables of a machine that trusts this authority alone."""
        return {"SSL_CERT_FILE": str(self.file)}

    def certify(self, host: str = "127.0.0.1", until: datetime | None = None) -> ssl.SSLContext:
        """Return what a server of this name needs to serve over TLS."""
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
