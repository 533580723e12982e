"""Which calls send a web address that the user did not name: it could carry data out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool

from agent.events import Call, Event, Result, Task

ADDRESS = re.compile(  # with a scheme, or a host name and what follows it
    r"(?i)(?:\b[a-z][a-z0-9+.-]*://|(?<![\w./@-])(?:[\w-]+\.)+(?:[a-z]{2,}\b|\d+(?=[/:?])))[^\s<>\"'`|]*"
)
CLOSING = ".,;:!?)]}*_\"'"  # of a sentence


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
    pages = {call.id for call in calls if _in_arguments(call.args) <= named}
    texts = (event.text for event in events if isinstance(event, Result) and event.id in pages)
    return not _in_arguments(args) <= named.union(*map(_in_text, texts))


def _in_text(text: str) -> set[str]:
    return {_normal(found.rstrip(CLOSING)) for found in ADDRESS.findall(text)}


def _in_arguments(value: Any, name: str = "") -> set[str]:
    """A host alone counts only in an argument that is called a URL: it may be a file's name."""
    if isinstance(value, Mapping):
        return set[str]().union(*(_in_arguments(each, str(key)) for key, each in value.items()))
    if isinstance(value, list):
        return set[str]().union(*(_in_arguments(each, name) for each in value))
    if re.search("(?i)ur[il]", name):
        return {_normal(str(value))}
    found = ADDRESS.findall(str(value))
    return {_normal(each) for each in found if re.search("[/?:]", each)}


def _normal(address: str) -> str:
    """An address to compare: without what is not sent (scheme, fragment) and a last slash."""
    rest = address.strip().partition("://")[2] or address.strip()
    host, mark, path = re.split(r"([/?]|$)", rest.partition("#")[0], maxsplit=1)
    return f"{host.lower()}{mark}{path}".removesuffix("/")
