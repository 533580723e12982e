"""Parses web addresses and proxy settings, without any request."""

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def is_address(url: str) -> bool:
    """Return whether this is a valid http or https address."""
    try:
        parts = urlsplit(url)
        return parts.scheme in _PORTS and bool(parts.hostname) and port_of(parts) > 0
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine."""
    host = host_of(url)
    return host in {"localhost", "::1", "0.0.0.0"} or host.startswith("127.")  # noqa: S104 - compared


def variable(env: Mapping[str, str], name: str) -> str:
    """Return a proxy variable's value; lower case wins, as in every client."""
    return env[name.lower()] if name.lower() in env else env.get(name.upper(), "")


def proxy_for(url: str, env: Mapping[str, str]) -> str:
    """Return the proxy for a request to an address, or nothing."""
    scheme = urlsplit(url).scheme
    proxy = variable(env, f"{scheme}_proxy") or variable(env, "all_proxy")
    entries = [entry.strip() for entry in variable(env, "no_proxy").split(",")]
    if not proxy or any(_exempts(entry.lower(), url) for entry in entries if entry):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _exempts(entry: str, url: str) -> bool:
    """Return whether an entry of NO_PROXY matches an address, by the rules of httpx2."""
    if entry == "*":
        return True
    parts = urlsplit(url)
    host = parts.hostname or ""
    network = _in_network(entry, host)
    if network is not None:
        return network
    scheme, _, place = entry.rpartition("://")
    name, _, port = place.partition(":")
    if scheme not in {"", "all", parts.scheme} or (port and port != str(port_of(parts))):
        return False
    below = name.removeprefix("*").removeprefix(".")
    return host.endswith(f".{below}") or (host == name and below == name)


def _in_network(entry: str, host: str) -> bool | None:
    """Return whether a host is in a network like 10.0.0.0/8; None when the entry is no network."""
    import ipaddress  # noqa: PLC0415 - only needed behind a proxy

    try:
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return None
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False


def host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    return f"{urlsplit(url).scheme}://{place_of(url)}"


def place_of(url: str) -> str:
    """Return the host of an address, with the port if it is unusual, without a password."""
    parts = urlsplit(url)
    usual = parts.port in {None, _PORTS.get(parts.scheme)}
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if usual else f"{host}:{parts.port}"


def port_of(parts: SplitResult) -> int:
    return parts.port or _PORTS.get(parts.scheme, 0)
