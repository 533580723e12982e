"""The only file that talks to MCP servers: their tools join the agent's."""

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

if TYPE_CHECKING:  # imported below where mcp.json names a server: nobody else waits for them
    from mcp import ClientSession
    from mcp.types import CallToolResult

T = TypeVar("T")

SHAPE = 'expected {"mcpServers": {"a name": {"command": "..."} or {"url": "..."}}}'
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
SECRET_CHARS = 6  # what is shorter is no secret, and would be found in every other word
MAX_WORDS = 300  # characters of what a server says about its own failure
LOST = {-32000, 32600}  # the SDK's codes for a connection and for a session that are gone


@dataclass(frozen=True)
class Connected:
    """The tools of the MCP servers that started, and a line for each one that did not."""

    tools: tuple[BaseTool, ...] = ()
    problems: tuple[str, ...] = ()


class Entry(BaseModel):
    """A server as mcp.json names it: a command to run, or a URL to reach."""

    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    url: str = ""
    headers: dict[str, str] = {}
    type: str = ""  # "sse" for a server that speaks the older protocol


class NotStarted(Exception):
    """Why a server did not start, and what to do about it."""

    def __init__(self, why: str, fix: str = "correct it in mcp.json") -> None:
        super().__init__(why)
        self.fix = fix


class McpTool(BaseTool):
    """A server's tool. No StructuredTool, which would lose an argument called `config`."""

    server: Any
    original: str  # its name on the server

    def _run(self, /, **arguments: Any) -> str:
        server: Server = self.server
        return _wait(server.call(self.original, arguments))


def connect(
    file: Path, seconds: float = 15, call_seconds: float = SETTINGS.tool_seconds
) -> Connected:
    """Start the servers that a mcp.json names, side by side, and collect their tools.

    A server that is not ready after `seconds` is left out; a call may take `call_seconds`.
    """
    try:
        named = _read(file)
    except ValueError as error:  # also what is not JSON, or not UTF-8
        return Connected(problems=(f"{file.name} could not be read: {error}. Fix: correct it",))
    servers = [Server(name, file.parent, seconds, call_seconds) for name in named]
    starts = [server.start(values) for server, values in zip(servers, named.values(), strict=True)]
    outcomes = _wait(_side_by_side(starts)) if starts else []
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
    """All tools, our own and the servers', and a line for each server that is missing."""
    found = connect(settings.mcp)
    return [*collect(), *found.tools], found.problems


def close(seconds: float = 6) -> None:
    """End all servers that run; the program's end does it too."""
    if _running:
        with suppress(TimeoutError):
            _wait(_side_by_side([server.stop() for server in list(_running)]), seconds)


def _read(file: Path) -> dict[str, Any]:
    """The servers that a mcp.json names. Raises ValueError."""
    if not file.exists():
        return {}
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    servers = content.get("mcpServers", {}) if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise ValueError(SHAPE)
    return servers


def _add(tools: dict[str, BaseTool], server: Server, offered: Iterable[BaseTool]) -> None:
    """Take a server's tools in, each under a name that Mistral takes and no other tool has."""
    ours = {each.name for each in collect()}
    for each in offered:
        more = (f"{server.name}_{each.name}_{number}" for number in itertools.count(2))
        wishes = itertools.chain([each.name, f"{server.name}_{each.name}"], more)
        names = (re.sub(r"[^a-zA-Z0-9_-]", "_", wish)[:64] for wish in wishes)
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


# A server: its session stays open in a task of its own


@dataclass(eq=False)
class Server:
    """An MCP server: started once, kept open, and started again where it has ended."""

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
        """Start it as mcp.json says; its tools, or why there are none."""
        try:
            self.entry = Entry.model_validate(_filled(values, self.secrets))
            if bool(self.entry.command) == bool(self.entry.url):
                raise NotStarted("it needs a command or a url, one of the two")
            return await self.open()
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            return NotStarted(f"{place}: {first['msg']}" if place else SHAPE)
        except NotStarted as error:
            return error

    async def open(self) -> list[BaseTool]:
        """Its tools, as soon as it runs. Raises NotStarted."""
        if not self.ready or self.ready.done():
            self.ready = asyncio.get_running_loop().create_future()
            self.closing = asyncio.Event()
            self.task = asyncio.create_task(self.hold(self.ready, self.closing))
        return await asyncio.shield(self.ready)

    async def hold(self, ready: asyncio.Future[list[BaseTool]], closing: asyncio.Event) -> None:
        """Keep a session open until `closing`: it has to end in the task that it began in."""
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
                    ready.set_exception(NotStarted(self.plain(self.why(error, log))))
            finally:
                ready.cancel()
                if self.closing is closing:  # else it has been started again meanwhile
                    self.session = None
                    _running.discard(self)

    @asynccontextmanager
    async def connected(self, log: TextIO) -> AsyncIterator[ClientSession]:
        """A session with the command that is run, or with the URL. Its stderr goes to `log`."""
        from langchain_mcp_adapters.sessions import create_session
        from mcp import ClientSession, StdioServerParameters, stdio_client

        entry = self.entry
        if entry.url:
            transport = "sse" if entry.type == "sse" else "http"
            how: Any = {"transport": transport, "url": entry.url, "headers": entry.headers}
            # It warns where a server does not take its goodbye: nobody needs to know.
            logging.getLogger("mcp.client.streamable_http").setLevel(logging.ERROR)
            async with create_session(how) as session:
                yield session
            return
        # Beside `env` it gets what the SDK holds to be safe (PATH, HOME, ...), no key of ours.
        params = StdioServerParameters(
            command=entry.command, args=entry.args, env=entry.env, cwd=self.folder
        )
        async with stdio_client(params, log) as streams, ClientSession(*streams) as session:
            yield session

    def why(self, error: BaseException, log: TextIO) -> str:
        """What kept it from starting, with its own last words."""
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
            what = "no MCP server is there" if self.entry.url else "it ended at once"
        else:
            what = str(error) or type(error).__name__
        log.seek(0)
        said = [line.strip() for line in log if line.strip()]
        return f"{what} ({said[-1][:MAX_WORDS]})" if said else what

    async def stop(self) -> None:
        self.closing.set()
        if self.task and not self.session:
            self.task.cancel()
        if self.task:
            await asyncio.wait([self.task])

    # Calls

    async def call(self, tool: str, arguments: dict[str, Any]) -> str:
        """What the tool gives, as text. Raises ToolError for whatever goes wrong."""
        try:
            async with asyncio.timeout(self.call_seconds):
                if not self.session:  # it has ended: start it again, once
                    await self.open()
                assert self.session
                result = await self.result(self.session, tool, arguments)
        except TimeoutError:
            late = f"{self.name} took longer than {self.call_seconds:g} seconds and was given up"
            raise ToolError(late) from None
        except NotStarted as error:
            raise ToolError(f"The MCP server {self.name} did not start again: {error}") from None
        text = self.plain(_text(result.content, result.structuredContent))
        if result.isError:
            raise ToolError(text)
        return text

    async def result(
        self, session: ClientSession, tool: str, arguments: dict[str, Any]
    ) -> CallToolResult:
        """What the server answers. Raises ToolError when it refuses, or is gone."""
        call, task = asyncio.create_task(session.call_tool(tool, arguments)), self.task
        assert task
        try:
            # Where nobody picks up any more, the SDK ends the session and leaves the call waiting.
            await asyncio.wait([call, task], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
        except Exception as error:
            if not _is_lost(error):  # the server refused the call, or broke its word about results
                raise ToolError(self.plain(str(error))) from None
        finally:
            call.cancel()
        raise self.lost(session)

    def lost(self, session: ClientSession) -> ToolError:
        """Give a session up whose server has gone away."""
        if self.session is session:
            self.session = None
            self.closing.set()
        return ToolError(
            f"The MCP server {self.name} went away, and nobody knows whether the call was done. "
            "It starts again at the next call."
        )

    def plain(self, text: str) -> str:
        """Words of the server, without the secrets that mcp.json took from the environment."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _is_lost(error: BaseException) -> bool:
    """Whether an error means that the server, or its session, is gone."""
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
    """A result as text; what is no text becomes a note."""
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
    return "\n".join(texts) or "Done; it gave nothing back."


def _filled(value: Any, secrets: set[str]) -> Any:
    """Put the environment's value, or that in .env, in the place of each ${NAME}."""
    if isinstance(value, dict):
        return {key: _filled(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, secrets) for each in value]

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


# The loop that all servers are talked to on: MCP is asynchronous, the agent is not


_running: set[Server] = set()


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="mcp", daemon=True).start()
    atexit.register(close)
    return loop


def _wait(work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(seconds)


async def _side_by_side(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*work)
