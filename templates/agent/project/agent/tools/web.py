"""The web: reads a public page or document."""

from __future__ import annotations

from collections.abc import Callable

from agent.addresses import sends_out
from agent.sandbox import SECONDS, as_text
from agent.settings import SETTINGS
from agent.tools import ROOM, ToolError, tool
from plumbing import readers, web

MAX_QUERY, MAX_URL = 300, 1000  # characters: an address can carry private data out


@sends_out
@tool
def read_page(url: str, part: int = 1) -> str:
    """Read a public web page or document as text: HTML, PDF, Word, CSV, plain text.

    `url` is a full address, as https://example.org/page. A long page comes in parts: ask for the
    next `part`.
    """
    return page(url, part)


def page(url: str, part: int = 1, allowed: Callable[[str], bool] | None = None) -> str:
    """The page's title and text; `allowed` checks an IP address. Raises ToolError."""
    url = url.strip() if "://" in url else f"https://{url.strip()}"
    if not url.isprintable():  # a client would drop a tab in it, after all checks
        raise ToolError("The address contains a control character.")
    if len(url.partition("?")[2]) > MAX_QUERY or len(url) > MAX_URL:
        limit = f"{MAX_URL} characters, {MAX_QUERY} of them after the ?"
        raise ToolError(f"{url[:60]}… is refused: it is longer than {limit}.")
    try:
        ending, data = web.fetch(url, SETTINGS.max_file_mb, allowed, SECONDS)
        text = as_text(readers.read(ending, data))
    except readers.Unreadable as error:
        raise ToolError(f"{url}: {error}.") from error
    parts = -(-len(text) // ROOM)
    if not 1 <= part <= parts:
        raise ToolError(f"{url} has no part {part}: the last one is {parts}.")
    here = text[(part - 1) * ROOM : part * ROOM]
    where = f", part {part} of {parts}" if parts > 1 else ""
    more = f"; continue with part={part + 1}" if part < parts else ""
    return f"{url}{where}{more}:\n{here}"
