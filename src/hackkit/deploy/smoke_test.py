"""Loads the page of a running Gradio app, and asks it one question over its API."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from hackkit.errors import HackkitError
from hackkit.network import fetch
from hackkit.network.fetch import Kind, Reply
from hackkit.network.urls import is_loopback
from hackkit.project.app_status import AppStatus
from hackkit.system import uv

_API = "/gradio_api"
_PAGE_SECONDS = 20.0
_DENIED = {401, 403}
_PASSWORD = "APP_PASSWORD"  # noqa: S105 - a variable's name
_COOKIE = re.compile(r"access-token-[\w-]+=[\w.-]+")
_FORM = "application/x-www-form-urlencoded"
_NOT_FOUND = 404
_STARTING = {502, 503, 504}  # a proxy's answers while the app starts
_PAUSE = 1.0  # seconds between two requests while it starts
_END = (b"\nevent: complete", b"\nevent: error")
_SHOWN = 160  # characters of a server's answer that a message quotes
QUESTION = "What is this about?"  # when the app suggests no question of its own
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


@dataclass(frozen=True)
class Answer:
    """An answer, and how long it took; `notice` is the app's own warning ("no network")."""

    text: str
    seconds: float
    notice: str = ""


class NoEndpointError(HackkitError):
    """The app runs, but has no API endpoint for questions."""


def question_of(status: AppStatus) -> tuple[str, str]:
    """Return the question to ask, and a note when it is not the app's own."""
    if status.question:
        return status.question, ""
    return QUESTION, f"not a question of the app: {status.problem or 'it suggests none'}"


def load_page(
    address: str, env: Mapping[str, str], token: str = "", seconds: float = _PAGE_SECONDS
) -> Reply:
    """Load the app's page; raise HackkitError when the answer is not an HTML page."""
    reply = fetch.fetch(_at(address), _without_proxies(address, env), _headers(token), seconds)
    _check(reply, address, "the page")
    if not reply.is_page:
        raise HackkitError(f"{address} answered, but not with a page: {_shown(reply)}.")
    return reply


def ask(
    address: str, question: str, env: Mapping[str, str], token: str = "", seconds: float = 60
) -> Answer:
    """Send a question to the app's endpoint `ask`, and return the answer.

    `token` opens a private Space, the variable APP_PASSWORD an app with a password. Raises
    NoEndpointError where there is no such endpoint, HackkitError when the answer is empty or takes
    longer than `seconds`.
    """
    started = time.monotonic()
    client = _Client(address, _without_proxies(address, env), _headers(token), started + seconds)
    client = client.logged_in(env.get(_PASSWORD, ""))
    client.check_endpoint()
    text, notice = _parts(client.wait_for_answer(client.send(question)))
    if not text.strip():
        raise HackkitError("The app's answer is empty.", fix=uv.typed("run", "app.py"))
    return Answer(text, time.monotonic() - started, notice)


@dataclass(frozen=True)
class _Client:
    address: str
    env: Mapping[str, str]
    headers: Mapping[str, str]
    deadline: float

    @property
    def left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.1)

    def logged_in(self, password: str) -> "_Client":
        """Return a client that is logged in, where the app has a login."""
        reply = self._info()
        if not _wants_login(reply):
            return self
        form = urlencode({"username": "hackkit", "password": password}).encode()
        headers = {**self.headers, "content-type": _FORM}
        url = f"{self.address.rstrip('/')}/login"
        reply = fetch.send(url, self.env, form, headers, self.left)
        cookies = _COOKIE.findall(reply.headers.get("set-cookie", ""))
        if not password or not cookies:
            why = "is not the app's" if password else "is not set here"
            raise HackkitError(
                f"The app asks for a password, and {_PASSWORD} {why}.",
                fix=f"edit .env: set {_PASSWORD} to the app's password",
            )
        return replace(self, headers={**self.headers, "cookie": "; ".join(cookies)})

    def check_endpoint(self) -> None:
        """Check that the app has the endpoint."""
        reply = self._info()
        if reply.status == _NOT_FOUND and not reply.is_page:
            raise NoEndpointError(_NO_ENDPOINT, fix=_ADD_ENDPOINT)
        _check(reply, self.address, "its API")
        if reply.is_page:
            raise HackkitError(f"{self.address} has a page where a Gradio app has its API.")
        data = reply.json()
        endpoints = data.get("named_endpoints") if isinstance(data, dict) else None
        if not isinstance(endpoints, dict) or "/ask" not in endpoints:
            raise NoEndpointError(_NO_ENDPOINT, fix=_ADD_ENDPOINT)

    def _info(self) -> Reply:
        """Ask for the app's endpoints; wait for an app that still starts."""
        url = _at(self.address, "/info")
        reply = fetch.fetch(url, self.env, self.headers, self.left)
        while reply.status in _STARTING and time.monotonic() + _PAUSE < self.deadline:
            time.sleep(_PAUSE)
            reply = fetch.fetch(url, self.env, self.headers, self.left)
        return reply

    def send(self, question: str) -> str:
        """Send the question; return the id of its answer."""
        content = {"data": [question]}
        reply = fetch.send(
            _at(self.address, "/call/ask"), self.env, content, self.headers, self.left
        )
        _check(reply, self.address, "the question")
        data = reply.json()
        event = data.get("event_id") if isinstance(data, dict) else None
        if not isinstance(event, str):
            raise HackkitError(
                f"The app's answer to the question is not Gradio's: {_shown(reply)}."
            )
        return event

    def wait_for_answer(self, event: str) -> object:
        """Wait for the answer; return what the app's function returned."""
        url = _at(self.address, f"/call/ask/{event}")
        seconds = self.left
        reply = fetch.follow(url, self.env, _is_over, self.headers, seconds)
        if reply.kind is Kind.TIMEOUT:
            raise HackkitError(f"The app did not answer the question within {seconds:.0f} s.")
        _check(reply, self.address, "the answer")
        name, data = _last_event(reply.body.decode("utf-8", "replace"))
        if name == "complete":
            return data[0] if isinstance(data, list) and data else data
        if name == "error":
            message = _error_message(data)
            raise HackkitError(
                f"The app answered with an error: {message}"
                if message
                else "The app answered with an error."
            )
        raise HackkitError("The connection broke before the app's answer was complete.")


_NO_ENDPOINT = "The app has no API endpoint `ask` for questions."
_ADD_ENDPOINT = 'edit app.py: add gr.api(ask, api_name="ask") to the page'


def _at(address: str, path: str = "") -> str:
    return address.rstrip("/") + (_API + path if path else "/")


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _without_proxies(address: str, env: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables, without proxies if the address is on this machine."""
    if not is_loopback(address):
        return env
    return {name: value for name, value in env.items() if name.lower() not in _PROXIES}


def _check(reply: Reply, address: str, what: str) -> None:
    """Raise HackkitError unless the status is 200."""
    if not reply.answered:
        raise HackkitError(f"{address} did not answer: {reply.error}.")
    # A private Space answers "Not Found".
    if reply.status in _DENIED or (reply.status == _NOT_FOUND and reply.is_page):
        raise HackkitError(
            f"{address} does not show {what} ({reply.status}): it is private or does not exist.",
            fix="hf auth login",
        )
    if reply.status != 200:  # noqa: PLR2004 - "OK"
        raise HackkitError(f"{address} answered {reply.status} for {what}: {_shown(reply)}.")


def _wants_login(reply: Reply) -> bool:
    """Return whether Gradio's login is before the app, not the platform's."""
    data = reply.json() if reply.status == 401 else None  # noqa: PLR2004 - "Unauthorized"
    return isinstance(data, dict) and "auth_message" in str(data.get("detail"))


def _shown(reply: Reply) -> str:
    if reply.is_page:
        return "an HTML page"
    text = _line(reply.body[:4000].decode("utf-8", "replace"))
    return f'"{text}"' if text else "nothing"


def _line(text: str) -> str:
    """Return a server's text as one short line without control characters."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:_SHOWN]


def _is_over(body: bytes) -> bool:
    """Return whether a complete answer or error has arrived."""
    body = b"\n" + body
    place = max(body.find(end) for end in _END)
    return place >= 0 and b"\n\n" in body[place:].replace(b"\r\n", b"\n")


def _last_event(stream: str) -> tuple[str, object]:
    """Return the name and the value of the event that ends a stream, if it is complete."""
    for block in reversed(stream.replace("\r\n", "\n").split("\n\n")[:-1]):
        fields = [line.partition(":") for line in block.splitlines()]
        name = next((value.strip() for key, _, value in fields if key == "event"), "")
        if name in {"complete", "error"}:
            data = "\n".join(value.strip() for key, _, value in fields if key == "data")
            try:
                return name, json.loads(data)
            except ValueError:
                return name, data
    return "", None


def _parts(answer: object) -> tuple[str, str]:
    """Return the text and the notice of an answer, which is a string or has named parts."""
    if not isinstance(answer, dict):
        return (answer if isinstance(answer, str) else ""), ""
    named = (answer.get(key) for key in ("answer", "text", "content"))
    text = next((value for value in named if isinstance(value, str) and value), "")
    return text, _line(str(answer.get("notice") or ""))


def _error_message(data: object) -> str:
    error = data.get("error") if isinstance(data, dict) else data
    return _line(error) if isinstance(error, str) else ""
