"""Serves the page, and decides to whom: by host name, origin, password and questions per hour."""

import hmac
import ipaddress
import logging
import os
import re
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.context import LocalContext
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from plumbing.settings import ModelSettings

HOUR = 3600
MOST_VISITORS = 10_000  # that are counted at the same time
HOST = re.compile(r"(?a)(?:\[([\da-fA-F.]*:[\da-fA-F:.]*)\]|([\w.-]+))(?::\d{1,5})?")
OTHER_HOST = """This app is for this machine only, and not served as {!r}.
Fix: open http://127.0.0.1 with its port, or set HOST=0.0.0.0 or ALLOWED_ORIGINS in .env"""
OTHER_SITE = """A page of another site ({!r}) may not send requests to this app.
Fix: if it is your own front end, add its address to ALLOWED_ORIGINS in .env"""
OTHER_FILE = "This app serves no files of other sites: they could run scripts as its own."
TOO_MANY_WRONG = "After 20 wrong ones, wait a minute."
NO_PASSWORD = f"""This app has a password. {TOO_MANY_WRONG}
Fix: send the header Authorization: Bearer APP_PASSWORD"""

VISITOR: ContextVar[str] = ContextVar("VISITOR", default="")  # whose request this is
# A platform's variable, and the header with the visitor's address, which its proxy sets or extends.
PLATFORMS = {
    "FLY_APP_NAME": "fly-client-ip",
    "RENDER": "cf-connecting-ip",
    "SPACE_ID": "x-forwarded-for",
    "K_SERVICE": "x-forwarded-for",  # Cloud Run
    "MODAL_TASK_ID": "x-forwarded-for",
}


@contextmanager
def serving(page: gr.Blocks, settings: ModelSettings, **options: Any) -> Iterator[str]:
    """Serve the page meanwhile, and yield its address. Options: those of gr.mount_gradio_app.

    Not by Gradio's launch(), which ends an app that is slow to answer Gradio's own first request.
    """
    listener = _listen(settings)
    app = _app(page, settings, options)
    config = uvicorn.Config(app, log_level="warning", proxy_headers=False)
    config.timeout_graceful_shutdown = 0  # an open page never ends by itself
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        if not thread.is_alive():
            sys.exit("The app could not start. The lines above have the cause.")
    try:
        host, port = listener.getsockname()[:2]
        names = {"0.0.0.0": "localhost", "::": "localhost", "::1": "[::1]"}
        yield f"http://{names.get(host, host)}:{port}/"
    finally:
        logging.getLogger("uvicorn.error").disabled = True  # of the requests that end here
        server.should_exit = True
        thread.join(3)


def _app(page: gr.Blocks, settings: ModelSettings, options: dict[str, Any]) -> FastAPI:
    wanted = {"max_file_size": f"{settings.max_file_mb}mb", "footer_links": [], "ssr_mode": False}
    if password := settings.app_password.get_secret_value():
        wanted["auth"] = lambda name, given: _is_right(given, password)
        wanted["auth_message"] = f"Any name, and the password. {TOO_MANY_WRONG}"
    app = FastAPI(openapi_url=None)
    # With this, Gradio adds no headers of its own, which let every site read a public app.
    app.add_middleware(CORSMiddleware, settings.origins, ["*"], ["*"], allow_credentials=True)
    app.add_middleware(Guard, settings)  # comes first
    page.queue(default_concurrency_limit=8)  # answers at the same time
    page.has_launched = True  # only then does Gradio check that a sent path is an upload
    if os.environ.get("SPACES_ZERO_GPU"):  # its package waits for Gradio's launch()
        from spaces.zero import startup

        startup()
    return gr.mount_gradio_app(app, page, "/", show_error=False, **wanted, **options)


def _listen(settings: ModelSettings) -> socket.socket:
    """Listen at HOST and PORT; without PORT at 7860, or the next free one."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ports = [settings.port] if settings.port else range(7860, 7960)
    for port in ports:
        try:
            listener = socket.create_server((host, port), family=family)
            # asyncio does so for sockets of its own only; without it, messages wait 40 ms
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener
        except OSError as error:
            reason = error
    sys.exit(f"The app could not start: {reason}\nFix: choose another PORT in .env")


class Guard:
    """Refuses requests by other sites' pages; where only this machine is served, other host names.

    For a site can point its own name to 127.0.0.1 (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: ModelSettings) -> None:
        self.app = app
        self.is_local = _is_loopback(settings.host.strip("[]"))
        self.origins = settings.origins
        self.password = settings.app_password.get_secret_value()
        known = [header for name, header in PLATFORMS.items() if os.environ.get(name)]
        self.header = settings.visitor_header or "".join(known[:1])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            headers = Headers(scope=scope)
            scope = {**scope, "client": self._visitor(headers) or scope.get("client")}
            VISITOR.set((scope["client"] or [""])[0])
            if refusal := self._refusal(scope, headers):
                await PlainTextResponse(*refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[str, int] | None:
        others = [name for name in headers.getlist("host") or [""] if not self._is_ours(name)]
        if others:
            reason = OTHER_HOST if self.is_local else "{!r} is no host name."
            return reason.format(others[0][:100]), 403
        # A websocket has no method.
        if scope.get("method") not in ("GET", "HEAD", "OPTIONS") and self._is_foreign(headers):
            sender = headers.get("origin") or headers.get("referer") or "unknown"
            return OTHER_SITE.format(sender[:100]), 403
        if "/file=http" in scope["path"].lower():
            return OTHER_FILE, 403
        # Gradio's login leaves out its MCP server.
        if not self.password or not scope["path"].startswith("/gradio_api/mcp"):
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        return None if _is_right(given, self.password) else (NO_PASSWORD, 401)

    def _is_ours(self, host: str) -> bool:
        name, is_listed = _name(host), host.lower() in map(_host, self.origins)
        return is_listed or (_is_loopback(name) if self.is_local else bool(name or not host))

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a page of another site sends this request; programs send no Origin."""
        site = headers.get("sec-fetch-site", "none")  # browsers set it, pages cannot
        if site == "same-origin" and not self.is_local:  # a proxy may have changed the host name
            return False
        referers = ["/".join(each.split("/")[:3]) for each in headers.getlist("referer")]
        origins = [each.lower() for each in headers.getlist("origin") or referers]
        own = headers.get("host", "-").lower()
        if not origins:
            return site not in ("none", "same-origin")
        return any(_host(each) != own and each not in self.origins for each in origins)

    def _visitor(self, headers: Headers) -> tuple[str, int] | None:
        """The last public address in the header; those before it may be made up by the visitor."""
        listed = ",".join(headers.getlist(self.header)).split(",") if self.header else []
        last_first = [_name(each.strip()) or each.strip() for each in reversed(listed)]
        outer = (each for each in last_first if not _network(each) or _network(each, public=True))
        last = next(outer, "")  # if it is no address, the proxy did not write it as we expect
        return (last, 0) if _network(last) else None


def _host(origin: str) -> str:
    return origin.partition("://")[2]


def _name(host: str) -> str:
    """The name or address in a Host header, without port and brackets; empty if malformed."""
    found = HOST.fullmatch(host)
    name = (found[1] or found[2]) if found else ""
    return name if _network(name) or (name.strip("0123456789.") and ":" not in name) else ""


def _is_loopback(name: str) -> bool:
    return name.lower() == "localhost" or name == "::1" or _network(name).startswith("127.")


def _network(address: str, public: bool = False) -> str:
    """An address, for IPv6 its /64 network, which is one visitor's; empty if it is none."""
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return ""
    number = getattr(number, "ipv4_mapped", None) or number
    network = ipaddress.ip_network((number, 32 if number.version == 4 else 64), strict=False)
    return str(network) if number.is_global or not public else ""


class VisitorLimit:
    """Counts the questions of each visitor, by network address, in the last hour (`seconds`)."""

    def __init__(self, limit: int, seconds: int = HOUR, clock: Any = time.monotonic) -> None:
        self.limit, self.seconds = limit, seconds  # limit 0: none
        self.clock = clock
        self._asked: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def count(self, visitor: str = "") -> None:
        """Count a question; by default of the page's visitor. Raises gr.Error at the limit."""
        request = LocalContext.request.get(None)
        visitor = visitor or (request and request.client and request.client.host) or ""
        if not self.limit or not visitor:  # no visitor: the command line
            return
        with self._lock:
            if (wait := self.wait(visitor)) > 0:
                raise gr.Error(_too_many(self.limit, wait), print_exception=False)
            name = _network(visitor) or visitor
            times = self._asked.pop(name, deque(maxlen=self.limit))
            times.append(self.clock())
            self._asked[name] = times  # at the end: who asked last
            if len(self._asked) > MOST_VISITORS:
                del self._asked[next(iter(self._asked))]

    def wait(self, visitor: str) -> float:
        """The seconds until this visitor may ask again; 0 or less: now."""
        times = self._asked.get(_network(visitor) or visitor, ())
        return times[0] + self.seconds - self.clock() if times and len(times) == self.limit else 0


WRONG = VisitorLimit(20, seconds=60)


def _is_right(given: str, password: str) -> bool:
    """Compare a password; after too many wrong ones of a visitor, every one is wrong."""
    is_right = hmac.compare_digest(given.encode(), password.encode())
    if (may_try := WRONG.wait(VISITOR.get()) <= 0) and not is_right:
        WRONG.count(VISITOR.get())
    return may_try and is_right


def _too_many(limit: int, seconds: float) -> str:
    minutes = int(seconds // 60) + 1
    asked, back = f"{limit} question{'s' * (limit > 1)}", f"{minutes} minute{'s' * (minutes > 1)}"
    return f"You have asked {asked} in the last hour, this app's limit. Come back in {back}."
