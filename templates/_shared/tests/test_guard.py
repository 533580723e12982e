"""Who is served: real requests to a small page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, AuthenticationError

from plumbing.guard import VisitorLimit, serving
from plumbing.settings import ModelSettings

ASK = "gradio_api/call/ask"
PREFLIGHT = {"access-control-request-method": "POST"}


@contextmanager
def served(**own: Any) -> Iterator[httpx.Client]:
    """A client of a page that answers with the question."""
    settings = ModelSettings(**own)
    limit = VisitorLimit(settings.visitor_limit)

    def ask(question: str) -> str:
        limit.count()
        return question

    with gr.Blocks() as page:
        gr.api(ask, api_name="ask")
    with (
        serving(page, settings) as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def local() -> Iterator[httpx.Client]:
    with served() as client:
        yield client


@pytest.fixture(scope="module")
def public() -> Iterator[httpx.Client]:
    with served(host="0.0.0.0") as client:
        yield client


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "LocalHost:80", "[::1]:7860"])
def test_on_this_machine_its_own_host_names_are_served(local: httpx.Client, host: str) -> None:
    assert local.get("/", headers={"host": host}).status_code == 200


EVIL_HOSTS = ["evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.nip.io"]
EVIL_HOSTS += ["127.0.0.1@evil.example", "0.0.0.0:7860", "evil.example.", "localhost:x", ""]
EVIL_HOSTS += ["127.999.1.1", "127.1", "[::1", "::1", "::1]", "[127.0.0.1]", "[::1]x", "[::2]"]


@pytest.mark.parametrize("host", EVIL_HOSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_on_this_machine_other_host_names_are_refused(
    local: httpx.Client, host: str, method: str
) -> None:
    for path in ("/", "config", "gradio_api/info", "gradio_api/queue/data", ASK):
        reply = local.request(method, path, headers={"host": host})
        assert reply.status_code == 403
        assert method == "HEAD" or "HOST=0.0.0.0" in reply.text


def test_on_a_public_address_any_host_name_is_served(public: httpx.Client) -> None:
    for host in ("my-app.example", "my_app.example:443", "93.184.216.34", "[2606:2800::1]:443"):
        assert public.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["127.999.1.1", "[::1", "::1", "a b", "a]", "[x]", "a:x"])
def test_on_a_public_address_a_malformed_host_name_is_refused(
    public: httpx.Client, host: str
) -> None:
    reply = public.get("/", headers={"host": host})
    assert (reply.status_code, reply.text) == (403, f"{host!r} is no host name.")


EVIL_PAGES: list[dict[str, str]] = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://localhost:5173"},  # another program of this machine
    {"origin": "http://[::1"},
    {"referer": "https://evil.example/page"},
    {"sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example", "x-forwarded-host": "evil.example"},
]


@pytest.mark.parametrize("sent", EVIL_PAGES)
def test_a_page_of_another_site_cannot_send_requests(
    local: httpx.Client, public: httpx.Client, sent: dict[str, str]
) -> None:
    for client in (local, public):
        form, file = {"data": "[]"}, {"files": ("x.html", b"x")}
        replies = [client.post(ASK, json={"data": ["?"]}, headers=sent)]
        replies += [client.post("gradio_api/queue/join", data=form, headers=sent)]
        replies += [client.post("gradio_api/upload", files=file, headers=sent)]
        replies += [client.post("login", data=form, headers=sent)]
        assert {reply.status_code for reply in replies} == {403}
        assert all("ALLOWED_ORIGINS" in reply.text for reply in replies)
        replies += [client.options(ASK, headers=sent | PREFLIGHT)]
        replies += [client.get("gradio_api/info", headers=sent)]
        assert not any("access-control-allow-origin" in reply.headers for reply in replies)


def test_the_app_s_own_page_and_programs_can_send_requests(
    local: httpx.Client, public: httpx.Client
) -> None:
    own = str(local.base_url).rstrip("/")
    for sent in ({}, {"origin": own}, {"referer": f"{own}/?x"}, {"sec-fetch-site": "same-origin"}):
        assert local.post(ASK, json={"data": ["?"]}, headers=sent).status_code == 200
    behind_proxy = {"origin": "https://my-app.example", "sec-fetch-site": "same-origin"}
    assert public.post(ASK, json={"data": ["?"]}, headers=behind_proxy).status_code == 200
    assert local.post(ASK, json={"data": ["?"]}, headers=behind_proxy).status_code == 403


def test_a_listed_front_end_can_send_requests_and_read_the_replies() -> None:
    with served(allowed_origins="http://localhost:5173/, https://My.example") as client:
        for origin in ("http://localhost:5173", "https://my.example"):
            replies = [client.options(ASK, headers={"origin": origin} | PREFLIGHT)]
            replies += [client.post(ASK, json={"data": ["?"]}, headers={"origin": origin})]
            for reply in replies:
                assert reply.status_code == 200
                assert reply.headers["access-control-allow-origin"] == origin
        assert client.get("/", headers={"host": "my.example"}).status_code == 200  # a tunnel


def test_a_password_is_asked_for_by_the_page_the_api_and_mcp() -> None:
    with served(app_password="sesame") as client:
        address = str(client.base_url)
        assert '"auth_required":true' in client.get("/").text
        for path in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
            assert client.get(path).status_code == 401
        for path in (ASK, "gradio_api/queue/join", "gradio_api/upload", "gradio_api/run/ask"):
            assert client.post(path, json={"data": ["?"]}).status_code == 401
        with pytest.raises(AuthenticationError):
            Client(address, verbose=False)
        with pytest.raises(ValueError, match="login"):
            Client(address, verbose=False, auth=("team", "wrong"))
        assert Client(address, verbose=False, auth=("team", "sesame")).predict("Hi") == "Hi"
        for given, expected in (("", 401), ("Bearer wrong", 401), ("Bearer sesame", 404)):
            reply = client.get("gradio_api/mcp/schema", headers={"authorization": given})
            assert reply.status_code == expected  # 404: this page is no MCP server


def test_after_many_wrong_passwords_a_visitor_must_wait() -> None:
    with served(app_password="sesame", visitor_header="x-visitor") as client:
        given = [str(number) for number in range(25)] + ["sesame"]

        def login(password: str, visitor: str) -> int:
            form = {"username": "team", "password": password}
            return client.post("login", data=form, headers={"x-visitor": visitor}).status_code

        def mcp(password: str, visitor: str) -> int:
            sent = {"authorization": f"Bearer {password}", "x-visitor": visitor}
            return client.get("gradio_api/mcp/schema", headers=sent).status_code

        assert {login(password, "8.8.8.8") for password in given} == {400}
        assert mcp("sesame", "8.8.8.8") == 401
        assert {mcp(password, "9.9.9.9") for password in given} == {401}
        assert (login("sesame", "8.8.4.4"), mcp("sesame", "8.8.4.4")) == (200, 404)


# Questions per hour


def test_a_visitor_s_questions_are_counted_for_an_hour() -> None:
    clock = iter((0, 60, 3600, 3600, 3660, 3660, 3670, *[3700] * 4))
    limit = VisitorLimit(2, clock=lambda: next(clock))
    for _ in range(4):
        limit.count("198.51.100.1")
    with pytest.raises(gr.Error, match="asked 2 questions.*Come back in 59 minutes"):
        limit.count("198.51.100.1")
    limit.count("198.51.100.2")
    for visitor in ("2001:db8:0:1::1", "2001:db8:0:1:2::2"):  # one network: one visitor
        limit.count(visitor)
    with pytest.raises(gr.Error):
        limit.count("2001:db8:0:1::3")


def test_a_visitor_cannot_escape_the_limit_with_another_forwarded_address() -> None:
    with served(visitor_limit=1) as client:
        program = Client(str(client.base_url), verbose=False)
        assert program.predict("Hi", api_name="/ask") == "Hi"
        for header in ("x-forwarded-for", "fly-client-ip", "cf-connecting-ip", "forwarded"):
            with pytest.raises(AppError, match="Come back in 60 minutes"):
                program.submit("Hi", api_name="/ask", headers={header: "8.8.8.8"}).result()


def test_on_a_platform_its_proxy_s_last_public_address_is_the_visitor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K_SERVICE", "my-app")
    with served(visitor_limit=1) as client:
        program = Client(str(client.base_url), verbose=False)
        for address in ("8.8.8.8", "8.8.4.4"):
            sent = {"x-forwarded-for": f"1.1.1.1, {address}, 10.0.0.1"}
            assert program.submit("Hi", api_name="/ask", headers=sent).result() == "Hi"
        for forged in ("9.9.9.9, 8.8.8.8, 10.0.0.1", "9.9.9.9, 8.8.8.8:1234"):
            sent = {"x-forwarded-for": forged}
            with pytest.raises(AppError, match="Come back"):
                program.submit("Hi", api_name="/ask", headers=sent).result()


def test_an_address_that_cannot_be_read_is_not_replaced_by_an_earlier_one() -> None:
    with served(visitor_limit=1, visitor_header="x-forwarded-for") as client:
        program = Client(str(client.base_url), verbose=False)
        assert program.predict("Hi", api_name="/ask") == "Hi"
        for last in ("unknown", "_hidden", "8.8.8.8:x", "8.8.8", "", "[]:1"):
            sent = {"x-forwarded-for": f"9.9.9.9,{last}"}
            with pytest.raises(AppError, match="Come back"):
                program.submit("Hi", api_name="/ask", headers=sent).result()
        for address in ("[2a00:1450::1]:5", "[2a00:1451::1]"):
            sent = {"x-forwarded-for": address}
            assert program.submit("Hi", api_name="/ask", headers=sent).result() == "Hi"
        with pytest.raises(AppError, match="Come back"):
            sent = {"x-forwarded-for": "2a00:1450::2"}
            program.submit("Hi", api_name="/ask", headers=sent).result()


def test_an_upload_has_a_limit() -> None:
    with served(max_file_mb=1) as client:
        for size, expected in ((900_000, 200), (1_200_000, 413)):
            files = {"files": ("x.bin", b"x" * size)}
            assert client.post("gradio_api/upload", files=files).status_code == expected


def test_a_file_of_another_site_is_not_served_as_the_app_s_own(local: httpx.Client) -> None:
    reply = local.get("gradio_api/file=HTTPS://evil.example/page.html")
    assert reply.status_code == 403


def test_a_path_of_this_machine_is_no_upload() -> None:
    with gr.Blocks() as page:
        box, text = gr.File(), gr.Textbox()
        box.upload(lambda path: Path(path).read_text("utf-8"), box, text, api_name="read")
    forged = {"path": __file__, "meta": {"_type": "gradio.FileData"}}
    with serving(page, ModelSettings()) as address:
        call = f"{address}gradio_api/call/read"
        event = httpx.post(call, json={"data": [forged]}, trust_env=False).json()["event_id"]
        reply = httpx.get(f"{call}/{event}", trust_env=False)
    assert "event: error" in reply.text and "no upload" not in reply.text


def test_zerogpu_learns_that_the_app_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "zero.py").write_text(f"""
import pathlib
def startup():
    pathlib.Path({str(tmp_path)!r}, "started").touch()
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    with served():
        assert (tmp_path / "started").exists()
