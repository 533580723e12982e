"""Is uv installed, and new enough?

Fails without uv, as it installs a project's packages and runs its commands. Warns when it is older
than 0.6.10, the first version that can check whether an environment is in sync with `uv.lock`.
"""

import re
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, warning
from hackkit.project.context import Context
from hackkit.system import uv
from hackkit.system.command_line import line

TITLE = "uv"
CATEGORY = Category.MACHINE

# 0.6.10 brought `uv sync --check`; dependency groups, which projects use, came with 0.4.27.
_OLDEST = (0, 6, 10)


def check(context: Context) -> Finding:
    if not context.uv:
        return failure("not found", _install(context))
    ran = context.run(*context.uv, "--version")
    if ran is None or not ran.ok:
        why = "it did not answer" if ran is None or ran.timed_out else _last_line(ran.err)
        return failure(f"found, but it does not run: {why}", _install(context))
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", ran.out)
    if numbers is None:
        return ok(f"found, but its version is unknown: {_last_line(ran.out)[:60]}")
    version = ".".join(numbers.groups())
    if tuple(map(int, numbers.groups())) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        return warning(f"{version}: older than {wanted}", _upgrade(context))
    return ok(version, (f"started as: {line(context.uv)}",))


def _install(context: Context) -> str:
    # The system's Python on Linux and macOS refuses `pip install` (PEP 668), so pipx comes first.
    python = context.shell.python
    return "pipx install uv" if _has_pipx(context) else f"{python} -m pip install uv"


def _upgrade(context: Context) -> str:
    """Write the update command of the tool that installed this uv."""
    if len(context.uv) > 1:  # python -m uv: it came with pip
        return line([context.uv[0], "-m", "pip", "install", "--upgrade", "uv"])
    place = Path(context.uv[0]).resolve()
    for installer in ("brew", "pipx"):
        if installer in place.as_posix().lower():
            return f"{installer} upgrade uv"
    if any(place.parent.glob("python*")) or "shims" in place.parts:
        return f"{context.shell.python} -m pip install --upgrade uv"
    return uv.typed("self", "update")


def _has_pipx(context: Context) -> bool:
    ran = context.run("pipx", "--version")
    return ran is not None and ran.ok


def _last_line(text: str) -> str:
    return (text.splitlines() or ["no message"])[-1].strip()
