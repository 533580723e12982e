"""Explains why a site cannot be reached, with a fix."""

from dataclasses import dataclass
from urllib.parse import urljoin

from hackkit.errors import Problem
from hackkit.network.fetch import Kind, Reply
from hackkit.network.urls import host_of, origin_of
from hackkit.system.command_line import Shell

SLOW = 1.0  # seconds

ANOTHER_NETWORK = "use another network, such as a phone's hotspot"

_LOGIN_NEEDED = 511  # "Network Authentication Required"

_BLOCKED = {403, 451}

# Causes that also block other sites.
_COMMON = {Kind.NAME, Kind.UNREACHABLE, Kind.TIMEOUT, Kind.PROXY, Kind.CERTIFICATE, Kind.CLOCK}
_LOGIN = "login"

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

SET_CLOCK = {
    "linux": "sudo timedatectl set-ntp true",
    "darwin": "sudo sntp -sS time.apple.com",
    "windows": "w32tm /resync",
}


@dataclass(frozen=True)
class Site:
    """An address: `variable` sets it; with `pages`, an answer in HTML is normal."""

    url: str
    variable: str = ""
    system: str = "linux"
    pages: bool = False


def why_blocked(reply: Reply, site: Site) -> Problem | None:
    """Return why a site cannot be reached, with a fix; None when the site itself answered."""
    if not reply.answered:
        cause = reply.kind if reply.kind in _COMMON else ""
        return Problem(reply.error, _fix(reply, site), cause)
    target = _elsewhere(reply, site.url)
    if target:
        message = f"the network redirects to {host_of(target)}, probably its login page"
        return Problem(message, f"open {target} in a browser and log in", _LOGIN)
    page = reply.is_page and not site.pages
    if reply.status == _LOGIN_NEEDED or (page and reply.status in range(300)):
        message = "a web page answers instead, probably the login page of this network"
        return Problem(message, f"open http://{host_of(site.url)} in a browser and log in", _LOGIN)
    if page and reply.status in _BLOCKED:
        message = f"blocked with a web page ({reply.status}), probably by a filter of this network"
        return Problem(message, ANOTHER_NETWORK, "filter")
    return None


def latency(reply: Reply) -> str:
    """Write the time of an answer ("320 ms")."""
    return f"{reply.seconds:.1f} s" if reply.seconds >= SLOW else f"{reply.seconds * 1000:.0f} ms"


def _elsewhere(reply: Reply, url: str) -> str:
    """Return the target of a redirect to another host."""
    target = urljoin(url, reply.headers.get("location", ""))
    moved = 300 <= reply.status < 400 and host_of(target) != host_of(url)  # noqa: PLR2004 - redirects
    return target if moved else ""


def _fix(reply: Reply, site: Site) -> str:
    kind, host = reply.kind, host_of(site.url)
    if kind is Kind.PROXY and "password" in reply.error:
        return "set HTTPS_PROXY and HTTP_PROXY to http://NAME:PASSWORD@HOST:PORT"
    if kind is Kind.PROXY:
        windows = site.system == "windows"  # where names have no case
        names = _PROXIES if windows else (*map(str.lower, _PROXIES), *_PROXIES)
        return Shell(windows=windows).unset(*names)
    if kind is Kind.CLOCK:
        return SET_CLOCK.get(site.system, SET_CLOCK["linux"])
    if kind is Kind.CERTIFICATE:
        return f"open http://{host} and log in, or set SSL_CERT_FILE to your network's certificate"
    if kind is Kind.ADDRESS or (site.variable and kind is Kind.NOT_HTTP):
        return f"edit .env: set {site.variable or 'it'} to an address like https://example.com"
    return f"open {origin_of(site.url)} in a browser: is this machine online?"
