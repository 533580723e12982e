"""Reads mcp.json, in the ways in which people write it for Claude, VS Code, Cursor and others."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from plumbing.settings import ENCODING, ENV_FILE

SHAPE = '{"mcpServers": {"a name": {"command": "..."} or {"url": "..."}}}'
SECRET_CHARS = 6  # hiding a shorter value would damage other words

_secrets: set[str] = set()  # what mcp.json takes from the environment


class NotStarted(Exception):
    """The reason why a server did not start, with its fix."""

    def __init__(self, why: str, fix: str = "correct it in mcp.json") -> None:
        super().__init__(f"did not start: {why}.\nFix: {fix}")


def connections(file: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The servers that are not switched off, as langchain-mcp-adapters wants them, and problems."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig")) if file.exists() else {}
        content = content.get("mcp", content)
        groups = [content[key] for key in ("mcpServers", "servers") if key in content]
        if content and not groups:
            raise KeyError("mcpServers")
        entries = {name: entry for group in groups for name, entry in dict(group).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"{file.name} could not be read ({error!r}).\nFix: write it as {SHAPE}"
        return {}, [problem]
    found, problems = dict[str, dict[str, Any]](), list[str]()
    for name, entry in entries.items():
        try:
            if not isinstance(entry, dict) or _is_on(entry):
                found[name] = _connection(_filled_in(entry, file.parent), file.parent)
        except NotStarted as error:
            problems.append(f"MCP server {name} {error}")
    return found, problems


def _is_on(entry: Mapping[str, Any]) -> bool:
    return not entry.get("disabled") and entry.get("enabled", True) is not False


def _connection(entry: Any, folder: Path) -> dict[str, Any]:
    urls = [entry[key] for key in ("url", "serverUrl", "httpUrl") if key in entry] if entry else []
    if not isinstance(entry, dict) or ("command" in entry) == bool(urls):
        raise NotStarted("it needs either a command or a url")
    if urls:  # sse: the older protocol
        is_sse = entry.get("type", "sse") == "sse" and ("type" in entry or _path(urls[0]) == "sse")
        headers = _texts(entry.get("headers") or {})
        return {"transport": "sse" if is_sse else "http", "url": urls[0], "headers": headers}
    command, *words = [os.path.expanduser(word) for word in _words(entry)]
    place = folder / os.path.expanduser(entry.get("cwd") or ".")
    # It gets PATH, HOME and the like besides `env`, and none of our keys.
    env = _texts(entry.get("env") or {})
    return {"transport": "stdio", "command": command, "args": words, "env": env, "cwd": place}


def _path(url: object) -> str:
    """The last part of a URL's path."""
    return str(url).partition("?")[0].rstrip("/").rpartition("/")[2]


def _words(entry: Mapping[str, Any]) -> list[str]:
    """The command and its arguments; some people write both into the command."""
    command = entry["command"] if isinstance(entry["command"], list) else [str(entry["command"])]
    if len(command) == 1 and " " in command[0] and not shutil.which(command[0]):
        command = shlex.split(command[0], posix=os.name != "nt")
    if not command:
        raise NotStarted("its command is empty")
    return [str(word) for word in (*command, *(entry.get("args") or ()))]


def _texts(values: Any) -> dict[str, str]:
    """The values of `env` or `headers`, where people also write numbers."""
    if not isinstance(values, dict):
        raise NotStarted("its env or headers are not an object")
    return {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}


def _filled_in(value: Any, folder: Path) -> Any:
    """Replace each ${NAME}, ${env:NAME} and ${NAME:-default}. Raises NotStarted."""
    if isinstance(value, dict):
        return {key: _filled_in(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each, folder) for each in value]
    look_up = partial(_look_up, folder)
    return re.sub(r"\$\{([^}]*)\}", look_up, value) if isinstance(value, str) else value


def _look_up(folder: Path, placeholder: re.Match[str]) -> str:
    name, has_default, default = placeholder[1].removeprefix("env:").partition(":-")
    if name == "workspaceFolder":  # of VS Code
        return str(folder)
    if not re.fullmatch(r"\w+", name):
        raise NotStarted(f"{placeholder[0]} is not known here", "write ${NAME} in its place")
    found = variable(name) or default
    if not (found or has_default):
        raise NotStarted(f"{name} is not set", f"echo {name}=... >> .env")
    if len(found) >= SECRET_CHARS and found != default:
        _secrets.add(found)
    return found


def variable(name: str) -> str:
    """The value of a variable in the environment, or in .env; "" if there is none."""
    return os.environ.get(name) or dotenv_values(ENV_FILE, encoding=ENCODING).get(name) or ""


def without_secrets(text: str) -> str:
    """A server's text without the values that mcp.json takes from the environment."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text
