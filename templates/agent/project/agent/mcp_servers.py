"""A running MCP server and its tools: it starts in the background, and again after its end."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
import threading
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

from anyio import BrokenResourceError, ClosedResourceError
from langchain_core.tools import BaseTool, ToolException

from agent import attachments
from agent.addresses import sends_out
from agent.mcp_json import NotStarted, without_secrets
from agent.tools import ToolError, asks_first

log = logging.getLogger(__name__)
T = TypeVar("T")
Output = tuple[str, tuple[str, ...]]  # a result's text, and its images as data URLs

MAX_CHARS = 300  # of a server's own error message
STARTING = "MCP server %s is still starting (at most %g seconds)"
NOISE = "An MCP server prints lines that are no messages: they are left out"
SLOW = 3  # seconds after which a start is announced


class McpTool(BaseTool):
    """A server's tool. Not a StructuredTool, which would drop an argument called `config`."""

    server: Any
    original: str
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"

    @classmethod
    def of(cls, server: Server, tool: BaseTool) -> BaseTool:
        """The tool, under a name that Mistral's API accepts; it asks first unless it only reads."""
        reads = (tool.metadata or {}).get("readOnlyHint") is True
        named = re.sub(r"[^a-zA-Z0-9_-]", "_", tool.name)[:64]
        more: Any = {"args_schema": tool.args_schema, "server": server, "original": tool.name}
        found = cls(name=named, description=tool.description, **more)
        return sends_out(found) if reads else asks_first(found)

    def _run(self, /, **arguments: Any) -> Output:
        return _run_async(self.server.call(self.original, arguments))


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
    client: Any = None
    session: asyncio.Task[None] | None = None
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.problem = STARTING % (self.name, self.seconds) + ".\nFix: wait, or give the task again"

    def start(self) -> None:
        """Open it in the background."""
        asyncio.run_coroutine_threadsafe(self.open(), _loop())

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
                self.client = session
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
        if isinstance(error, BrokenResourceError | ClosedResourceError):  # these say nothing
            return "Connection closed"
        return re.sub(r"\?\S*", "", without_secrets(str(error)) or type(error).__name__)[:MAX_CHARS]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Output:
        """The tool's result. Raises ToolError for every failure."""
        try:
            async with asyncio.timeout(self.call_seconds):
                if problem := await self.open():
                    raise ToolError(problem)
                return await self.result(self.tools[tool].coroutine(**arguments))
        except TimeoutError:
            late = f"The MCP server {self.name} timed out after {self.call_seconds:g} seconds."
            raise ToolError(late) from None

    async def linked(self, part: dict[str, Any]) -> dict[str, Any]:
        """A part of a result; a link to one of the server's resources is followed."""
        if not (url := part.get("url")):
            return part
        text = ""
        with suppress(Exception):  # then the link is shown alone
            found = await self.client.read_resource(url)
            text = "\n".join(getattr(each, "text", "") for each in found.contents)
        return {"type": "text", "text": f"{url}\n{text}".strip()}

    async def result(self, work: Coroutine[Any, Any, Any]) -> Output:
        """A call's result. Raises ToolError when the server refuses the call, or has ended."""
        assert self.session
        call = asyncio.create_task(work)
        try:
            # When the server has ended, the SDK ends the session, but the call would wait forever.
            await asyncio.wait([call, self.session], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                parts, artifact = call.result()
                text, images = _output([await self.linked(part) for part in parts], artifact)
                return without_secrets(text), images
        except ToolException as error:
            raise ToolError(without_secrets(str(error))) from None
        except NotImplementedError as error:
            raise ToolError(f"The result cannot be shown: {error}") from None
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


def _output(parts: Iterable[Any], artifact: Any) -> Output:
    """A result as text, and its images; another part that cannot be shown becomes a note."""
    texts, images = list[str](), list[str]()
    for part in parts:
        try:
            data = base64.b64decode(part["base64"] if part["type"] == "image" else "")
            images += [attachments.data_url(io.BytesIO(data))] if data else []
            texts.append(part.get("text") or f"[{'an image' if data else 'not shown: a file'}]")
        except (KeyError, ValueError, attachments.SkippedFile):
            texts.append(f"[not shown: {part['type']}]")
    if not texts and artifact:
        texts.append(json.dumps(artifact["structured_content"], ensure_ascii=False))
    return "\n".join(texts) or "Done; the result is empty.", tuple(images[: attachments.MAX_IMAGES])


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
