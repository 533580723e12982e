"""Shuts the app down on Ctrl-C and on SIGTERM (how a container is stopped)."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress

_ENDING = threading.Event()


def listen() -> None:
    """Install the handlers: both signals raise KeyboardInterrupt in the main thread."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _end)


def wait() -> None:
    """Block until one of the signals arrives; return immediately if it already has.

    Gradio's own `block_thread` takes five seconds to end while a page is open.
    """
    with suppress(KeyboardInterrupt):
        while not _ENDING.wait(1):
            pass


def _end(kind: int, frame: object) -> None:
    _ENDING.set()  # Python drops the exception when it is raised in a __del__
    raise KeyboardInterrupt
