"""Reads `mcp.json`, in which a project names its MCP servers, as people write it."""

import json
import re
from collections.abc import Mapping
from typing import Any

FILE = "mcp.json"
# A variable without a default: ${NAME} and ${env:NAME}, but not ${NAME:-x}
_VARIABLE = re.compile(r"\$\{(?:env:)?(\w+)\}")
_OF_VS_CODE = {"workspaceFolder"}


def servers(text: str) -> dict[str, Any]:
    """Return the entries of the servers that are on. Raises ValueError or RecursionError."""
    content = json.loads(text.removeprefix("\ufeff"))
    content = content.get("mcp", content) if isinstance(content, dict) else None
    found = content if isinstance(content, dict) else {}
    groups = [found[key] for key in ("mcpServers", "servers") if key in found]
    if (content != {} and not groups) or not all(isinstance(each, dict) for each in groups):
        raise ValueError("it names no servers")
    entries = ((name, entry) for group in groups for name, entry in group.items())
    return {name: entry for name, entry in entries if _is_on(entry)}


def _is_on(entry: object) -> bool:
    is_off = isinstance(entry, dict) and (entry.get("disabled") or entry.get("enabled") is False)
    return not is_off


def variables(entry: object) -> set[str]:
    """Return the variables that an entry takes from the environment or from `.env`."""
    return set(_VARIABLE.findall(json.dumps(entry))) - _OF_VS_CODE


def command(entry: object) -> str:
    """Return the command that starts a server, or nothing where it has none that can be known."""
    written = entry.get("command") if isinstance(entry, Mapping) else None
    written = str((written[0] if isinstance(written, list) else written) if written else "")
    return "" if "${" in written else written
