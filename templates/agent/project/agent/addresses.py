"""Which calls send a web address that the user did not name: it could carry data out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool

from agent.events import Call, Event, Result, Task

ADDRESS = re.compile(  # with a scheme, or a host name and what follows it
    r"(?i)(?:\b[a-z][a-z0-9+.-]*://|(?<![\w./@-])(?:[\w-]+\.)+(?:[a-z]{2,}\b|\d+(?=[/:?])))[^\s<>\"'`|]*"
)
CLOSING = ".,;:!?)]}*_\"'"  # of a sentence
# Arguments that are addresses, and those that may be; in others, a host alone may be a file's name
URL = re.compile("(?i)ur[il]")
MAYBE = re.compile("(?i)host|domain|link|site|href|target|endpoint|address|server")


def sends_out(each: BaseTool) -> BaseTool:
    """Mark a tool that only reads, but sends its arguments to the web.

    A call waits for approval unless the user wrote the web addresses in it, or they are on a page
    that the user named.
    """
    each.metadata = {**(each.metadata or {}), "asks_first": is_strange}
    return each


def is_strange(tool: str, args: Mapping[str, Any], events: Sequence[Event]) -> bool:
    """Whether a call has an address that neither the user nor a page that they named contains."""
    tasks = (event.text for event in events if isinstance(event, Task))
    named = set[str]().union(*map(_in_text, tasks))
    calls = (event for event in events if isinstance(event, Call) and event.tool == tool)
    found = {call.id: _in_arguments(call.args) for call in calls}
    pages = {id for id, addresses in found.items() if addresses and addresses <= named}
    texts = (event.text for event in events if isinstance(event, Result) and event.id in pages)
    return not _in_arguments(args) <= named.union(*map(_in_text, texts))


def _in_text(text: str) -> set[str]:
    return {_normal(found.rstrip(CLOSING)) for found in ADDRESS.findall(text)}


def _in_arguments(value: Any, name: str = "") -> set[str]:
    """A host alone counts only in an argument with such a name."""
    if isinstance(value, Mapping):
        inner = (_in_arguments(each, str(key)) for key, each in value.items())
        return set[str]().union(*map(_in_arguments, map(str, value)), *inner)
    if isinstance(value, list):
        return set[str]().union(*(_in_arguments(each, name) for each in value))
    text = _plain(str(value))
    if URL.search(name) or (MAYBE.search(name) and re.search(r"[.:/?]|^\d+$", text)):
        return {_normal(text)}
    found = ADDRESS.findall(text)
    return {_normal(each) for each in found if re.search("[/?:]", each)}


def _normal(address: str) -> str:
    """An address to compare: without what is not sent (scheme, fragment) and a last slash."""
    rest = re.sub(r"(?i)^(https?|wss?|ftp)://", "", _plain(address))
    host, mark, path = re.split(r"([/?]|$)", rest.partition("#")[0], maxsplit=1)
    return f"{host.lower()}{mark}{path}".removesuffix("/")


def _plain(address: str) -> str:
    """An address as a client reads it: without tabs and line breaks, and with plain characters."""
    text = unicodedata.normalize("NFKC", address).replace("\u3002", ".").replace("\\", "/")
    return "".join(each for each in text if each == " " or each.isprintable()).strip()
