"""The only file that connects to MCP servers, and adds their tools to the agent's."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import httpx
from dotenv import dotenv_values
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from agent.settings import SETTINGS, Settings
from agent.tools import ToolError, asks_first, collect

if TYPE_CHECKING:  # slow to import: imported below only when mcp.json names a server
    from mcp import ClientSession
    from mcp.types import CallToolResult

T = TypeVar("T")

SHAPE = 'expected {"mcpServers": {"a name": {"command": "..."} or {"url": "..."}}}'
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
SECRET_CHARS = 6  # a shorter value is not a secret, and redacting it would damage other words
MAX_CHARS = 300  # of a server's own error message
LOST = {-32000, 32600}  # the SDK's codes for a lost connection and a lost session


@dataclass(frozen=True)
class Connected:
    """The tools of the MCP servers that started, and one line for each that failed."""

    tools: tuple[BaseTool, ...] = ()
    problems: tuple[str, ...] = ()


class Entry(BaseModel):
    """A server's entry in mcp.json: a command to run, or a URL."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    url: str = ""
    headers: dict[str, str] = {}
    type: str = ""  # "sse" for a server with the older protocol


class NotStarted(Exception):
    """The reason why a server did not start, and its fix."""

    def __init__(self, why: str, fix: str = "correct it in mcp.json") -> None:
        super().__init__(why)
        self.fix = fix


class McpTool(BaseTool):
    """A server's tool. Not a StructuredTool, which would drop an argument called `config`."""

    server: Any
    original: str  # its name on the server

    def _run(self, /, **arguments: Any) -> str:
        server: Server = self.server
        return _run_async(server.call(self.original, arguments))


def connect(
    file: Path, seconds: float = 15, call_seconds: float = SETTINGS.tool_seconds
) -> Connected:
    """Start the servers in mcp.json, all in parallel, and collect their tools.

    A server that is not ready after `seconds` is left out; a call may take `call_seconds`.
    """
    try:
        named = _read(file)
    except ValueError as error:  # also invalid JSON, or not UTF-8
        return Connected(problems=(f"{file.name} could not be read: {error}. Fix: correct it",))
    servers = [Server(name, file.parent, seconds, call_seconds) for name in named]
    starts = [server.start(values) for server, values in zip(servers, named.values(), strict=True)]
    outcomes = _run_async(_gather(starts)) if starts else []
    tools, problems = dict[str, BaseTool](), list[str]()
    for server, outcome in zip(servers, outcomes, strict=True):
        if isinstance(outcome, NotStarted):
            why = f"did not start: {outcome}. Fix: {outcome.fix}"
            problems.append(f"MCP server {server.name} {why}")
        else:
            _add(tools, server, outcome)
    return Connected(tuple(tools.values()), tuple(problems))


@cache
def toolbox(settings: Settings = SETTINGS) -> tuple[list[BaseTool], tuple[str, ...]]:
    """All tools, our own and the servers', and one line for each server that failed."""
    found = connect(settings.mcp)
    return [*collect(), *found.tools], found.problems


def close(seconds: float = 6) -> None:
    """Stop all running servers; this also happens when the program exits."""
    if _running:
        with suppress(TimeoutError):
            _run_async(_gather([server.stop() for server in list(_running)]), seconds)


def _read(file: Path) -> dict[str, Any]:
    """The servers in mcp.json. Raises ValueError."""
    if not file.exists():
        return {}
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    servers = content.get("mcpServers", {}) if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise ValueError(SHAPE)
    return servers


def _add(tools: dict[str, BaseTool], server: Server, offered: Iterable[BaseTool]) -> None:
    """Add a server's tools, each under a unique name that Mistral's API accepts."""
    ours = {each.name for each in collect()}
    for each in offered:
        more = (f"{server.name}_{each.name}_{number}" for number in itertools.count(2))
        candidates = itertools.chain([each.name, f"{server.name}_{each.name}"], more)
        names = (re.sub(r"[^a-zA-Z0-9_-]", "_", candidate)[:64] for candidate in candidates)
        name = next(name for name in names if name not in ours and name not in tools)
        tools[name] = McpTool(
            name=name,
            description=each.description,
            args_schema=each.args_schema,
            metadata=each.metadata,
            server=server,
            original=each.name,
        )
        if (each.metadata or {}).get("readOnlyHint") is not True:
            asks_first(tools[name])


# A server: its session stays open in its own asyncio task


@dataclass(eq=False)
class Server:
    """An MCP server: started once, kept open, and restarted if it has ended."""

    name: str
    folder: Path
    seconds: float
    call_seconds: float
    entry: Entry = field(default_factory=Entry)
    secrets: set[str] = field(default_factory=set)
    session: ClientSession | None = None
    ready: asyncio.Future[list[BaseTool]] | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def start(self, values: Any) -> list[BaseTool] | NotStarted:
        """Start it with its entry in mcp.json; its tools, or the reason why there are none."""
        try:
            self.entry = Entry.model_validate(_fill_in(values, self.secrets))
            if bool(self.entry.command) == bool(self.entry.url):
                raise NotStarted("it needs either a command or a url")
            return await self.open()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            return NotStarted(f"{place}: {first['msg']}" if place else SHAPE)
        except NotStarted as error:
            return error

    async def open(self) -> list[BaseTool]:
        """Its tools, once it is running. Raises NotStarted."""
        if not self.ready or self.ready.done():
            self.ready = asyncio.get_running_loop().create_future()
            self.closing = asyncio.Event()
            self.task = asyncio.create_task(self.run(self.ready, self.closing))
        return await asyncio.shield(self.ready)

    async def run(self, ready: asyncio.Future[list[BaseTool]], closing: asyncio.Event) -> None:
        """Keep a session open until `closing`: it must end in the task in which it started."""
        _running.add(self)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            try:
                async with asyncio.timeout(self.seconds) as limit, self.connected(log) as session:
                    tools = await _tools(session)
                    limit.reschedule(None)
                    self.session = session
                    ready.set_result(tools)
                    await closing.wait()
            except Exception as error:
                if not ready.done():
                    ready.set_exception(NotStarted(self.redacted(self.reason(error, log))))
            finally:
                ready.cancel()
                if self.closing is closing:  # else it was restarted in the meantime
                    self.session = None
                    _running.discard(self)

    @asynccontextmanager
    async def connected(self, log: TextIO) -> AsyncIterator[ClientSession]:
        """A session with the server's command or URL. The command's stderr goes to `log`."""
        from langchain_mcp_adapters.sessions import create_session
        from mcp import ClientSession, StdioServerParameters, stdio_client

        entry = self.entry
        if entry.url:
            transport = "sse" if entry.type == "sse" else "http"
            options: Any = {"transport": transport, "url": entry.url, "headers": entry.headers}
            # It warns when a server refuses to end a session, which does no harm.
            logging.getLogger("mcp.client.streamable_http").setLevel(logging.ERROR)
            async with create_session(options) as session:
                yield session
            return
        # Besides `env` it gets the SDK's safe variables (PATH, HOME, ...), and none of our keys.
        params = StdioServerParameters(
            command=entry.command, args=entry.args, env=entry.env, cwd=self.folder
        )
        async with stdio_client(params, log) as streams, ClientSession(*streams) as session:
            yield session

    def reason(self, error: BaseException, log: TextIO) -> str:
        """The reason why it did not start, with the last line of its stderr."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, TimeoutError):
            what = f"it was not ready after {self.seconds:g} seconds"
        elif isinstance(error, FileNotFoundError):
            what = f"command not found: {self.entry.command}"
        elif isinstance(error, httpx.HTTPStatusError):
            what = f"it answered with status {error.response.status_code}"
        elif isinstance(error, httpx.HTTPError):
            what = f"{self.entry.url.partition('?')[0]} could not be reached"
        elif _is_lost(error):
            what = "there is no MCP server" if self.entry.url else "it ended immediately"
        else:
            what = str(error) or type(error).__name__
        log.seek(0)
        lines = [line.strip() for line in log if line.strip()]
        return f"{what} ({lines[-1][:MAX_CHARS]})" if lines else what

    async def stop(self) -> None:
        self.closing.set()
        if self.task and not self.session:
            self.task.cancel()
        if self.task:
            await asyncio.wait([self.task])

    # Calls

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """The tool's result as text. Raises ToolError for every failure."""
        try:
            async with asyncio.timeout(self.call_seconds):
                if not self.session:  # it has ended: restart it, once
                    await self.open()
                assert self.session
                result = await self.result(self.session, tool, arguments)
        except TimeoutError:
            late = f"The MCP server {self.name} timed out after {self.call_seconds:g} seconds."
            raise ToolError(late) from None
        except NotStarted as error:
            raise ToolError(f"The MCP server {self.name} did not restart: {error}") from None
        text = self.redacted(_text(result.content, result.structuredContent))
        if result.isError:
            raise ToolError(text)
        return text

    async def result(
        self, session: ClientSession, tool: str, arguments: dict[str, Any]
    ) -> CallToolResult:
        """The server's answer. Raises ToolError when the server refuses the call, or has ended."""
        call, task = asyncio.create_task(session.call_tool(tool, arguments)), self.task
        assert task
        try:
            # When the server has ended, the SDK ends the session, but the call would wait forever.
            await asyncio.wait([call, task], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
        except Exception as error:
            if not _is_lost(error):  # the server refused the call, or its result breaks its schema
                raise ToolError(self.redacted(str(error))) from None
        finally:
            call.cancel()
        raise self.lost(session)

    def lost(self, session: ClientSession) -> ToolError:
        """Drop a session whose server has ended; the error for the model."""
        if self.session is session:
            self.session = None
            self.closing.set()
        return ToolError(
            f"The MCP server {self.name} stopped, so it is unknown whether the call was done. "
            "It restarts at the next call."
        )

    def redacted(self, text: str) -> str:
        """A server's text without the secrets that mcp.json took from the environment."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _is_lost(error: BaseException) -> bool:
    """Whether an error means that the server or its session has ended."""
    from anyio import BrokenResourceError, ClosedResourceError
    from mcp import McpError

    if isinstance(error, McpError):
        return error.error.code in LOST
    return isinstance(error, (BrokenResourceError, ClosedResourceError))


async def _tools(session: ClientSession) -> list[BaseTool]:
    from langchain_mcp_adapters.tools import load_mcp_tools

    await session.initialize()
    return await load_mcp_tools(session)


def _text(parts: Iterable[Any], structured: dict[str, Any] | None) -> str:
    """A result as text; an image or another part that is not text becomes a note."""
    texts = []
    for part in parts:
        if part.type == "text":
            texts.append(part.text)
        elif part.type == "resource" and hasattr(part.resource, "text"):
            texts.append(part.resource.text)
        elif part.type == "resource":
            texts.append(f"[a file that is not shown: {part.resource.uri}]")
        elif part.type == "resource_link":
            texts.append(f"[a link: {part.uri}]")
        else:
            texts.append(f"[not shown: {part.type}, {part.mimeType}]")
    if not texts and structured is not None:
        return json.dumps(structured, ensure_ascii=False)
    return "\n".join(texts) or "Done; the result is empty."


def _fill_in(value: Any, secrets: set[str]) -> Any:
    """Replace each ${NAME} by the value in the environment, or in .env."""
    if isinstance(value, dict):
        return {key: _fill_in(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill_in(each, secrets) for each in value]

    def look_up(match: re.Match[str]) -> str:
        name = match[1]
        found = os.environ.get(name) or _dotenv().get(name)
        if not found:
            raise NotStarted(f"{name} is not set", f"echo {name}=... >> .env")
        if len(found) >= SECRET_CHARS:
            secrets.add(found)
        return found

    return PLACEHOLDER.sub(look_up, value) if isinstance(value, str) else value


def _dotenv() -> dict[str, str | None]:
    return dotenv_values(str(Settings.model_config["env_file"]))


# The event loop of all servers: MCP is asynchronous, the agent is not


_running: set[Server] = set()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="mcp", daemon=True).start()
    atexit.register(close)
    return loop


def _run_async(work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(seconds)


async def _gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*work)
