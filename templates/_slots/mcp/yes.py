"""All tools of the agent: its own, and those of the MCP servers in mcp.json."""
# requires: langchain-mcp-adapters>=0.3.2,<1
# requires: mcp>=1.30,<2

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dotenv import dotenv_values
from langchain_core.tools import BaseTool, ToolException

from agent.addresses import sends_out
from agent.settings import ROOT, SETTINGS
from agent.tools import ToolError, asks_first, collect
from plumbing.settings import ENV_FILE

log = logging.getLogger(__name__)
T = TypeVar("T")

SHAPE = '{"mcpServers": {"a name": {"command": "..."} or {"url": "..."}}}'
MAX_CHARS = 300  # of a server's own error message
SECRET_CHARS = 6  # hiding a shorter value would damage other words

_secrets: set[str] = set()  # what mcp.json takes from the environment


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
def toolbox() -> tuple[list[BaseTool], tuple[str, ...]]:
    """The tools, and one line for each server that failed."""
    found = connect(ROOT / (_variable("MCP_FILE") or "mcp.json"))
    return [*collect(), *found.tools], found.problems


def connect(
    file: Path, seconds: float = 15, call_seconds: float = SETTINGS.tool_seconds
) -> Connected:
    """Start the servers in mcp.json, all in parallel, and collect their tools.

    A server that is not ready after `seconds` is left out; a call may take `call_seconds`.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig")) if file.exists() else {}
        entries = dict(content["mcpServers"]) if content != {} else {}
    except (ValueError, KeyError, TypeError) as error:  # also invalid JSON, or not UTF-8
        problem = f"{file.name} could not be read ({error!r}).\nFix: write it as {SHAPE}"
        return Connected(problems=(problem,))
    servers, problems = list[Server](), list[str]()
    for name, entry in entries.items():
        try:
            connection = _connection(_filled_in(entry), file.parent)
            servers.append(Server(name, connection, seconds, call_seconds))
        except NotStarted as error:
            problems.append(f"MCP server {name} {error}")
    starts = [server.open() for server in servers]
    outcomes = _run_async(_gather(starts)) if starts else []
    problems += [str(outcome) for outcome in outcomes if outcome]
    tools = [McpTool.of(server, each) for server in servers for each in server.tools.values()]
    return Connected(tuple(tools), tuple(problems))


class NotStarted(Exception):
    """The reason why a server did not start, with its fix."""

    def __init__(self, why: str, fix: str = "correct it in mcp.json") -> None:
        super().__init__(f"did not start: {why}.\nFix: {fix}")


def _connection(entry: Any, folder: Path) -> dict[str, Any]:
    """A server's entry in mcp.json as langchain-mcp-adapters wants it. Raises NotStarted."""
    if not isinstance(entry, dict) or ("command" in entry) == ("url" in entry):
        raise NotStarted("it needs either a command or a url")
    if "command" in entry:  # it gets PATH, HOME and the like besides `env`, and none of our keys
        options = {key: entry[key] for key in ("command", "env") if key in entry}
        return {"transport": "stdio", "args": entry.get("args", []), "cwd": folder, **options}
    transport = "sse" if entry.get("type") == "sse" else "http"  # sse: the older protocol
    return {"transport": transport, "url": entry["url"], "headers": entry.get("headers", {})}


def _filled_in(value: Any) -> Any:
    """Replace each ${NAME} by the value in the environment, or in .env. Raises NotStarted."""
    if isinstance(value, dict):
        return {key: _filled_in(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled_in(each) for each in value]
    return re.sub(r"\$\{(\w+)\}", _look_up, value) if isinstance(value, str) else value


def _look_up(placeholder: re.Match[str]) -> str:
    name = placeholder[1]
    if not (found := _variable(name)):
        raise NotStarted(f"{name} is not set", f"echo {name}=... >> .env")
    if len(found) >= SECRET_CHARS:
        _secrets.add(found)
    return found


def _hidden(text: str) -> str:
    """A server's text without those values."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def _variable(name: str) -> str:
    """The value of a variable in the environment, or in .env; "" if there is none."""
    return os.environ.get(name) or dotenv_values(ENV_FILE).get(name) or ""


# A server: its session stays open in its own asyncio task


@dataclass(eq=False)
class Server:
    """An MCP server: started once, kept open, and started again at the next call if it ended."""

    name: str
    connection: dict[str, Any]
    seconds: float
    call_seconds: float
    tools: dict[str, Any] = field(default_factory=dict)  # by their names; empty: not running
    session: asyncio.Task[None] | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self) -> str:
        """Start it and get its tools, if it is not running; returns the problem, or ""."""
        async with self.opening:
            if self.tools:
                return ""
            ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self.session = asyncio.create_task(self.run(ready))
            return await ready

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
        return re.sub(r"\?\S*", "", _hidden(str(error)) or type(error).__name__)[:MAX_CHARS]

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
                return _hidden(_text(*call.result()))
        except ToolException as error:
            raise ToolError(_hidden(str(error))) from None
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


# The event loop of all servers: MCP is asynchronous, the agent is not


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="mcp", daemon=True).start()
    return loop


def _run_async(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


async def _gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*work)
