"""Downloads public web pages and files; refuses addresses inside your own network."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from plumbing.readers import READERS, Unreadable

MAX_REDIRECTS = 5
SECONDS = 20  # for a whole download


def fetch(
    url: str,
    max_mb: int,
    allowed: Callable[[str], bool] | None = None,
    seconds: float = SECONDS,
    timer: Callable[[float, Callable[[], None]], threading.Timer] = threading.Timer,
) -> tuple[str, bytes]:
    """Download a page or file: its file extension (".html") and its bytes. Raises Unreadable.

    `allowed` decides on an IP address, also after a redirect; by default it must be public.
    """
    import httpx2

    # No proxy from the environment: it would look up the name again, after our check.
    client = httpx2.Client(timeout=seconds / 2, trust_env=False, verify=_trusted())
    with client, _given_up(client, seconds, timer):
        for _ in range(MAX_REDIRECTS + 1):
            with client.stream("GET", **_checked(url, allowed or is_public)) as response:
                if not response.has_redirect_location:
                    data = _download(response, max_mb)
                    return _ending(url, response.headers.get("content-type", "")), data
                url = urljoin(url, response.headers["location"])
    raise Unreadable("redirects too often")


@contextmanager
def _given_up(client: Any, seconds: float, timer: Callable[..., threading.Timer]) -> Iterator[None]:
    """Close the client after so many seconds: its own limit is for each read, not for the whole."""
    import httpx2

    late = threading.Event()

    def give_up() -> None:
        late.set()
        client.close()

    alarm = timer(seconds, give_up)
    alarm.start()
    try:
        yield
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError) as error:
        cause = f"more than {seconds:g} seconds" if late.is_set() else type(error).__name__
        raise Unreadable(f"could not be fetched ({cause})") from error
    finally:
        alarm.cancel()


@cache
def _trusted() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)  # slower than a small page


def _download(response: Any, max_mb: int) -> bytes:
    if response.is_error:
        raise Unreadable(f"the server answered {response.status_code}")
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
    return bytes(data)


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet, not on this machine or its network."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # IPv4 inside IPv6 (NAT64)
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def _checked(url: str, allowed: Callable[[str], bool]) -> dict[str, Any]:
    """The request for a URL, to the same IP address that was checked (no second DNS lookup)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unreadable("is not an http:// or https:// address")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    if not all(allowed(address) for address in addresses):
        raise Unreadable("is an address inside your own network, which is not allowed")
    address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    host = parts.netloc.rpartition("@")[2].encode("idna").decode()
    return {
        "url": parts._replace(netloc=f"{address}:{port}", fragment="").geturl(),
        "headers": {"Host": host, "User-Agent": "page-reader"},
        "extensions": {"sni_hostname": parts.hostname},
    }


def _ending(url: str, content_type: str) -> str:
    """The file extension for a download: from its content type, else from the URL."""
    kinds = {"html": ".html", "pdf": ".pdf", "wordprocessing": ".docx", "presentation": ".pptx"}
    kinds |= {"csv": ".csv", "markdown": ".md"}
    for kind, ending in kinds.items():
        if kind in content_type.lower():
            return ending
    ending = Path(urlsplit(url).path).suffix.lower()
    if ending in READERS:
        return ending
    return {"text/plain": ".txt", "": ".html"}.get(content_type.partition(";")[0].lower(), "")
