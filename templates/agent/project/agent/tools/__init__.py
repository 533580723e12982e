"""Collects the tools: every function with @tool and a docstring in the files of this folder."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as _langchain_tool

from agent.events import Call, Event, Result, Task
from agent.settings import SETTINGS
from plumbing.web import addresses, normal

ROOM = SETTINGS.result_chars - min(400, SETTINGS.result_chars // 2)  # the rest is for notes


class ToolError(Exception):
    """A tool's failure; the model and the user read its text, so say what to do instead."""


class BadTool(Exception):
    """A mistake in a file of this folder: the function, and how to fix it."""


def tool(function: Callable[..., str]) -> BaseTool:
    """Turn a function into a tool. The model reads its name, arguments and docstring."""
    description = inspect.getdoc(function) or ""
    if not description.strip():
        place = f"{function.__code__.co_filename}: {function.__name__}"
        raise BadTool(f"{place} has no docstring.\nFix: write what it does and when to use it")
    return _langchain_tool(description=description)(function)


def asks_first(each: BaseTool) -> BaseTool:
    """Mark a tool with side effects: each call runs only after a person approved it."""
    if not isinstance(each, BaseTool):
        raise BadTool(f"{each.__name__}: @tool is missing.\nFix: write it below @asks_first")
    each.metadata = {**(each.metadata or {}), "asks_first": True}
    return each


def sends_out(each: BaseTool) -> BaseTool:
    """Mark a tool that sends its arguments to the web: they could carry private data out.

    A call runs without approval if the user wrote the web addresses in it, or if they are on a
    page that the user named.
    """
    each.metadata = {**(each.metadata or {}), "sends_out": True}
    return each


def needs_approval(each: BaseTool) -> bool:
    """Whether a person must approve each call of this tool."""
    return bool((each.metadata or {}).get("asks_first"))


def may_need_approval(each: BaseTool) -> bool:
    """Whether a person must approve some calls of this tool."""
    return needs_approval(each) or bool((each.metadata or {}).get("sends_out"))


def is_strange(tool: str, args: Mapping[str, Any], events: Sequence[Event]) -> bool:
    """Whether a call has a web address that neither the user nor a page they named contains."""
    tasks = (event.text for event in events if isinstance(event, Task))
    named = set[str]().union(*map(addresses, tasks))
    calls = (event for event in events if isinstance(event, Call) and event.tool == tool)
    pages = {call.id for call in calls if _addresses(call.args) <= named}
    texts = (event.text for event in events if isinstance(event, Result) and event.id in pages)
    return not _addresses(args) <= named.union(*map(addresses, texts))


def _addresses(value: Any, name: str = "") -> set[str]:
    """The addresses in a call's arguments; a host alone (`notes.md`) only if it is called a URL."""
    if isinstance(value, Mapping):
        return set[str]().union(*(_addresses(each, str(key)) for key, each in value.items()))
    if isinstance(value, list):
        return set[str]().union(*(_addresses(each, name) for each in value))
    text = str(value)
    if "url" in name.lower() or "uri" in name.lower():
        return {normal(text)}
    return {each for each in addresses(text, "") if "://" in text or re.search("[/?:]", each)}


def collect(package: str = __name__) -> list[BaseTool]:
    """The tools of all files, sorted by file, then in the file's order. Raises BadTool."""
    found: dict[str, BaseTool] = {}
    for file in sorted(file.name for file in pkgutil.iter_modules(import_module(package).__path__)):
        for each in vars(import_module(f"{package}.{file}")).values():
            if isinstance(each, BaseTool) and found.setdefault(each.name, each) is not each:
                raise BadTool(f"Two tools are called {each.name}.\nFix: rename one in {file}.py")
    return list(found.values())


def fitting(lines: Iterable[str]) -> list[str]:
    """The first lines that fit into a tool's result; at least one, cut if necessary."""
    kept, room = list[str](), ROOM
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return kept or [line[: ROOM - 1] + "…"]
        kept.append(line)
    return kept
