"""All tools of the agent: its own, and those of the MCP servers in mcp.json."""
# requires: langchain-mcp-adapters>=0.3.2,<1
# requires: mcp>=1.30,<2

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import threading
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.tools import BaseTool, ToolException

from agent import mcp_json
from agent.addresses import sends_out
from agent.mcp_json import NotStarted, without_secrets
from agent.settings import ROOT, SETTINGS
from agent.tools import ToolError, asks_first, collect

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_CHARS = 300  # of a server's own error message
START_SECONDS = 60.0  # the first `npx` or `uvx` downloads a package; MCP_START_SECONDS changes it
STARTING = "MCP server %s is still starting (at most %g seconds)"
NOISE = "An MCP server prints lines that are no messages: they are left out"
SLOW = 3  # seconds after which a start is announced


@dataclass(frozen=True)
class Connected:
    """The tools of the MCP servers that started, and one line for each that failed."""

    tools: tuple[BaseTool, ...] = ()
    problems: tuple[str, ...] = ()


class McpTool(BaseTool):
    """A server's tool. Not a StructuredTool, which would drop an argument called `config`."""

    server: Any
    original: str

    @classmethod
    def of(cls, server: Server, tool: BaseTool) -> BaseTool:
        """The tool, under a name that Mistral's API accepts; it asks first unless it only reads."""
        reads = (tool.metadata or {}).get("readOnlyHint") is True
        named = re.sub(r"[^a-zA-Z0-9_-]", "_", tool.name)[:64]
        more: Any = {"args_schema": tool.args_schema, "server": server, "original": tool.name}
        found = cls(name=named, description=tool.description, **more)
        return sends_out(found) if reads else asks_first(found)

    def _run(self, /, **arguments: Any) -> str:
        return _run_async(self.server.call(self.original, arguments))


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
        asyncio.run_coroutine_threadsafe(server.open(), _loop())
    return servers


def _connected(servers: Iterable[Server], wait: bool) -> Connected:
    tools, problems = list[BaseTool](), list[str]()
    for server in servers:
        if wait:
            server.tried.wait()
        tools += server.offered
        problems += [server.problem] if server.problem else []
    return Connected(tuple(tools), tuple(problems))


# A server: its session stays open in its own asyncio task


@dataclass(eq=False)
class Server:
    """An MCP server: started once, kept open, and started again at the next call if it ended."""

    name: str
    connection: dict[str, Any]
    seconds: float
    call_seconds: float
    problem: str = ""  # why its tools are missing
    offered: tuple[BaseTool, ...] = ()
    tried: threading.Event = field(default_factory=threading.Event)  # the first start is over
    tools: dict[str, Any] = field(default_factory=dict)  # by their names; empty: not running
    session: asyncio.Task[None] | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.problem = STARTING % (self.name, self.seconds) + ".\nFix: wait, or give the task again"

    async def open(self) -> str:
        """Start it and get its tools, if it is not running; returns the problem, or ""."""
        async with self.opening:
            if self.tools:
                return ""
            loop = asyncio.get_running_loop()
            ready: asyncio.Future[str] = loop.create_future()
            self.session = asyncio.create_task(self.run(ready))
            slow = loop.call_later(SLOW, log.warning, STARTING, self.name, self.seconds)
            self.problem = await ready
            slow.cancel()
            if slow.when() < loop.time() and not self.problem:
                log.warning("MCP server %s is ready", self.name)
            self.offered = self.offered or tuple(McpTool.of(self, it) for it in self.tools.values())
            self.tried.set()
            return self.problem

    async def run(self, ready: asyncio.Future[str]) -> None:
        """Keep a session open until the task is cancelled: it must end in the same task."""
        from langchain_mcp_adapters.sessions import create_session  # slow to import
        from langchain_mcp_adapters.tools import load_mcp_tools

        connection: Any = self.connection
        try:
            async with (
                asyncio.timeout(self.seconds) as limit,
                create_session(connection) as session,
            ):
                await session.initialize()
                tools = await load_mcp_tools(
                    session, server_name=self.name, tool_name_prefix=True, handle_tool_errors=False
                )
                self.tools = {tool.name: tool for tool in tools}
                limit.reschedule(None)
                ready.set_result("")
                await asyncio.Event().wait()
        except Exception as error:
            if not ready.done():
                ready.set_result(f"MCP server {self.name} {NotStarted(self.reason(error))}")
        finally:
            if self.session is asyncio.current_task():  # else it was started again meanwhile
                self.tools = {}

    def reason(self, error: BaseException) -> str:
        """The reason why it did not start, without the part of a URL that may hold a key."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            return f"it was not ready after {self.seconds:g} seconds"
        return re.sub(r"\?\S*", "", without_secrets(str(error)) or type(error).__name__)[:MAX_CHARS]

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """The tool's result as text. Raises ToolError for every failure."""
        try:
            async with asyncio.timeout(self.call_seconds):
                if problem := await self.open():
                    raise ToolError(problem)
                return await self.result(self.tools[tool].coroutine(**arguments))
        except TimeoutError:
            late = f"The MCP server {self.name} timed out after {self.call_seconds:g} seconds."
            raise ToolError(late) from None

    async def result(self, work: Coroutine[Any, Any, Any]) -> str:
        """A call's result. Raises ToolError when the server refuses the call, or has ended."""
        assert self.session
        call = asyncio.create_task(work)
        try:
            # When the server has ended, the SDK ends the session, but the call would wait forever.
            await asyncio.wait([call, self.session], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return without_secrets(_text(*call.result()))
        except ToolException as error:
            raise ToolError(without_secrets(str(error))) from None
        except Exception as error:
            log.warning("MCP server %s: %r", self.name, error)
        finally:
            call.cancel()
        self.tools = {}
        self.session.cancel()
        raise ToolError(
            f"The MCP server {self.name} stopped, so it is unknown whether the call was done. "
            "It restarts at the next call."
        )


def _text(parts: Iterable[Any], artifact: Any) -> str:
    """A result as text; an image or another part that is not text becomes a note."""
    texts = [part.get("text", f"[not shown: {part['type']}]") for part in parts]
    if not texts and artifact:
        return json.dumps(artifact["structured_content"], ensure_ascii=False)
    return "\n".join(texts) or "Done; the result is empty."


class Noise(logging.Filter):
    """One line, without a traceback, for all that servers print besides messages."""

    seen = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "parse JSONRPC" not in record.getMessage():
            return True
        first, self.seen = not self.seen, True
        record.msg, record.args, record.exc_info = NOISE, (), None
        return first


logging.getLogger("mcp.client.stdio").addFilter(Noise())

# The event loop of all servers: MCP is asynchronous, the agent is not


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="mcp", daemon=True).start()
    return loop


def _run_async(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()
