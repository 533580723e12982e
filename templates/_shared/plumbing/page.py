"""What every page needs: shutdown on Ctrl-C and SIGTERM, and Markdown that is safe to show."""

import re
import signal
import threading
from contextlib import suppress

_SHUTDOWN = threading.Event()
JOINER = "\u2060"  # invisible; after it, "<" starts no tag and "!" no image


def catch_signals() -> None:
    """Install the handlers: both signals raise KeyboardInterrupt in the main thread."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _end)


def wait_for_shutdown() -> None:
    """Block until one of the signals arrives; return immediately if it already has.

    Gradio's own `block_thread` takes five seconds to end while a page is open.
    """
    with suppress(KeyboardInterrupt):
        while not _SHUTDOWN.wait(1):
            pass


def _end(kind: int, frame: object) -> None:
    _SHUTDOWN.set()  # Python drops the exception when it is raised in a __del__
    raise KeyboardInterrupt


def sanitize(text: str) -> str:
    """Disable the tags, images and diagrams in a text; bold, lists, links and code still work.

    Inside code too: the Markdown renderer may not agree with us about what is code.
    """
    text = re.sub(r"<(?=[a-zA-Z/!?])|!(?=\[)", rf"\g<0>{JOINER}", text)
    return re.sub(r"(?i)(`{3,}|~{3,})(\s*)mermaid", r"\1\2text", text)  # a diagram can load images
