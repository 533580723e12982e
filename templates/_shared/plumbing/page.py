"""What every page needs: its end on Ctrl-C and SIGTERM, and Markdown that is safe to show."""

import atexit
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_SHUTDOWN = threading.Event()
JOINER = "\u2060"  # invisible; after it, "<" starts no tag and "!" no image


def run(main: Callable[[], None]) -> NoReturn:
    """Run an app until Ctrl-C or SIGTERM: both raise KeyboardInterrupt in the main thread."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, _end)
    code = 0
    try:
        main()
    except KeyboardInterrupt:  # before the page was served
        code = 130
    atexit._run_exitfuncs()  # temporary folders are deleted
    sys.stdout.flush()
    os._exit(code)  # an answer that is still being written would keep Python until a second signal


def wait_for_shutdown() -> None:
    """Block until one of the signals arrives; return immediately if it already has."""
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
