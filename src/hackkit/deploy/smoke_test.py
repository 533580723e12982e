"""Asks a running Gradio app one question, as a judge's browser or program would."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hackkit.errors import HackkitError
from hackkit.network import fetch
from hackkit.network.fetch import Kind, Reply
from hackkit.network.urls import is_loopback

_API = "/gradio_api"
_PAGE_SECONDS = 20.0
_DENIED = {401, 403}
_NOT_FOUND = 404
_WAKING = {502, 503, 504}  # what stands before an app says so while it starts
_PAUSE = 1.0  # seconds between two looks at it
_END = (b"\nevent: complete", b"\nevent: error")
_SHOWN = 160  # characters of what a server says that are repeated
_PROXIES = {"http_proxy", "https_proxy", "all_proxy"}


@dataclass(frozen=True)
class Asked:
    """An answer, and how long it took; `notice` is what the app itself excuses ("no network")."""

    text: str
    seconds: float
    notice: str = ""


class NoAskError(HackkitError):
    """The app runs, but programs cannot put questions to it."""


def load(
    address: str, env: Mapping[str, str], token: str = "", seconds: float = _PAGE_SECONDS
) -> Reply:
    """Load the app's page; raise HackkitError when no page for a browser comes."""
    reply = fetch.fetch(_at(address), _around(address, env), _headers(token), seconds)
    _refuse(reply, address, "the page")
    if not reply.is_page:
        raise HackkitError(f"{address} answers, but not with a page: {_shown(reply)}.")
    return reply


def ask(
    address: str, question: str, env: Mapping[str, str], token: str = "", seconds: float = 60
) -> Asked:
    """Put a question to the app's endpoint `ask`, and return what it answers.

    `token` opens a private Space. Raises NoAskError where there is no such endpoint, HackkitError
    when no answer comes within so many seconds, or an empty one.
    """
    began = time.monotonic()
    talk = _Talk(address, _around(address, env), _headers(token), began + seconds)
    talk.check_endpoint()
    text, notice = _words(talk.listen(talk.put(question)))
    if not text.strip():
        raise HackkitError("The app's answer is empty.", fix="uv run app.py")
    return Asked(text, time.monotonic() - began, notice)


@dataclass(frozen=True)
class _Talk:
    address: str
    env: Mapping[str, str]
    headers: Mapping[str, str]
    deadline: float

    @property
    def left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.1)

    def check_endpoint(self) -> None:
        """See that it can be asked at all; an app that is still waking up is waited for."""
        reply = self._info()
        while reply.status in _WAKING and time.monotonic() + _PAUSE < self.deadline:
            time.sleep(_PAUSE)
            reply = self._info()
        if reply.status == _NOT_FOUND and not reply.is_page:
            raise NoAskError(_NO_ASK, fix=_ADD_ASK)
        _refuse(reply, self.address, "what it can be asked")
        if reply.is_page:
            raise HackkitError(f"{self.address} shows a page where a Gradio app has its API.")
        said = reply.json()
        endpoints = said.get("named_endpoints") if isinstance(said, dict) else None
        if not isinstance(endpoints, dict) or "/ask" not in endpoints:
            raise NoAskError(_NO_ASK, fix=_ADD_ASK)

    def _info(self) -> Reply:
        return fetch.fetch(_at(self.address, "/info"), self.env, self.headers, self.left)

    def put(self, question: str) -> str:
        """Hand the question in; return the name under which its answer is kept."""
        content = {"data": [question]}
        reply = fetch.send(
            _at(self.address, "/call/ask"), self.env, content, self.headers, self.left
        )
        _refuse(reply, self.address, "the question")
        said = reply.json()
        event = said.get("event_id") if isinstance(said, dict) else None
        if not isinstance(event, str):
            raise HackkitError(
                f"The app took the question, but not as Gradio does: {_shown(reply)}."
            )
        return event

    def listen(self, event: str) -> object:
        """Wait for the answer; return it as the app's function gave it."""
        url = _at(self.address, f"/call/ask/{event}")
        seconds = self.left
        reply = fetch.follow(url, self.env, _is_over, self.headers, seconds)
        if reply.kind is Kind.TIMEOUT:
            raise HackkitError(f"The app did not answer the question within {seconds:.0f} s.")
        _refuse(reply, self.address, "the answer")
        name, data = _last_event(reply.body.decode("utf-8", "replace"))
        if name == "complete":
            return data[0] if isinstance(data, list) and data else data
        if name == "error":
            words = _error_words(data)
            raise HackkitError("The app answered with an error" + (f": {words}" if words else "."))
        raise HackkitError("The app's answer broke off before it was complete.")


_NO_ASK = "The app has no endpoint `ask`, through which programs put a question to it."
_ADD_ASK = 'edit app.py: add gr.api(ask, api_name="ask") to the page'


def _at(address: str, path: str = "") -> str:
    return address.rstrip("/") + (_API + path if path else "/")


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _around(address: str, env: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables without proxies for an address on this machine."""
    if not is_loopback(address):
        return env
    return {name: value for name, value in env.items() if name.lower() not in _PROXIES}


def _refuse(reply: Reply, address: str, what: str) -> None:
    """Raise HackkitError unless this is a good answer."""
    if not reply.answered:
        raise HackkitError(f"{address} did not answer: {reply.error}.")
    # A private Space hides behind "Not Found".
    if reply.status in _DENIED or (reply.status == _NOT_FOUND and reply.is_page):
        raise HackkitError(
            f"{address} does not show {what} ({reply.status}): it is private, or not there.",
            fix="hf auth login",
        )
    if reply.status != 200:  # noqa: PLR2004 - "OK"
        raise HackkitError(f"{address} answers {reply.status} for {what}: {_shown(reply)}.")


def _shown(reply: Reply) -> str:
    if reply.is_page:
        return "a page for browsers"
    words = _line(reply.body[:4000].decode("utf-8", "replace"))
    return f'"{words}"' if words else "nothing"


def _line(said: str) -> str:
    """Return what a server says as one short line that does nothing to a terminal."""
    return "".join(filter(str.isprintable, " ".join(said.split())))[:_SHOWN]


def _is_over(body: bytes) -> bool:
    """Tell whether an answer or an error has come, wholly."""
    body = b"\n" + body
    place = max(body.find(end) for end in _END)
    return place >= 0 and b"\n\n" in body[place:].replace(b"\r\n", b"\n")


def _last_event(stream: str) -> tuple[str, object]:
    """Return the name and the value of the event that ends a stream, if it came wholly."""
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


def _words(answer: object) -> tuple[str, str]:
    """Return the text of an answer, and its notice, whether it is text or has parts with names."""
    if not isinstance(answer, dict):
        return (answer if isinstance(answer, str) else ""), ""
    named = (answer.get(key) for key in ("answer", "text", "content"))
    text = next((value for value in named if isinstance(value, str) and value), "")
    return text, _line(str(answer.get("notice") or ""))


def _error_words(data: object) -> str:
    said = data.get("error") if isinstance(data, dict) else data
    return _line(said) if isinstance(said, str) else ""
