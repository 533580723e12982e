"""Requests with limits: how every kind of server, proxy and certificate error is explained."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from servers import (
    Answer,
    Authority,
    Received,
    drips,
    drips_headers,
    garbage,
    hangs_up,
    login_page,
    response,
    says,
    sends_to,
    serving,
    silence,
    unused_port,
)

from hackkit.network import fetch as requests
from hackkit.network.blocked import Site, why_blocked
from hackkit.network.fetch import LIMIT, Kind, fetch_all, listens, within
from hackkit.network.urls import is_loopback, proxy_for

SOON = 0.4  # seconds, where an answer never comes
fetch = partial(requests.fetch, seconds=60)  # where one comes, also on a busy machine
KEY = "0123456789abcdef0123456789ABCDEF"


def test_an_answer_comes_with_its_status_headers_body_and_time() -> None:
    with serving(says({"data": []}, headers={"X-Left": "7"})) as server:
        reply = fetch(server.url, {})
    assert (reply.kind, reply.status, reply.headers["x-left"]) == (Kind.ANSWER, 200, "7")
    assert reply.json() == {"data": []}
    assert reply.seconds > 0


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_an_error_status_is_an_answer(status: int) -> None:
    with serving(says({}, status)) as server:
        assert fetch(server.url, {}).status == status


def test_the_headers_that_were_asked_for_are_sent() -> None:
    with serving(says()) as server:
        fetch(server.url, {}, {"Authorization": f"Bearer {KEY}"})
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_redirect_is_not_followed() -> None:
    with serving(says()) as other, serving(sends_to(other.url)) as server:
        assert fetch(server.url, {}).status == 302
    assert other.received == []


def test_a_huge_body_is_cut_off_at_4_mb() -> None:
    with serving(says(b"x" * 4_100_000)) as server:
        assert len(fetch(server.url, {}, seconds=10).body) == 4_000_000


def test_reading_stops_at_the_limit_also_when_the_body_never_ends() -> None:
    def floods(_request: Received, over: threading.Event) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
        while not over.is_set():
            yield b"x" * 100_000

    with serving(floods) as server:
        reply = fetch(server.url, {}, seconds=30)
    assert (reply.kind, len(reply.body)) == (Kind.ANSWER, LIMIT)


@pytest.mark.parametrize("answer", [silence, drips, drips_headers])
def test_whatever_the_server_does_the_time_is_kept(answer: Answer) -> None:
    with serving(answer) as server:  # it goes on until the block ends
        reply = fetch(server.url, {}, seconds=SOON)
    assert reply.kind is Kind.TIMEOUT


def test_an_answer_that_never_ends_is_not_called_no_answer() -> None:
    with serving(drips) as server:
        assert fetch(server.url, {}, seconds=SOON).error == "its answer started but did not end"


def test_what_is_not_http_is_called_so() -> None:
    with serving(garbage) as server:
        reply = fetch(server.url, {})
    assert reply.kind is Kind.NOT_HTTP
    assert f"127.0.0.1:{server.port} does not answer in HTTP" in reply.error


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_closes_the_connection_is_named(scheme: str) -> None:
    with serving(hangs_up) as server:
        reply = fetch(server.url.replace("http", scheme), {})
    assert reply.kind is Kind.UNREACHABLE
    assert "closes the connection without an answer" in reply.error


def test_a_port_where_nothing_listens_is_refused() -> None:
    port = unused_port()
    reply = fetch(f"http://127.0.0.1:{port}", {})
    assert (reply.kind, reply.error) == (Kind.REFUSED, f"nothing listens at 127.0.0.1:{port}")


def test_a_name_that_does_not_exist_is_said() -> None:
    assert fetch("http://nowhere.invalid/", {}, seconds=5).kind is Kind.NAME


@pytest.mark.parametrize("url", ["", "api.example.com", "ftp://a", "http://", "http://[::1"])
def test_what_is_no_address_is_called_so(url: str) -> None:
    assert fetch(url, {}).kind is Kind.ADDRESS


def test_a_key_that_no_header_can_hold_is_not_repeated() -> None:
    with serving(says()) as server:
        reply = fetch(server.url, {}, {"Authorization": f"Bearer {KEY}\n"})
    assert reply.kind is Kind.ADDRESS
    assert KEY not in reply.error


def test_several_addresses_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def waits_for_the_others(_request: object, _over: threading.Event) -> list[bytes]:
        meeting.wait()
        return [response({})]

    with (
        serving(waits_for_the_others) as one,
        serving(waits_for_the_others) as two,
        serving(waits_for_the_others) as three,
    ):
        replies = fetch_all([one.url, two.url, three.url], {}, seconds=60)
    assert [reply.kind for reply in replies] == [Kind.ANSWER] * 3


def test_one_address_of_several_may_be_silent() -> None:
    with serving(silence) as one, serving(silence) as two:
        replies = fetch_all([one.url, two.url, "nonsense"], {}, seconds=SOON)
    assert [reply.kind for reply in replies] == [Kind.TIMEOUT, Kind.TIMEOUT, Kind.ADDRESS]


# Certificates


def test_a_certificate_of_a_trusted_authority_is_accepted(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with serving(says(), ours.certify()) as server:
        assert fetch(server.url, ours.trusted).answered


def test_a_folder_without_hashed_certificates_trusts_no_server(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with serving(says(), ours.certify()) as server:
        reply = fetch(server.url, {"SSL_CERT_DIR": str(tmp_path)})
    assert reply.kind is Kind.CERTIFICATE


def test_an_unknown_issuer_is_named(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path), Authority(tmp_path, "Snoopy Proxy")
    with serving(says(), others.certify()) as server:
        reply = fetch(server.url, ours.trusted)
    assert reply.kind is Kind.CERTIFICATE
    assert "issued by 'Snoopy Proxy', not trusted here" in reply.error
    assert "captive portal" in reply.error


def test_no_header_goes_to_whom_we_do_not_trust(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path), Authority(tmp_path, "Snoopy Proxy")
    with serving(says(), others.certify()) as server:
        fetch(server.url, ours.trusted, {"Authorization": f"Bearer {KEY}"})
    assert KEY not in str(server.received)


def test_a_certificate_of_another_host_is_named(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with serving(says(), ours.certify("login.venue.example")) as server:
        reply = fetch(server.url, ours.trusted)
    assert reply.kind is Kind.CERTIFICATE
    assert "not for 127.0.0.1" in reply.error
    assert "(issued by 'Test Authority')" in reply.error


def test_an_expired_certificate_points_to_the_clock(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    expired = ours.certify(until=datetime(2001, 1, 1, tzinfo=UTC))
    with serving(says(), expired) as server:
        reply = fetch(server.url, ours.trusted)
    assert reply.kind is Kind.CLOCK
    assert "expired" in reply.error


def test_a_certificate_of_tomorrow_points_to_the_clock(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    tomorrow = datetime.now(UTC).replace(day=1) + timedelta(days=40)
    with serving(says(), ours.certify_for_later(tomorrow)) as server:
        reply = fetch(server.url, ours.trusted)
    assert reply.kind is Kind.CLOCK
    assert "not valid yet" in reply.error


def test_without_verification_any_certificate_will_do(tmp_path: Path) -> None:
    with serving(says(), Authority(tmp_path).certify()) as server:
        assert fetch(server.url, {}, verify=False).answered


def test_a_certificate_file_that_is_missing_is_said(tmp_path: Path) -> None:
    reply = fetch("https://127.0.0.1:9", {"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert reply.error == "SSL_CERT_FILE points to no certificates"


def test_a_certificate_file_that_holds_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    reply = fetch("https://127.0.0.1:9", {"SSL_CERT_FILE": str(tmp_path / "empty.pem")})
    assert reply.error == "SSL_CERT_FILE points to no certificates"


def test_plain_http_where_tls_was_due_is_said() -> None:
    with serving(garbage) as server:
        reply = fetch(server.url.replace("http:", "https:"), {})
    assert (reply.kind, "no HTTPS there" in reply.error) == (Kind.NOT_HTTP, True)


def test_a_server_that_is_silent_at_the_handshake_keeps_the_time() -> None:
    with serving(silence) as server:
        reply = fetch(server.url.replace("http:", "https:"), {}, seconds=SOON)
    assert reply.kind in {Kind.TIMEOUT, Kind.NOT_HTTP}


# Proxies


def test_a_request_goes_through_the_proxy_that_is_set() -> None:
    with serving(says({"through": "the proxy"})) as proxy:
        reply = fetch("http://service.example/x", {"HTTP_PROXY": proxy.url})
    assert reply.json() == {"through": "the proxy"}
    assert proxy.received[0].target == "http://service.example/x"


def test_no_proxy_is_used_for_what_is_exempt() -> None:
    env = {"http_proxy": f"http://127.0.0.1:{unused_port()}", "no_proxy": "localhost, 127.0.0.1"}
    with serving(says()) as server:
        assert fetch(server.url, env).answered


def test_a_proxy_that_is_not_there_is_named_without_its_password() -> None:
    port = unused_port()
    reply = fetch("https://service.example", {"https_proxy": f"http://ada:secret@127.0.0.1:{port}"})
    assert (reply.kind, reply.error) == (Kind.PROXY, f"no proxy answers at 127.0.0.1:{port}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_login_says_so(scheme: str) -> None:
    with serving(says("", 407)) as proxy:
        reply = fetch(f"{scheme}://service.example", {"ALL_PROXY": proxy.url})
    assert reply.kind is Kind.PROXY
    assert "requires a user name and a password" in reply.error


def test_a_proxy_that_lets_nothing_through_says_with_which_status() -> None:
    with serving(says("", 403)) as proxy:
        reply = fetch("https://service.example", {"HTTPS_PROXY": proxy.url})
    assert reply.kind is Kind.PROXY
    assert "refuses the request (403)" in reply.error


def test_a_socks_proxy_is_one_that_the_app_cannot_use() -> None:
    reply = fetch("https://service.example", {"ALL_PROXY": "socks5://127.0.0.1:9"})
    assert (reply.kind, "SOCKS" in reply.error) == (Kind.PROXY, True)


def test_a_proxy_without_a_scheme_is_an_http_one() -> None:
    assert proxy_for("https://a.example", {"https_proxy": "p:3128"}) == "http://p:3128"


def test_the_small_letters_win() -> None:
    assert proxy_for("http://a.example", {"http_proxy": "http://a", "HTTP_PROXY": "http://b"}) == (
        "http://a"
    )


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("*", "http://a.example"),
        ("localhost", "http://localhost:7860"),
        ("127.0.0.1", "http://127.0.0.1:7860"),
        ("127.0.0.0/8", "http://127.0.0.1"),
        ("::1", "http://[::1]:80"),
        ("example", "http://a.example"),
        (".example", "http://a.example"),
        ("*.example", "http://a.example"),
        ("a.example:8080", "http://a.example:8080"),
        ("http://a.example", "http://a.example"),
    ],
)
def test_these_entries_of_no_proxy_hold(entry: str, url: str) -> None:
    assert proxy_for(url, {"all_proxy": "http://p", "no_proxy": f"other,{entry}"}) == ""


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("localhost", "http://127.0.0.1"),
        ("10.0.0.0/8", "http://127.0.0.1"),
        ("127.0.0.0/8", "http://localhost"),
        (".example", "http://example"),
        ("ample", "http://example"),
        ("a.example:8080", "http://a.example"),
        ("https://a.example", "http://a.example"),
    ],
)
def test_these_entries_of_no_proxy_do_not(entry: str, url: str) -> None:
    assert proxy_for(url, {"all_proxy": "http://p", "no_proxy": entry}) == "http://p"


# What is in between


def test_a_web_page_where_data_was_due_is_a_login_page() -> None:
    with serving(login_page) as server:
        found = why_blocked(fetch(server.url, {}), Site(server.url))
    assert found is not None
    assert "login page of this network" in found.problem
    assert found.fix == "open http://127.0.0.1 in a browser and log in"


def test_a_redirect_to_another_host_names_it() -> None:
    with serving(sends_to("http://login.venue.example/hello?x=1")) as server:
        found = why_blocked(fetch(server.url, {}), Site(server.url))
    assert found is not None
    assert "login.venue.example" in found.problem
    assert found.fix.startswith("open http://login.venue.example/hello")


def test_a_page_blocks_nothing_where_pages_are_due() -> None:
    with serving(login_page) as server:
        assert why_blocked(fetch(server.url, {}), Site(server.url, pages=True)) is None


def test_a_redirect_on_the_same_host_is_none() -> None:
    with serving(sends_to("/elsewhere")) as server:
        assert why_blocked(fetch(server.url, {}), Site(server.url)) is None


def test_a_wrong_clock_is_set_by_a_command_of_the_system(tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    with serving(says(), ours.certify(until=datetime(2001, 1, 1, tzinfo=UTC))) as server:
        reply = fetch(server.url, ours.trusted)
    for system, word in {"linux": "timedatectl", "darwin": "sntp", "windows": "w32tm"}.items():
        found = why_blocked(reply, Site(server.url, system=system))
        assert found is not None
        assert word in found.fix


def test_a_wrong_address_names_its_variable() -> None:
    found = why_blocked(fetch("nonsense", {}), Site("nonsense", "LLM_BASE_URL"))
    assert found is not None
    assert "LLM_BASE_URL" in found.fix


def test_a_connection_attempt_needs_no_answer() -> None:
    with serving(silence) as server:
        assert listens(server.url, seconds=30)
    assert not listens(f"http://127.0.0.1:{unused_port()}")
    assert not listens("nonsense")


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ["http://localhost:1/v1", "http://127.0.0.1", "http://[::1]:8000"]))
    assert not is_loopback("http://gpu.example:8000/v1")


def test_a_function_that_takes_too_long_gives_nothing() -> None:
    assert within(threading.Event().wait, 0.05) is None
    assert within(lambda: "in time", 5) == "in time"


def test_what_raises_gives_nothing() -> None:
    assert within(lambda: 1 // 0, 5) is None
