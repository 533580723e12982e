"""Collects the tools: every function with @tool and a docstring in the files of this folder."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterable
from importlib import import_module

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as _langchain_tool

from agent.settings import SETTINGS

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


def needs_approval(each: BaseTool) -> bool:
    """Whether a person must approve every call of this tool."""
    return (each.metadata or {}).get("asks_first") is True


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
