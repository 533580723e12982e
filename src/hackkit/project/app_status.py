"""Asks a project's own code for its settings and the state of its index."""

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hackkit.project.files import ProjectFiles

if TYPE_CHECKING:
    from hackkit.system.processes import Ran, Run

_PATIENCE = 5.0  # seconds


@dataclass(frozen=True)
class AppStatus:
    """What a project's own code says of itself: `python -m PACKAGE status --json`.

    Paths are relative to the project. `problem` is set when it could not say anything; then
    nothing else is.
    """

    provider: str = "offline"  # mistral, server or offline
    chat_model: str = ""
    embed_model: str = ""
    host: str = "127.0.0.1"
    port: int = 0  # 0: 7860, or the next one that is free
    docs: str = ""
    index: str = ""
    documents: int = 0
    passages: int = 0
    new: tuple[str, ...] = ()  # documents that are not in the index
    changed: tuple[str, ...] = ()  # documents that the index holds in an older state
    gone: tuple[str, ...] = ()  # documents that the index holds and that exist no more
    unreadable: tuple[str, ...] = ()  # documents that cannot be read, each with the reason
    question: str = ""  # one that the documents answer
    busy: bool = False  # a process has the index open
    damage: str = ""  # why the index cannot be read
    problem: str = ""


def ask_app(project: ProjectFiles, run: "Run") -> AppStatus:
    """Let the project's own Python tell its settings and the state of its index."""
    if not project.package:
        return AppStatus(problem="the project has no package with a settings.py and a __main__.py")
    if not project.installed:
        return AppStatus(problem="the project's environment is not installed")
    words = (str(project.python), "-m", project.package, "status", "--json")
    ran = run(*words, folder=project.folder, seconds=_PATIENCE)
    if ran is None or ran.timed_out:
        return AppStatus(problem=f"its status did not come within {_PATIENCE} s")
    try:
        said = json.loads(ran.out)
        known = {each.name for each in fields(AppStatus)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in said.items()
            if name in known
        }
        return AppStatus(**values)
    except (ValueError, TypeError, AttributeError):
        return AppStatus(problem=_last_words(ran))


def _last_words(ran: "Ran") -> str:
    lines = [line.strip() for line in (ran.err or ran.out).splitlines() if line.strip()]
    if not lines:
        return f"its status ended with exit code {ran.code}"
    # A message of the app's own comes with its "Fix: …"; of a traceback the end tells.
    if lines[0].startswith("Traceback"):
        return lines[-1]
    frame = max((n for n, each in enumerate(lines) if each[0] in "╰+"), default=-1)  # Typer's
    return " ".join(lines[frame + 1 :][-3:])
