"""Can the MCP servers in `mcp.json` start?

Warns when the file is not JSON of the right shape, when the command of a server is not found, and
when a variable that it takes from the environment or from `.env` is not set.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hackkit.doctor.findings import Category, Finding, ok, skipped, together, warning
from hackkit.project.context import Context
from hackkit.system.wording import counted

TITLE = "MCP servers"
CATEGORY = Category.PROJECT

_PLACEHOLDER = re.compile(r"\$\{(?:env:)?(\w+)\}")  # one with a default, ${NAME:-x}, needs no value
_OF_VS_CODE = {"workspaceFolder"}


def check(context: Context) -> Finding:
    file = context.folder / "mcp.json"
    if context.project is None or not file.is_file():
        return skipped("the project has no mcp.json")
    try:
        servers = _servers(file)
    except (OSError, ValueError, RecursionError) as error:
        shape = '{"mcpServers": {"a name": {"command": "..."}}}'
        return warning(f"mcp.json cannot be used: {error}", f"edit mcp.json: write it as {shape}")
    used = {name: each for name, each in servers.items() if _is_on(each)}
    found = [each for name, entry in used.items() for each in _problems(name, entry, context)]
    return together(found) if found else ok(counted(len(used), "server"))


def _servers(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text("utf-8-sig"))
    content = content.get("mcp", content) if isinstance(content, dict) else None
    found = content if isinstance(content, dict) else {}
    groups = [found[key] for key in ("mcpServers", "servers") if key in found]
    if (content != {} and not groups) or not all(isinstance(each, dict) for each in groups):
        raise ValueError("it names no servers")
    return {name: entry for group in groups for name, entry in group.items()}


def _is_on(entry: object) -> bool:
    is_off = isinstance(entry, dict) and (entry.get("disabled") or entry.get("enabled") is False)
    return not is_off


def _problems(name: str, entry: object, context: Context) -> Iterator[Finding]:
    urls = {"url", "serverUrl", "httpUrl"}
    if not isinstance(entry, Mapping) or ("command" in entry) == bool(urls & set(entry)):
        yield warning(f"{name} needs either a command or a url", f"edit mcp.json: correct {name}")
        return
    for variable in sorted(set(_PLACEHOLDER.findall(json.dumps(entry))) - _OF_VS_CODE):
        if not context.value(variable):
            yield warning(f"{name} needs {variable}, which is not set", f"add {variable} to .env")
    command = _command(entry)
    if command and not _is_found(command, context):
        yield warning(f"{name}: the command {command} is not found", _fix(command, name))


def _command(entry: Mapping[str, Any]) -> str:
    command = entry.get("command") or ""
    command = str(command[0] if isinstance(command, list) else command)
    return "" if "${" in command else command


def _is_found(command: str, context: Context) -> bool:
    path = context.env.get("PATH")
    for name in (
        command,
        command.split(maxsplit=1)[0],
    ):  # some people write the arguments behind it
        place = context.folder / Path(name).expanduser() if re.search(r"[/\\]", name) else name
        if shutil.which(place, path=path):
            return True
    return False


def _fix(command: str, name: str) -> str:
    known = {
        "npx": "https://nodejs.org (npx comes with Node.js)",
        "uvx": "https://docs.astral.sh/uv (uvx comes with uv)",
        "docker": "https://docs.docker.com/get-docker",
    }
    return f"install it from {known[command]}" if command in known else f"edit mcp.json: {name}"
