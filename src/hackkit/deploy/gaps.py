"""Finds what a project needs and a platform lacks: known before anything is sent."""

import re
from collections.abc import Collection, Iterator, Sequence

from hackkit.deploy import requirements
from hackkit.deploy.manifest import OutgoingFile
from hackkit.errors import Problem
from hackkit.project import mcp_json
from hackkit.project.context import Context
from hackkit.system.wording import listed

_START = re.compile(r"(?m)^(?:CMD|ENTRYPOINT)\b.*|\bPopen\(.*")
_SCRIPT = re.compile(r"[\w./-]+\.py\b")
_MOST_NAMED = 5  # variables in one note
# What MCP servers are started with, what it belongs to, and how an image's recipe shows it.
_PROGRAMS = {
    **dict.fromkeys(("npx", "npm", "node", "bunx", "pnpm"), ("Node.js", r"(?i)\bnode|\bnpm\b")),
    **dict.fromkeys(("uvx", "uv"), ("uv", r"\buv\b|\buv_sync\b")),
    "docker": ("Docker", r"(?i)\bdocker-ce\b|\bdocker\.io\b"),
}


def problems(context: Context, files: Sequence[OutgoingFile], recipe: str) -> Iterator[Problem]:
    """Yield what would fail there; `recipe` is the file that says how the app is started."""
    needed = requirements.exported(context)
    if needed.text:  # without a lock, the packages are resolved there
        yield from needed.problems
    scripts = _SCRIPT.findall("".join(_START.findall(_text(files, recipe))[-1:]))
    for script in scripts[-1:]:
        if not any(f"/{script}".endswith(f"/{each.path}") for each in files):
            yield Problem(
                f"{recipe} starts {script}, which is not among the files.",
                fix=f"edit {recipe}: name the file that starts the app",
            )


def notes(
    files: Sequence[OutgoingFile], variables: Collection[str], recipe: str = ""
) -> Iterator[str]:
    """Yield what the tools of mcp.json will lack there: variables, and programs in the image."""
    try:
        servers = [*mcp_json.servers(_text(files, mcp_json.FILE)).values()]
    except (ValueError, RecursionError):  # there is none; doctor explains a broken one
        return
    unset = sorted(set[str]().union(*map(mcp_json.variables, servers)) - {*variables})
    if unset:
        yield (
            f"{mcp_json.FILE} needs {listed(unset, _MOST_NAMED)}, which the app does not get "
            "there: add a line with the name to .env.example, and the value to .env"
        )
    image = _text(files, recipe).rpartition("\nFROM ")[2]  # what the last stage has
    programs = {mcp_json.command(each).partition(" ")[0] for each in servers}
    for program in sorted(programs & {*_PROGRAMS}) if image else ():
        owner, sign = _PROGRAMS[program]
        if not re.search(sign, image):
            yield f"{mcp_json.FILE} starts {program}, but {recipe} does not install {owner}"


def _text(files: Sequence[OutgoingFile], path: str) -> str:
    found = next((each for each in files if each.path == path), None)
    return found.read().decode("utf-8", "replace") if found else ""
