"""The only module that uses httpx2: sends requests with limits, and explains errors."""

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

from hackkit.errors import causes
from hackkit.network.urls import is_address, place_of, port_of, proxy_for
from hackkit.version import VERSION

if TYPE_CHECKING:  # imported with the first request, as that takes 50 ms
    import ssl

    import httpx2

_T = TypeVar("_T")

LIMIT = 4_000_000  # bytes of a body that are read
_NOTHING: Mapping[str, str] = {}

# Certificate errors: the codes of OpenSSL, then those of Windows (unsigned and signed) and macOS,
# which verify certificates there.
_WRONG_NAME = {62, 64, 0x800B010F, 0x800B010F - 2**32, -67602}
_WRONG_TIME = {9, 10, 0x800B0101, 0x800B0101 - 2**32, -67818, -67819}


class Kind(StrEnum):
    """How a request ended. Only an ANSWER has a status; a TIMEOUT may have one."""

    ANSWER = "answer"
    ADDRESS = "address"  # not a valid address
    NAME = "name"  # the host's name cannot be resolved
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    PROXY = "proxy"  # the proxy does not answer, or refuses the request
    CERTIFICATE = "certificate"  # not trusted, or for another host
    CLOCK = "clock"  # a certificate that is expired or not yet valid
    TIMEOUT = "timeout"
    NOT_HTTP = "not-http"


@dataclass(frozen=True)
class Reply:
    """An answer, with header names in lower case, or the error that came instead."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    kind: Kind = Kind.ANSWER
    error: str = ""

    @property
    def answered(self) -> bool:
        return self.kind is Kind.ANSWER

    @property
    def is_page(self) -> bool:
        """Whether the answer is a web page."""
        start = self.body[:200].lstrip().lower()
        kind = self.headers.get("content-type", "")
        return "html" in kind or start.startswith((b"<!doctype html", b"<html"))

    @property
    def refuses_key(self) -> bool:
        """Whether the key is wrong or missing; a gateway may say so with 400 and words about it."""
        words = self.body[:4000].lower()
        about = any(word in words for word in (b"api key", b"api_key", b"auth", b"virtual key"))
        return self.status in {401, 403} or (self.status == 400 and about)  # noqa: PLR2004

    def json(self) -> object:
        """Return the body as JSON; None when it is not JSON."""
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
    """Send one GET request; the reply comes within `seconds`, whatever the server does.

    Proxies and certificates come from `env`, as in the generated app's own client. Redirects are
    not followed, as the headers may contain a key.
    """
    return _bounded(_Request(url, env, headers, verify=verify), seconds)


def _bounded(request: "_Request", seconds: float) -> Reply:
    if not is_address(request.url):
        return _failed(Kind.ADDRESS, "not an address like http://… or https://…")
    request = replace(request, deadline=time.monotonic() + seconds)
    seen = [Reply(kind=Kind.TIMEOUT, error=f"no answer within {seconds:g} s")]
    # Resolving a name cannot be interrupted: the thread may go on after the deadline.
    within(lambda: _observe(request, seen), seconds)
    last = seen[-1]
    return replace(last, seconds=seconds) if last.kind is Kind.TIMEOUT else last


def send(
    url: str,
    env: Mapping[str, str],
    content: object,
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 5.0,
) -> Reply:
    """POST bytes, or a value as JSON; the reply is like that of `fetch`."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return _bounded(
        _Request(url, env, {"content-type": "application/json", **headers}, body), seconds
    )


def follow(
    url: str,
    env: Mapping[str, str],
    enough: Callable[[bytes], bool],
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 60.0,
) -> Reply:
    """Read a stream until it ends, or until `enough` of its body; the reply is like `fetch`'s."""
    return _bounded(_Request(url, env, headers, enough=enough), seconds)


def fetch_all(
    urls: Sequence[str],
    env: Mapping[str, str],
    headers: Mapping[str, str] = _NOTHING,
    seconds: float = 2.0,
) -> list[Reply]:
    """Fetch several addresses at the same time; return their replies, in order."""
    replies = [Reply(kind=Kind.TIMEOUT, error=f"no answer within {seconds:g} s") for _ in urls]

    def get(place: int, url: str) -> None:
        replies[place] = fetch(url, env, headers, seconds)

    threads = [threading.Thread(target=get, args=each, daemon=True) for each in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def within(function: Callable[[], _T], seconds: float) -> _T | None:
    """Call a function that cannot be interrupted; None when it raises or takes too long."""
    result: list[_T] = []

    def work() -> None:
        with contextlib.suppress(Exception):
            result.append(function())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return next(iter(result), None)


def listens(url: str, seconds: float = 0.2) -> bool:
    """Return whether a server accepts connections there; quicker than a request."""

    def connect() -> bool:
        parts = urlsplit(url)
        socket.create_connection((parts.hostname, port_of(parts)), timeout=seconds).close()
        return True

    return bool(within(connect, 2 * seconds))


# One request


def _never(_body: bytes) -> bool:
    return False


@dataclass(frozen=True)
class _Request:
    """A request: a POST when it has content. `enough` stops the reading of an endless answer."""

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


def _observe(request: _Request, seen: list[Reply]) -> None:
    """Append to `seen` a reply for each step; the last one is valid."""
    began = time.monotonic()
    try:
        seen.extend(_steps(request))  # one by one: each is valid as soon as it is there
    except Exception as error:  # noqa: BLE001 - every error is explained
        seen.append(replace(_explain(error, request), seconds=time.monotonic() - began))
        if seen[-1].kind is Kind.CERTIFICATE:
            seen.append(_with_issuer(seen[-1], request))


def _steps(request: _Request) -> Iterator[Reply]:
    with _client(request, _trust(request.env, verify=request.verify)) as client:
        began = time.monotonic()
        if not request.proxy:
            yield Reply(
                kind=Kind.NAME, error=f'resolving "{request.parts.hostname}" takes too long'
            )
            socket.getaddrinfo(
                request.parts.hostname, port_of(request.parts), type=socket.SOCK_STREAM
            )
        yield Reply(kind=Kind.TIMEOUT, error="no answer in time")
        with client.stream(
            request.method, request.url, headers=dict(request.headers), content=request.content
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            reply = Reply(response.status_code, headers, seconds=time.monotonic() - began)
            slow = "its answer started but did not end"
            yield replace(reply, kind=Kind.TIMEOUT, error=slow)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                late = time.monotonic() > request.deadline
                if len(body) >= LIMIT or late or request.enough(bytes(body)):
                    break
            if time.monotonic() <= request.deadline:
                yield _through_proxy(replace(reply, body=bytes(body[:LIMIT])), request)


def _client(request: _Request, trust: "ssl.SSLContext | bool") -> "httpx2.Client":
    import httpx2  # noqa: PLC0415 - only requests need it

    return httpx2.Client(
        verify=trust,
        proxy=request.proxy or None,
        trust_env=False,
        timeout=request.left,
        headers={"user-agent": f"hackkit/{VERSION}", "accept-encoding": "identity"},
    )


def _trust(env: Mapping[str, str], *, verify: bool) -> "ssl.SSLContext | bool":
    """Return the certificates that the generated app trusts: those of httpx2."""
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
    """The variable of this name points to no certificates."""


def _through_proxy(reply: Reply, request: _Request) -> Reply:
    if reply.status == 407:  # noqa: PLR2004 - "Proxy Authentication Required"
        return replace(reply, kind=Kind.PROXY, error=_NEEDS_LOGIN.format(place_of(request.proxy)))
    return reply


# Errors in words


def _explain(error: Exception, request: _Request) -> Reply:
    """Explain an exception, without its own text, which may contain a header."""
    import ssl  # noqa: PLC0415 - only requests need it

    tls = _first(error, ssl.SSLError)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _about_certificate(tls, request)
    if isinstance(error, _NoCertificatesError):
        return _failed(Kind.CERTIFICATE, f"{error} points to no certificates")
    if tls and not isinstance(tls, ssl.SSLEOFError):
        return _failed(Kind.NOT_HTTP, "no encrypted connection: no HTTPS there")
    if request.proxy and (message := _about_proxy(error, request.proxy)):
        return _failed(Kind.PROXY, message)
    return _about_connection(error, request)


def _about_connection(error: Exception, request: _Request) -> Reply:
    import ssl  # noqa: PLC0415 - only requests need it

    import httpx2  # noqa: PLC0415 - the same

    place = place_of(request.url)
    hangs_up = f"{place} closes the connection without an answer, perhaps because of a filter"
    if "disconnected" in str(error):  # before the first byte, so it may well be HTTP
        return _failed(Kind.UNREACHABLE, hangs_up)
    kinds: list[tuple[type[Exception], Kind, str]] = [
        (httpx2.TimeoutException, Kind.TIMEOUT, "no answer in time"),
        (socket.gaierror, Kind.NAME, f'the name "{request.parts.hostname}" cannot be resolved'),
        (ConnectionRefusedError, Kind.REFUSED, f"nothing listens at {place}"),
        (ssl.SSLEOFError, Kind.UNREACHABLE, hangs_up),
        (ConnectionResetError, Kind.UNREACHABLE, hangs_up),
        (httpx2.RemoteProtocolError, Kind.NOT_HTTP, f"{place} does not answer in HTTP"),
        (httpx2.DecodingError, Kind.NOT_HTTP, f"the answer of {place} cannot be decoded"),
        (httpx2.NetworkError, Kind.UNREACHABLE, f"{place} cannot be reached"),
        (OSError, Kind.UNREACHABLE, f"{place} cannot be reached"),
    ]
    for kind, meaning, message in kinds:
        if _first(error, kind):
            return _failed(meaning, message)
    return _failed(
        Kind.ADDRESS, "the address or the key has characters that a request cannot contain"
    )


def _failed(kind: Kind, message: str) -> Reply:
    return Reply(kind=kind, error=message)


def _about_certificate(error: "ssl.SSLCertVerificationError", request: _Request) -> Reply:
    code, text = getattr(error, "verify_code", 0), str(error).lower()
    if code in _WRONG_TIME or "expired" in text or "not yet valid" in text:
        early = code == 9 or "not yet valid" in text  # noqa: PLR2004 - OpenSSL's number for it
        when = "not valid yet" if early else "expired"
        return _failed(Kind.CLOCK, f"its certificate is {when}: is this machine's clock right?")
    if code in _WRONG_NAME or "hostname mismatch" in text or "name does not match" in text:
        message = f"its certificate is not for {request.parts.hostname}"
        return _failed(Kind.CERTIFICATE, f"{message}: {_INTERCEPTED}")
    message = f"its certificate is issued by {_UNKNOWN}, not trusted here"
    return _failed(Kind.CERTIFICATE, f"{message}: {_INTERCEPTED}")


_NEEDS_LOGIN = "the proxy at {} requires a user name and a password"
_UNKNOWN = "an unknown issuer"
_INTERCEPTED = "probably an intercepting proxy or a captive portal"


def _about_proxy(error: Exception, proxy: str) -> str:
    """Explain an error of the proxy; nothing when the error is another."""
    import httpx2  # noqa: PLC0415 - only requests need it

    where, status = place_of(proxy), str(error)[:3]
    if isinstance(error, ImportError):
        return f"the proxy at {where} is a SOCKS proxy, which the app cannot use"
    if isinstance(error, httpx2.ProxyError):
        refusal = f" ({status})" if status.isdecimal() else ""
        return (
            _NEEDS_LOGIN.format(where)
            if status == "407"
            else f"the proxy at {where} refuses the request{refusal}"
        )
    if _first(error, socket.gaierror):
        return f"the name of the proxy at {where} cannot be resolved"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return f"no proxy answers at {where}"
    return ""


def _with_issuer(reply: Reply, request: _Request) -> Reply:
    """Add who issued the untrusted certificate: it shows which proxy intercepts the connection."""
    issuer = ""
    try:
        issuer = _issuer(replace(request, headers={}))
    except Exception:  # noqa: BLE001 - the error is already explained, this only adds to it
        return reply
    if not issuer:
        return reply
    message = reply.error.replace(_UNKNOWN, f"'{issuer}'")
    if message == reply.error:
        message = f"{message} (issued by '{issuer}')"
    return replace(reply, error=message)


def _issuer(request: _Request) -> str:
    """Return who issued the server's certificate.

    Python decodes only verified certificates, so there are two requests, without the caller's
    headers: the second one trusts the certificate of the first.
    """
    import ssl  # noqa: PLC0415 - only requests need it

    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    shown = _certificate(request, blind, raw=True)
    sure = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(shown))
    sure.check_hostname = False
    sure.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    sure.verify_flags &= ~ssl.VERIFY_X509_STRICT
    issuer = _certificate(request, sure, raw=False)["issuer"]
    names: dict[str, str] = dict(pair for part in issuer for pair in part)
    return names.get("organizationName") or names.get("commonName", "")


def _certificate(request: _Request, trust: "ssl.SSLContext", *, raw: bool) -> Any:  # noqa: ANN401 - two forms
    """Connect, and return the server's certificate, whatever it answers."""
    shown: list[Any] = []

    def watch(event: str, seen: Mapping[str, Any]) -> None:
        if event.endswith("start_tls.complete"):
            # A positional argument: this is the C object, not Python's.
            shown.append(seen["return_value"].get_extra_info("ssl_object").getpeercert(raw))

    with contextlib.suppress(Exception), _client(request, trust) as client:
        client.head(request.url, extensions={"trace": watch})
    return shown[-1]


def _first(error: Exception, kind: type[BaseException]) -> BaseException | None:
    """Return the first cause of this kind, at any depth."""
    return next((cause for cause in causes(error) if isinstance(cause, kind)), None)
