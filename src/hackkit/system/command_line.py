"""Commands as text: what is printed can be typed as it stands."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def line(words: Sequence[str]) -> str:
    """Write a command as one line for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def hackkit(*words: str, folder: Path | None = None) -> str:
    """Write a hackkit command the way the user started this one, to be typed in the folder."""
    # `uv run` marks its children so; outside it the command itself is on PATH.
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return line(["hackkit", *words])
    checkout = Path(sys.prefix).parent
    elsewhere = folder is not None and not folder.is_relative_to(checkout)
    where = ["--project", str(checkout)] if elsewhere else []
    return line(["uv", "run", *where, "hackkit", *words])
