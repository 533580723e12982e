"""The only module that runs uv: to install a project, and to run commands in it."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hackkit.errors import HackkitError
from hackkit.system.command_line import HERE, line
from hackkit.system.processes import run_once

# Variables that `uv run hackkit` and its checkout set for themselves. All others (an index, a
# cache, a Python version) are the user's settings, and apply to the new project too.
_OURS = frozenset(
    {
        "UV",
        "UV_RUN_RECURSION_DEPTH",
        "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT",
        "UV_WORKING_DIR",
        "UV_WORKING_DIRECTORY",
        "UV_ENV_FILE",
        "UV_NO_SYNC",
        "UV_FROZEN",
        "UV_LOCKED",
        "UV_NO_PROJECT",
        "UV_ISOLATED",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "PYTHONHOME",
    }
)
_STDERR = 2
_SECONDS = 60.0  # for a command that installs nothing
_GRACE = 3.0  # seconds for a stopped app to close its files


def command() -> list[str]:
    """Return the words that start uv on this machine.

    Raises HackkitError when there is no uv at all.
    """
    # `uv run` sets UV for its children: its folder may not be on PATH.
    for candidate in (shutil.which("uv"), os.environ.get("UV")):
        if candidate and Path(candidate).is_file():
            return [candidate]
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    raise HackkitError(
        "uv, which installs the project's packages, was not found.",
        fix=line([HERE.python, "-m", "pip", "install", "uv"]),
    )


def typed(*arguments: str) -> str:
    """Write a uv command for the user's shell."""
    try:
        words = ["uv"] if shutil.which("uv") else command()
    except HackkitError:
        words = ["uv"]
    return line([*words, *arguments])


def outer_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those of hackkit's own `uv run`."""
    kept = {key: value for key, value in variables.items() if key not in _OURS}
    if sys.prefix != sys.base_prefix:
        scripts = Path(sys.executable).parent
        folders = kept.get("PATH", "").split(os.pathsep)
        kept["PATH"] = os.pathsep.join(path for path in folders if Path(path) != scripts)
    return kept


def succeeds(folder: Path, *arguments: str) -> bool:
    """Run uv in the folder, with its output on stderr; return whether it succeeded."""
    return _foreground(folder, arguments, _STDERR) == 0


def quietly(folder: Path, *arguments: str) -> str:
    """Run uv in the folder; return its output when it failed, else nothing."""
    words = [*command(), *arguments]
    ran = run_once(words, folder=folder, env=outer_environment(os.environ), seconds=_SECONDS)
    if ran.timed_out:
        return f"it did not end within {_SECONDS:g} s"
    output = f"{ran.err}\n{ran.out}".strip() or f"exit code {ran.code}"
    return "" if ran.ok else output


def foreground(folder: Path, *arguments: str) -> int:
    """Run uv in the folder, with its output on the terminal; return its exit code."""
    return _foreground(folder, arguments, None)


def _foreground(folder: Path, arguments: Sequence[str], output: int | None) -> int:
    """Run uv to its end; return its exit code.

    Ctrl-C reaches the child too: it gets a few seconds to close, then it is ended.
    """
    # Not by `processes`: it may take hours (an app), and shares our terminal and process group.
    words, env = [*command(), *arguments], outer_environment(os.environ)
    with subprocess.Popen(words, cwd=folder, env=env, stdout=output) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            _wait(child)
            _end(child)
            raise
        except BaseException:
            _end(child)
            raise
    return code if code >= 0 else 128 - code


def _end(child: subprocess.Popen[bytes]) -> None:
    for stop in (child.terminate, child.kill):
        if child.poll() is None:
            stop()
            _wait(child)


def _wait(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE)
