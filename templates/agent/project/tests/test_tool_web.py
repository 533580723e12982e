from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from agent.settings import SETTINGS
from agent.tools import ToolError
from agent.tools.web import page, read_page


class Site(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        pages = {
            "/page": ("text/html", "<title>Tea</title><script>no</script><p>Served hot.</p>"),
            "/long": ("text/plain", "".join(f"{number:09}\n" for number in range(2000))),
            "/empty": ("text/html", ""),
            "/photo": ("image/gif", "GIF89a"),
        }
        kind, text = pages.get(self.path, ("", ""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        server.socket.settimeout(1)  # a client may go away before it is accepted
        server.daemon_threads, server.block_on_close = True, False
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def loopback(address: str) -> bool:
    return address == "127.0.0.1"


def test_a_page_is_read_as_text_with_its_title_first(site: str) -> None:
    assert page(f"{site}/page", allowed=loopback) == f"{site}/page:\n[Tea]\nServed hot."


def test_a_long_page_comes_in_parts_that_are_complete(site: str) -> None:
    url, text, more, part = f"{site}/long", "", True, 0
    while more:
        part += 1
        result = page(url, part, loopback)
        head, body = result.split("\n", 1)
        assert len(result) <= SETTINGS.result_chars
        assert head.startswith(f"{url}, part {part} of ")
        text, more = text + body, f"continue with part={part + 1}" in head
    assert text == "".join(f"{number:09}\n" for number in range(2000))


def test_a_missing_part_is_refused(site: str) -> None:
    with pytest.raises(ToolError, match="the last one is 1"):
        page(f"{site}/page", 2, loopback)


@pytest.mark.parametrize(
    ("path", "problem"),
    [("/gone", "answered 404"), ("/photo", "unsupported file type"), ("/empty", "is empty")],
)
def test_a_page_that_cannot_be_read_says_why(site: str, path: str, problem: str) -> None:
    with pytest.raises(ToolError, match=problem):
        page(site + path, allowed=loopback)


@pytest.mark.parametrize("url", ["127.0.0.1:7860", "http://169.254.169.254/", "file:///etc/passwd"])
def test_only_public_pages_are_read(url: str) -> None:
    with pytest.raises(ToolError):
        read_page.invoke({"url": url})
