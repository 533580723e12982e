import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread, Timer

import pytest

from plumbing.readers import Unreadable, read
from plumbing.web import fetch, is_public

HOPS = {f"/{n}-hops": (302, "", "", f"/{n - 1}-hops") for n in range(1, 8)}
PAGES: dict[str, tuple[int, str, str, str]] = {  # status, content, type, location
    "/page": (200, "<p>Hello</p>", "text/html; charset=utf-8", ""),
    "/blob/guide.md": (200, "<p>Hello</p>", "text/html", ""),
    "/raw/guide.md": (200, "# Hello", "text/plain; charset=utf-8", ""),
    "/notes": (200, "Hello", "text/plain", ""),
    "/bare": (200, "<p>Hello</p>", "", ""),
    "/big": (200, "x" * 2**21, "text/plain", ""),
    "/0-hops": (302, "", "", "/page"),
    "/inside": (302, "", "", "http://10.0.0.1/"),
    "/file": (302, "", "", "file:///etc/passwd"),
    **HOPS,
}
ENDLESS = {"/body": b"\r\n", "/head": b"X-Long: "}  # what an answer without an end begins with
endless = Event()  # such an answer is being sent


class Alarm(Timer):
    """A timer that goes off during such an answer, however many seconds it is set to."""

    def run(self) -> None:
        endless.wait(60)
        self.function()


class Site(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path in ENDLESS:
            return self.drip()
        status, content, kind, location = PAGES.get(self.path, (404, "", "", ""))
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Location": location}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content.encode())

    def drip(self) -> None:
        """Send a byte now and then, until the client goes away."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + ENDLESS[self.path])
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                endless.set()
                time.sleep(0.01)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.socket.settimeout(1)  # a client may disconnect before it is accepted
        server.daemon_threads, server.block_on_close = True, False
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def loopback(address: str) -> bool:
    return address == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "ending"),
    [
        ("/page", ".html"),
        ("/4-hops", ".html"),
        ("/blob/guide.md", ".html"),
        ("/raw/guide.md", ".md"),
        ("/notes", ".txt"),
        ("/bare", ".html"),
    ],
)
def test_a_page_comes_with_its_file_extension(site: str, path: str, ending: str) -> None:
    kind, data = fetch(site + path, 1, loopback)
    assert kind == ending
    assert read(kind, data)[0].text.endswith("Hello")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/missing", "answered 404"),
        ("/big", "larger than 1 MB"),
        ("/5-hops", "redirects too often"),
        ("/inside", "inside your own network"),
        ("/file", "not an http"),
    ],
)
def test_a_page_that_cannot_be_fetched_says_why(site: str, path: str, problem: str) -> None:
    with pytest.raises(Unreadable, match=problem):
        fetch(site + path, 1, loopback)


@pytest.mark.parametrize("path", ENDLESS)
def test_an_endless_answer_is_given_up(site: str, path: str) -> None:
    endless.clear()
    with pytest.raises(Unreadable, match="more than 20 seconds"):
        fetch(site + path, 1, loopback, timer=Alarm)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:80/",
        "http://someone@127.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://0.0.0.0/",
        "http://10.1.2.3/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fd00::1]/",
    ],
)
def test_addresses_inside_your_own_network_are_refused(url: str) -> None:
    with pytest.raises(Unreadable, match="inside your own network"):
        fetch(url, 1)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://example.org/", "http://", "http://x:y/"]
)
def test_an_invalid_web_address_is_refused(url: str) -> None:
    with pytest.raises(Unreadable):
        fetch(url, 1)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("::", False),
    ],
)
def test_only_addresses_on_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
