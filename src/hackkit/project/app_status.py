"""Asks a project's own code for its settings and the state of its index."""

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hackkit.project.files import ProjectFiles

if TYPE_CHECKING:
    from hackkit.system.processes import Ran, Run

STATUS_SECONDS = 10.0  # the app starts Python, on a machine that may be busy


@dataclass(frozen=True)
class AppStatus:
    """The output of a project's own `python -m PACKAGE status --json`.

    Paths are relative to the project. `problem` says why there is no output: then nothing else is
    set.
    """

    provider: str = "offline"  # mistral, server or offline
    chat_model: str = ""
    embed_model: str = ""
    host: str = "127.0.0.1"
    port: int = 0  # 0: layout.PORT, or the next free one
    docs: str = ""
    index: str = ""
    documents: int = 0
    chunks: int = 0
    new: tuple[str, ...] = ()  # documents that are not in the index
    changed: tuple[str, ...] = ()  # documents that the index has in an older state
    gone: tuple[str, ...] = ()  # documents in the index that no longer exist
    unreadable: tuple[str, ...] = ()  # documents that cannot be read, each with the reason
    question: str = ""  # a question that the documents answer
    busy: bool = False  # a process has the index open
    damage: str = ""  # why the index cannot be read
    problem: str = ""


def ask_app(project: ProjectFiles, run: "Run") -> AppStatus:
    """Run the project's own code for its settings and the state of its index."""
    if not project.package:
        return AppStatus(problem="the project has no package with a settings.py and a __main__.py")
    if not project.installed:
        return AppStatus(problem="the project's environment is not installed")
    words = (str(project.python), "-m", project.package, "status", "--json")
    ran = run(*words, folder=project.folder, seconds=STATUS_SECONDS)
    if ran is None or ran.timed_out:
        return AppStatus(problem=f"the app's status took longer than {STATUS_SECONDS:g} s")
    try:
        content = json.loads(ran.out)
        content.setdefault("chunks", content.get("passages", 0))  # an older template
        known = {each.name for each in fields(AppStatus)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
            if name in known
        }
        return AppStatus(**values)
    except (ValueError, TypeError, AttributeError):
        return AppStatus(problem=_error(ran))


def _error(ran: "Ran") -> str:
    lines = [line.strip() for line in (ran.err or ran.out).splitlines() if line.strip()]
    if not lines:
        return f"the app's status ended with exit code {ran.code}"
    # The app's own message includes its "Fix: …"; of a traceback, the last line matters.
    if lines[0].startswith("Traceback"):
        return lines[-1]
    frame = max((n for n, each in enumerate(lines) if each[0] in "╰+"), default=-1)  # Typer's box
    return " ".join(lines[frame + 1 :][-3:])
