"""Is a proxy set, and does localhost bypass it?

Fails when a proxy's address is invalid, and when it is a SOCKS proxy and the project lacks the
package for it. Warns when `NO_PROXY` lacks `localhost` or `127.0.0.1`: the app exempts this machine
itself, but other programs, and apps of a hackkit before 0.2, ask their own servers through it.
"""

from collections.abc import Iterator
from urllib.parse import urlsplit

from hackkit.doctor.findings import Category, Finding, failure, ok, warning
from hackkit.network.urls import proxy_for, variable
from hackkit.project.context import Context
from hackkit.system.uv import typed

TITLE = "Proxy"
CATEGORY = Category.NETWORK

_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_OURSELVES = ("localhost", "127.0.0.1")


def check(context: Context) -> Finding:
    used = {name: variable(context.env, name) for name in _NAMES if variable(context.env, name)}
    if not used:
        return ok("none set")
    if "*" in _exempt(context):
        return ok('none is used: NO_PROXY is "*"')
    for name, value in used.items():
        wrong = _wrong(_spelt(context, name), value, context)
        if wrong:
            return wrong
    missing = [host for host in _OURSELVES if _is_proxied(host, context)]
    if missing:
        spelt = " and ".join(missing)
        message = f"NO_PROXY lacks {spelt}: programs may ask this machine through the proxy"
        return warning(message, _extend(context))
    names = " and ".join(_spelt(context, name) for name in used)
    places = ", ".join(dict.fromkeys(map(_place, used.values())))
    return ok(f"{names}: {places}; localhost bypasses the proxy", tuple(_details(context)))


def _wrong(name: str, value: str, context: Context) -> Finding | None:
    scheme, host = _parts(value)
    if scheme not in {"http", "https", "socks5", "socks5h"} or not host:
        return failure(
            f"{name} is not the address of a proxy, like http://host:3128",
            context.shell.unset(name),
        )
    if scheme.startswith("socks") and not _supports_socks(context):
        return failure(
            f"{name} is a SOCKS proxy, and the app lacks a package for it", typed("add", "socksio")
        )
    return None


def _parts(value: str) -> tuple[str, str]:
    """Return a proxy's scheme and its host with the port: never its password."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "", ""
    return parts.scheme, f"{parts.hostname}{port}" if parts.hostname else ""


def _place(value: str) -> str:
    return _parts(value)[1]


def _supports_socks(context: Context) -> bool:
    if context.project is None:
        return True  # there is no app yet
    inside = context.project.folder / ".venv"
    found = (*inside.glob("lib/python*/site-packages/socksio"), *inside.glob("Lib/*/socksio"))
    return bool(found) or not inside.is_dir()


def _exempt(context: Context) -> list[str]:
    entries = variable(context.env, "no_proxy").split(",")
    return [entry.strip() for entry in entries if entry.strip()]


def _is_proxied(host: str, context: Context) -> bool:
    """Return whether a request to this machine goes through the proxy.

    httpx, which most Python programs use, compares names only: 127.0.0.0/8 has no effect.
    """
    plain = {name: value for name, value in context.env.items() if name.lower() != "no_proxy"}
    return bool(proxy_for(f"http://{host}", plain)) and host not in map(str.lower, _exempt(context))


def _spelt(context: Context, name: str) -> str:
    return name if name in context.env else name.upper()


def _extend(context: Context) -> str:
    value = ",".join(dict.fromkeys([*_OURSELVES, *_exempt(context)]))
    name = _spelt(context, "no_proxy")
    return context.shell.set(name, value)


def _details(context: Context) -> Iterator[str]:
    for name in (*_NAMES, "no_proxy"):
        large, small = context.env.get(name.upper()), context.env.get(name)
        if large and small is not None and large != small:
            yield f"{name.upper()} differs from {name}, which wins"
    yield f"not through the proxy: {', '.join(_exempt(context))}"
