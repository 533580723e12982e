"""Can the MCP servers in `mcp.json` start?

Warns when the file is not JSON of the right shape, when the command of a server is not found, and
when a variable that it takes from the environment or from `.env` is not set.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, skipped, together, warning
from hackkit.project import mcp_json
from hackkit.project.context import Context
from hackkit.system.wording import counted

TITLE = "MCP servers"
CATEGORY = Category.PROJECT


def check(context: Context) -> Finding:
    file = context.folder / mcp_json.FILE
    if context.project is None or not file.is_file():
        return skipped("the project has no mcp.json")
    try:
        servers = mcp_json.servers(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        shape = '{"mcpServers": {"a name": {"command": "..."}}}'
        return warning(f"mcp.json cannot be used: {error}", f"edit mcp.json: write it as {shape}")
    found = [each for name, entry in servers.items() for each in _problems(name, entry, context)]
    return together(found) if found else ok(counted(len(servers), "server"))


def _problems(name: str, entry: object, context: Context) -> Iterator[Finding]:
    urls = {"url", "serverUrl", "httpUrl"}
    if not isinstance(entry, Mapping) or ("command" in entry) == bool(urls & set(entry)):
        yield warning(f"{name} needs either a command or a url", f"edit mcp.json: correct {name}")
        return
    for variable in sorted(mcp_json.variables(entry)):
        if not context.value(variable):
            yield warning(f"{name} needs {variable}, which is not set", f"add {variable} to .env")
    command = mcp_json.command(entry)
    if command and not _is_found(command, context):
        yield warning(f"{name}: the command {command} is not found", _fix(command, name))


def _is_found(command: str, context: Context) -> bool:
    # Some people write the arguments behind the command.
    for name in (command, command.split(maxsplit=1)[0]):
        place = context.folder / Path(name).expanduser() if re.search(r"[/\\]", name) else name
        if shutil.which(place, path=context.env.get("PATH")):
            return True
    return False


def _fix(command: str, name: str) -> str:
    known = {
        "npx": "https://nodejs.org (npx comes with Node.js)",
        "uvx": "https://docs.astral.sh/uv (uvx comes with uv)",
        "docker": "https://docs.docker.com/get-docker",
    }
    return f"install it from {known[command]}" if command in known else f"edit mcp.json: {name}"
