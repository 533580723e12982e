"""A real MCP server for the tests: over stdio, or over HTTP on the port that it is given."""

import io
import os
import sys
import time

if "crash" in sys.argv:
    sys.exit("the licence has expired")
if "hang" in sys.argv:
    sys.exit(bool(sys.stdin.read()))  # only when stdin is closed: it never answers

if "loud" in sys.argv:
    print("Starting…\n{}\nready", flush=True)

from mcp.server.fastmcp import FastMCP, Image
from mcp.types import (
    AudioContent,
    EmbeddedResource,
    ResourceLink,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import AnyUrl

READS = ToolAnnotations(readOnlyHint=True)
server = FastMCP("test", log_level="ERROR", port=int(os.environ.get("TEST_PORT", "0")))


@server.tool(annotations=READS)
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def keep(config: str) -> str:
    """Keep a note."""
    return f"kept {config}"


@server.tool(name="files.list", annotations=READS, structured_output=False)
def listed() -> list[object]:
    """An image, a file and words."""
    note = TextResourceContents(uri=AnyUrl("note://1"), text="a note")
    file = EmbeddedResource(type="resource", resource=note)
    return [Image(data=b"\x89PNG", format="png"), file, "words"]


@server.tool(annotations=READS, structured_output=False)
def chart() -> Image:
    """A small red image."""
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.new("RGB", (8, 8), "red").save(file, "PNG")
    return Image(data=file.getvalue(), format="png")


@server.tool(annotations=READS, structured_output=False)
def sound() -> AudioContent:
    """A recording."""
    return AudioContent(type="audio", data="AAAA", mimeType="audio/wav")


@server.resource("note://text")
def note() -> str:
    return "The kettle boils."


@server.tool(annotations=READS, structured_output=False)
def link() -> list[ResourceLink]:
    """Two links to notes."""
    urls = [AnyUrl("note://text"), AnyUrl("note://gone")]
    return [ResourceLink(type="resource_link", name="note", uri=url) for url in urls]


@server.tool(annotations=READS)
def fail() -> str:
    """Fail."""
    raise ValueError("no such city")


@server.tool(annotations=READS)
def environment() -> str:
    """The variables that this process gets."""
    return f"{sorted(os.environ)} {os.environ.get('TEST_TOKEN')}"


@server.tool(annotations=READS)
def process() -> int:
    """The id of this process."""
    return os.getpid()


@server.tool(annotations=READS)
def sleep(seconds: float) -> str:
    """Take a while."""
    time.sleep(seconds)
    return "awake"


@server.tool(annotations=READS)
def die() -> str:
    """End during a call."""
    os._exit(1)


@server.tool(annotations=READS)
def calculate() -> str:
    """Has the name of one of our tools."""
    return "41"


server.run("streamable-http" if "http" in sys.argv else "stdio")
