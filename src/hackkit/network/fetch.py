"""The only module that knows httpx2: one bounded request, and in words what came of it."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from hackkit.network.urls import is_address, place_of, port_of, proxy_for
from hackkit.version import VERSION

if TYPE_CHECKING:  # the real imports wait for the first request: they take a twentieth of a second
    import ssl

    import httpx2

_T = TypeVar("_T")

LIMIT = 4_000_000  # bytes of a body that are read
_NOTHING: Mapping[str, str] = {}

# Certificate troubles: OpenSSL's codes, then those of Windows (as signed and as unsigned numbers)
# and of macOS, which verify there in OpenSSL's place.
_WRONG_NAME = {62, 64, 0x800B010F, 0x800B010F - 2**32, -67602}
_WRONG_TIME = {9, 10, 0x800B0101, 0x800B0101 - 2**32, -67818, -67819}


class Kind(StrEnum):
    """How far a request came. Only an ANSWER has a status; a TIMEOUT may have one."""

    ANSWER = "answer"
    ADDRESS = "address"  # nothing that a request could be sent to
    NAME = "name"  # the host's name cannot be looked up
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    PROXY = "proxy"  # the proxy is not there, or does not let the request through
    CERTIFICATE = "certificate"  # not trusted, or for another host
    CLOCK = "clock"  # a certificate that is expired or not yet valid
    TIMEOUT = "timeout"
    NOT_HTTP = "not-http"


@dataclass(frozen=True)
class Reply:
    """What came back: header names in lower case; `trouble` says in words why it is no answer."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    kind: Kind = Kind.ANSWER
    trouble: str = ""

    @property
    def answered(self) -> bool:
        return self.kind is Kind.ANSWER

    @property
    def is_page(self) -> bool:
        """Whether a page for a browser came."""
        start = self.body[:200].lstrip().lower()
        kind = self.headers.get("content-type", "")
        return "html" in kind or start.startswith((b"<!doctype html", b"<html"))

    def json(self) -> object:
        """Return the body's JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def fetch(
    url: str,
    env: Mapping[str, str],
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 2.0,
    *,
    verify: bool = True,
) -> Reply:
    """Send one GET and return what came of it, within `seconds` whatever the other side does.

    Proxies and certificates come from `env`, as the generated app's own client reads them.
    Redirects are not followed: the headers may hold a key.
    """
    return _bounded(_Ask(url, env, headers, verify=verify), seconds)


def _bounded(ask: "_Ask", seconds: float) -> Reply:
    if not is_address(ask.url):
        return _trouble(Kind.ADDRESS, "that is no address of the form http://… or https://…")
    ask = replace(ask, deadline=time.monotonic() + seconds)
    seen = [Reply(kind=Kind.TIMEOUT, trouble=f"no answer within {seconds:g} s")]
    # A name that is looked up cannot be interrupted: the thread is left behind if need be.
    within(lambda: _observe(ask, seen), seconds)
    last = seen[-1]
    return replace(last, seconds=seconds) if last.kind is Kind.TIMEOUT else last


def send(
    url: str,
    env: Mapping[str, str],
    content: object,
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 5.0,
) -> Reply:
    """POST a value as JSON; return what came of it, as `fetch` does."""
    body = json.dumps(content).encode()
    return _bounded(_Ask(url, env, {"content-type": "application/json", **headers}, body), seconds)


def follow(
    url: str,
    env: Mapping[str, str],
    enough: Callable[[bytes], bool],
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 60.0,
) -> Reply:
    """Read a stream as `fetch` reads a page, until it ends or what has come is enough."""
    return _bounded(_Ask(url, env, headers, enough=enough), seconds)


def fetch_all(
    urls: Sequence[str],
    env: Mapping[str, str],
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 2.0,
) -> list[Reply]:
    """Fetch several addresses at the same time; their replies, in order."""
    replies = [Reply(kind=Kind.TIMEOUT, trouble=f"no answer within {seconds:g} s") for _ in urls]

    def get(place: int, url: str) -> None:
        replies[place] = fetch(url, env, headers, seconds)

    threads = [threading.Thread(target=get, args=each, daemon=True) for each in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def within(function: Callable[[], _T], seconds: float) -> _T | None:
    """Run what cannot be interrupted; None when it raises or does not end in time."""
    result: list[_T] = []

    def work() -> None:
        with contextlib.suppress(Exception):
            result.append(function())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return next(iter(result), None)


def listens(url: str, seconds: float = 0.2) -> bool:
    """Tell whether anything takes a connection there: quicker than a request."""

    def knock() -> bool:
        parts = urlsplit(url)
        socket.create_connection((parts.hostname, port_of(parts)), timeout=seconds).close()
        return True

    return bool(within(knock, 2 * seconds))


# One request


def _never(_body: bytes) -> bool:
    return False


@dataclass(frozen=True)
class _Ask:
    """A request: a POST when it has content. `enough` ends the reading of an endless answer."""

    url: str
    env: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes | None = None
    enough: Callable[[bytes], bool] = _never
    deadline: float = 0.0
    verify: bool = True

    @property
    def left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.01)

    @property
    def method(self) -> str:
        return "GET" if self.content is None else "POST"

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def proxy(self) -> str:
        return proxy_for(self.url, self.env)


def _observe(ask: _Ask, seen: list[Reply]) -> None:
    """Add to `seen` what is known, more with each step; the last entry holds."""
    began = time.monotonic()
    try:
        seen.extend(_steps(ask))  # one by one: each holds as soon as it is known
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets words
        seen.append(replace(_explain(error, ask), seconds=time.monotonic() - began))
        if seen[-1].kind is Kind.CERTIFICATE:
            seen.append(_with_issuer(seen[-1], ask))


def _steps(ask: _Ask) -> Iterator[Reply]:
    with _client(ask, _trust(ask.env, verify=ask.verify)) as client:
        began = time.monotonic()
        if not ask.proxy:
            yield Reply(kind=Kind.NAME, trouble=f'the look-up of "{ask.parts.hostname}" hangs')
            socket.getaddrinfo(ask.parts.hostname, port_of(ask.parts), type=socket.SOCK_STREAM)
        yield Reply(kind=Kind.TIMEOUT, trouble="no answer in time")
        with client.stream(
            ask.method, ask.url, headers=dict(ask.headers), content=ask.content
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            reply = Reply(response.status_code, headers, seconds=time.monotonic() - began)
            slow = "its answer has begun but does not end"
            yield replace(reply, kind=Kind.TIMEOUT, trouble=slow)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                late = time.monotonic() > ask.deadline
                if len(body) >= LIMIT or late or ask.enough(bytes(body)):
                    break
            if time.monotonic() <= ask.deadline:
                yield _through_proxy(replace(reply, body=bytes(body[:LIMIT])), ask)


def _client(ask: _Ask, trust: "ssl.SSLContext | bool") -> "httpx2.Client":
    import httpx2  # noqa: PLC0415 - only requests need it

    return httpx2.Client(
        verify=trust,
        proxy=ask.proxy or None,
        trust_env=False,
        timeout=ask.left,
        headers={"user-agent": f"hackkit/{VERSION}", "accept-encoding": "identity"},
    )


def _trust(env: Mapping[str, str], *, verify: bool) -> "ssl.SSLContext | bool":
    """Return the certificates that the generated app trusts: those that httpx2 reads."""
    import ssl  # noqa: PLC0415 - only requests need it

    import httpx2  # noqa: PLC0415 - the same

    if not verify:
        return False
    file, folder = env.get("SSL_CERT_FILE"), env.get("SSL_CERT_DIR")
    try:
        if file:
            return ssl.create_default_context(cafile=file)
        if folder:
            return ssl.create_default_context(capath=folder)
    except OSError as error:
        raise _NoCertificatesError("SSL_CERT_FILE" if file else "SSL_CERT_DIR") from error
    return httpx2.create_ssl_context(trust_env=False)


class _NoCertificatesError(Exception):
    """The variable of this name leads to no certificates."""


def _through_proxy(reply: Reply, ask: _Ask) -> Reply:
    if reply.status == 407:  # noqa: PLR2004 - "Proxy Authentication Required"
        return replace(reply, kind=Kind.PROXY, trouble=_WANTS_LOGIN.format(place_of(ask.proxy)))
    return reply


# What went wrong, in words


def _explain(error: Exception, ask: _Ask) -> Reply:
    """Say what an exception means. Its own text may hold a header, so it is never repeated."""
    import ssl  # noqa: PLC0415 - only requests need it

    tls = _first(error, ssl.SSLError)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _about_certificate(tls, ask)
    if isinstance(error, _NoCertificatesError):
        return _trouble(Kind.CERTIFICATE, f"{error} leads to no certificates")
    if tls and not isinstance(tls, ssl.SSLEOFError):
        return _trouble(Kind.NOT_HTTP, "no encrypted connection can be made: no HTTPS there")
    if ask.proxy and (words := _about_proxy(error, ask.proxy)):
        return _trouble(Kind.PROXY, words)
    return _about_connection(error, ask)


def _about_connection(error: Exception, ask: _Ask) -> Reply:
    import ssl  # noqa: PLC0415 - only requests need it

    import httpx2  # noqa: PLC0415 - the same

    place = place_of(ask.url)
    hangs_up = f"{place} hangs up without an HTTP answer: a filter, perhaps"
    if "disconnected" in str(error):  # before a first byte: no protocol was broken
        return _trouble(Kind.UNREACHABLE, hangs_up)
    kinds: list[tuple[type[Exception], Kind, str]] = [
        (httpx2.TimeoutException, Kind.TIMEOUT, "no answer in time"),
        (socket.gaierror, Kind.NAME, f'the name "{ask.parts.hostname}" cannot be looked up'),
        (ConnectionRefusedError, Kind.REFUSED, f"nothing listens at {place}"),
        (ssl.SSLEOFError, Kind.UNREACHABLE, hangs_up),
        (ConnectionResetError, Kind.UNREACHABLE, hangs_up),
        (httpx2.RemoteProtocolError, Kind.NOT_HTTP, f"{place} does not speak HTTP"),
        (httpx2.DecodingError, Kind.NOT_HTTP, f"{place} sends what cannot be decoded"),
        (httpx2.NetworkError, Kind.UNREACHABLE, f"{place} cannot be reached"),
        (OSError, Kind.UNREACHABLE, f"{place} cannot be reached"),
    ]
    for kind, meaning, words in kinds:
        if _first(error, kind):
            return _trouble(meaning, words)
    return _trouble(Kind.ADDRESS, "the address or the key cannot be put into a request")


def _trouble(kind: Kind, words: str) -> Reply:
    return Reply(kind=kind, trouble=words)


def _about_certificate(error: "ssl.SSLCertVerificationError", ask: _Ask) -> Reply:
    code, said = getattr(error, "verify_code", 0), str(error).lower()
    if code in _WRONG_TIME or "expired" in said or "not yet valid" in said:
        early = code == 9 or "not yet valid" in said  # noqa: PLR2004 - OpenSSL's number for it
        when = "not valid yet" if early else "expired"
        return _trouble(Kind.CLOCK, f"its certificate is {when}: is this machine's clock right?")
    if code in _WRONG_NAME or "hostname mismatch" in said or "name does not match" in said:
        words = f"its certificate is not for {ask.parts.hostname}"
        return _trouble(Kind.CERTIFICATE, f"{words}: {_INTERCEPTED}")
    words = f"its certificate is issued by {_SOMEONE}, not trusted here"
    return _trouble(Kind.CERTIFICATE, f"{words}: {_INTERCEPTED}")


_WANTS_LOGIN = "the proxy at {} wants a user name and a password"
_SOMEONE = "someone unknown"
_INTERCEPTED = "an intercepting proxy or a captive portal"


def _about_proxy(error: Exception, proxy: str) -> str:
    """Say what is wrong with a proxy; nothing when the trouble is another."""
    import httpx2  # noqa: PLC0415 - only requests need it

    where, status = place_of(proxy), str(error)[:3]
    if isinstance(error, ImportError):
        return f"the proxy at {where} is a SOCKS one, which the app cannot use"
    if isinstance(error, httpx2.ProxyError):
        refusal = f" ({status})" if status.isdecimal() else ""
        return (
            _WANTS_LOGIN.format(where)
            if status == "407"
            else f"{where} lets nothing through" + refusal
        )
    if _first(error, socket.gaierror):
        return f"the name of the proxy at {where} cannot be looked up"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return f"no proxy answers at {where}"
    return ""


def _with_issuer(reply: Reply, ask: _Ask) -> Reply:
    """Name who issued the certificate that was not trusted: it tells who sits in between."""
    issuer = ""
    try:
        issuer = _issuer(replace(ask, headers={}))
    except Exception:  # noqa: BLE001 - the trouble is known already, this only adds to it
        return reply
    if not issuer:
        return reply
    words = reply.trouble.replace(_SOMEONE, f"'{issuer}'")
    if words == reply.trouble:
        words = f"{words} (issued by '{issuer}')"
    return replace(reply, trouble=words)


def _issuer(ask: _Ask) -> str:
    """Ask twice, without any header of the caller's: Python decodes only what it has verified.

    So the certificate that came the first time is what is trusted the second time.
    """
    import ssl  # noqa: PLC0415 - only requests need it

    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    shown = _certificate(ask, blind, raw=True)
    sure = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(shown))
    sure.check_hostname = False
    sure.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    sure.verify_flags &= ~ssl.VERIFY_X509_STRICT
    issuer = _certificate(ask, sure, raw=False)["issuer"]
    names: dict[str, str] = dict(pair for part in issuer for pair in part)
    return names.get("organizationName") or names.get("commonName", "")


def _certificate(ask: _Ask, trust: "ssl.SSLContext", *, raw: bool) -> Any:  # noqa: ANN401 - two forms
    """Connect, and return the certificate that is shown, whatever answers after that."""
    shown: list[Any] = []

    def watch(event: str, seen: Mapping[str, Any]) -> None:
        if event.endswith("start_tls.complete"):
            # Positional: this is the C object below Python's own.
            shown.append(seen["return_value"].get_extra_info("ssl_object").getpeercert(raw))

    with contextlib.suppress(Exception), _client(ask, trust) as client:
        client.head(ask.url, extensions={"trace": watch})
    return shown[-1]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first(error: Exception, kind: type[BaseException]) -> BaseException | None:
    """Return the cause of this kind, however deep it lies."""
    return next((cause for cause in _causes(error) if isinstance(cause, kind)), None)
