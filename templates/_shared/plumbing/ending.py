"""When an app ends: at Ctrl-C, or at SIGTERM, which is how a container is stopped."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress

_ENDING = threading.Event()


def listen() -> None:
    """Let both end what the app is doing, with a KeyboardInterrupt."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _end)


def wait() -> None:
    """Wait until one of them comes, or return at once where it has come already.

    Gradio's own `block_thread` would go on for five seconds while a page is open.
    """
    with suppress(KeyboardInterrupt):
        while not _ENDING.wait(1):
            pass


def _end(kind: int, frame: object) -> None:
    _ENDING.set()  # Python drops the exception where it meets the end of some object
    raise KeyboardInterrupt
