"""What a visitor can download: reports of runs, and files of the workspace.

Only copies are served, and Gradio serves a copy with markup or a script as an attachment.
"""

from __future__ import annotations

import html
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr

from agent.events import Answer, Event, last
from agent.settings import SETTINGS
from agent.timeline import to_html

NO_FILE = '<p class="empty">Select a file to see its content.</p>'
PREVIEW_CHARS = 6000
Update = dict[str, Any]


@cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    """The folder of the copies; it is deleted when the app ends."""
    return tempfile.TemporaryDirectory(prefix="agent-downloads-")


def report(events: Sequence[Event]) -> Update:
    """The run as one HTML file, for the download button."""
    if not last(Answer, events):
        return gr.update(visible=False)
    name = f"run-{time.strftime('%Y-%m-%d-%H%M%S')}-{secrets.token_hex(8)}.html"
    file = Path(_copies().name, name)
    file.write_text(to_html(SETTINGS.title, events), encoding="utf-8")
    return gr.update(value=str(file), visible=True)


def files() -> tuple[Update, str, Update]:
    """The list of the workspace's files, with none selected."""
    from agent.sandbox import list_paths

    return gr.update(choices=list_paths(), value=None), NO_FILE, gr.update(visible=False)


def preview(name: str | None) -> tuple[str, Update]:
    """A listed file of the workspace as text, and its download button."""
    from agent.sandbox import inside, lines_of, list_paths
    from agent.tools import ToolError

    try:
        if name not in list_paths():  # as another visitor's upload
            raise ToolError(f"There is no file {name} in the list.")
        text = "\n".join(lines_of(name))
        more = len(text) - PREVIEW_CHARS
        note = f"\n… {more:,} more characters" if more > 0 else ""
        shown = f"<pre>{html.escape(text[:PREVIEW_CHARS] + note)}</pre>"
        return shown, gr.update(value=_copy(inside(name)), visible=True)
    except ToolError as error:
        return f'<p class="empty">{html.escape(str(error))}</p>', gr.update(visible=False)


def _copy(file: Path) -> str:
    folder = Path(_copies().name, secrets.token_hex(8))
    folder.mkdir()
    return str(shutil.copyfile(file, folder / file.name))
