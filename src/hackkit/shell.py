"""Commands as text: what is printed can be typed as it stands."""

import os
import shlex
import subprocess
from collections.abc import Sequence


def line(words: Sequence[str]) -> str:
    """Write a command as one line for this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def hackkit(*words: str) -> str:
    """Write a hackkit command the way the user started this one."""
    # `uv run` marks its children so; outside it the command itself is on PATH.
    prefix = ["uv", "run", "hackkit"] if "UV_RUN_RECURSION_DEPTH" in os.environ else ["hackkit"]
    return line([*prefix, *words])
