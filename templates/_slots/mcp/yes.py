"""All tools of the agent: its own, and those of the MCP servers in mcp.json."""
# requires: langchain-mcp-adapters>=0.3.2,<1
# requires: mcp>=1.30,<2

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from agent import mcp_json
from agent.mcp_servers import Server
from agent.settings import ROOT, SETTINGS
from agent.tools import collect

START_SECONDS = 60.0  # the first `npx` or `uvx` downloads a package; MCP_START_SECONDS changes it


@dataclass(frozen=True)
class Connected:
    """The tools of the MCP servers that started, and one line for each that failed."""

    tools: tuple[BaseTool, ...] = ()
    problems: tuple[str, ...] = ()


@cache
def servers() -> tuple[list[Server], tuple[str, ...]]:
    """All servers, which start in the background, and a line for each wrong entry."""
    given = mcp_json.variable("MCP_START_SECONDS") or START_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        sys.exit(
            f"MCP_START_SECONDS is no number: {given}\nFix: write the seconds into .env, as 90"
        )
    connections, problems = mcp_json.connections(
        ROOT / (mcp_json.variable("MCP_FILE") or "mcp.json")
    )
    return _start(connections, seconds, SETTINGS.tool_seconds), tuple(problems)


def toolbox(wait: bool = False) -> tuple[list[BaseTool], tuple[str, ...]]:
    """The tools, and one line for each server that failed, or is still starting.

    `wait` until none is starting any more; the page works meanwhile with the tools that are ready.
    """
    found, problems = servers()
    mcp = _connected(found, wait)
    return [*collect(), *mcp.tools], (*problems, *mcp.problems)


def connect(
    file: Path, seconds: float = START_SECONDS, call_seconds: float = SETTINGS.tool_seconds
) -> Connected:
    """Start the servers in mcp.json, all in parallel, and collect their tools.

    A server that is not ready after `seconds` is left out; a call may take `call_seconds`.
    """
    connections, problems = mcp_json.connections(file)
    found = _connected(_start(connections, seconds, call_seconds), wait=True)
    return Connected(found.tools, (*problems, *found.problems))


def _start(
    connections: Mapping[str, dict[str, Any]], seconds: float, call_seconds: float
) -> list[Server]:
    servers = [Server(name, each, seconds, call_seconds) for name, each in connections.items()]
    for server in servers:
        server.start()
    return servers


def _connected(servers: Iterable[Server], wait: bool) -> Connected:
    tools, problems = list[BaseTool](), list[str]()
    for server in servers:
        if wait:
            server.tried.wait()
        tools += server.offered
        problems += [server.problem] if server.problem else []
    return Connected(tuple(tools), tuple(problems))
