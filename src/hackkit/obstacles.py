"""What keeps a site from answering, in words, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from hackkit.addresses import host_of, origin_of
from hackkit.findings import Finding
from hackkit.web import Kind, Reply

SLOW = 1.0  # seconds


ANOTHER_NETWORK = "use another network, such as a phone's hotspot"


_LOGIN_DUE = 511  # "Network Authentication Required"


_BLOCKED = {403, 451}


# What keeps one site from answering, and keeps others, too.
_COMMON = {Kind.NAME, Kind.UNREACHABLE, Kind.TIMEOUT, Kind.PROXY, Kind.CERTIFICATE, Kind.CLOCK}
_LOGIN = "login"


_UNSET_PROXIES = {
    "linux": "unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY",
    "windows": "Remove-Item Env:HTTP_PROXY, Env:HTTPS_PROXY, Env:ALL_PROXY -ErrorAction Ignore",
}


SET_CLOCK = {
    "linux": "sudo timedatectl set-ntp true",
    "darwin": "sudo sntp -sS time.apple.com",
    "windows": "w32tm /resync",
}


@dataclass(frozen=True)
class Site:
    """An address that is asked: `variable` sets it, `pages` says that it may answer in HTML."""

    url: str
    variable: str = ""
    system: str = "linux"
    pages: bool = False


@dataclass(frozen=True)
class Obstacle:
    """What stands between this machine and a site, and what to do about it."""

    words: str
    fix: str
    cause: str = ""  # what stands in the way of other sites, too

    def told(self, bad: Callable[[str, str], Finding]) -> Finding:
        """Make it a `warning` or a `failure`."""
        return replace(bad(self.words, self.fix), cause=self.cause)


def obstacle(reply: Reply, site: Site) -> Obstacle | None:
    """Tell what kept a site from answering; None when it was the site itself that answered."""
    if not reply.answered:
        cause = reply.kind if reply.kind in _COMMON else ""
        return Obstacle(reply.trouble, _fix(reply, site), cause)
    target = _elsewhere(reply, site.url)
    if target:
        words = f"the network sends us to {host_of(target)}: the venue's login page, it seems"
        return Obstacle(words, f"open {target} in a browser and log in", _LOGIN)
    page = reply.is_page and not site.pages
    if reply.status == _LOGIN_DUE or (page and reply.status in range(300)):
        words = "a web page answers instead: the venue's login page, it seems"
        return Obstacle(words, f"open http://{host_of(site.url)} in a browser and log in", _LOGIN)
    if page and reply.status in _BLOCKED:
        words = f"a web page refuses us ({reply.status}): a filter of this network, it seems"
        return Obstacle(words, ANOTHER_NETWORK, "filter")
    return None


def pace(reply: Reply) -> str:
    """Write how long an answer took."""
    return f"{reply.seconds:.1f} s" if reply.seconds >= SLOW else f"{reply.seconds * 1000:.0f} ms"


def _elsewhere(reply: Reply, url: str) -> str:
    """Return where a redirect to another host leads."""
    target = urljoin(url, reply.headers.get("location", ""))
    moved = 300 <= reply.status < 400 and host_of(target) != host_of(url)  # noqa: PLR2004 - redirects
    return target if moved else ""


def _fix(reply: Reply, site: Site) -> str:
    kind, host = reply.kind, host_of(site.url)
    if kind is Kind.PROXY and "password" in reply.trouble:
        return "set HTTPS_PROXY and HTTP_PROXY to http://NAME:PASSWORD@HOST:PORT"
    if kind is Kind.PROXY:
        return _UNSET_PROXIES["windows" if site.system == "windows" else "linux"]
    if kind is Kind.CLOCK:
        return SET_CLOCK.get(site.system, SET_CLOCK["linux"])
    if kind is Kind.CERTIFICATE:
        return f"open http://{host} and log in, or set SSL_CERT_FILE to your network's certificate"
    if kind is Kind.ADDRESS or (site.variable and kind is Kind.NOT_HTTP):
        return f"edit .env: give {site.variable or 'it'} an address like https://example.com"
    return f"open {origin_of(site.url)} in a browser: is this machine online?"
