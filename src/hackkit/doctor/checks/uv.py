"""Is uv there, and new enough?

uv installs a project's packages and runs its commands: fails without it. Warns when it is older
than 0.6.10, which is the first that can tell whether an environment is in step with its lock.
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
        said = "it did not answer" if ran is None or ran.timed_out else _last_line(ran.err)
        return failure(f"found, but it does not run: {said}", _install(context))
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", ran.out)
    if numbers is None:
        return ok(f"there, of an unknown version: {_last_line(ran.out)[:60]}")
    version = ".".join(numbers.groups())
    if tuple(map(int, numbers.groups())) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        return warning(f"{version}: older than {wanted}", _upgrade(context))
    return ok(version, (f"started as: {line(context.uv)}",))


def _install(context: Context) -> str:
    # A system's own Python on Linux and macOS refuses `pip install` (PEP 668); pipx is for that.
    return "pipx install uv" if _has_pipx(context) else f"{_python(context)} -m pip install uv"


def _upgrade(context: Context) -> str:
    """Write the command of whatever installed this uv: only its own installer's updates itself."""
    if len(context.uv) > 1:  # python -m uv: it came with pip
        return line([context.uv[0], "-m", "pip", "install", "--upgrade", "uv"])
    place = Path(context.uv[0]).resolve()
    for installer in ("brew", "pipx"):
        if installer in place.as_posix().lower():
            return f"{installer} upgrade uv"
    if any(place.parent.glob("python*")) or "shims" in place.parts:
        return f"{_python(context)} -m pip install --upgrade uv"
    return uv.typed("self", "update")


def _python(context: Context) -> str:
    return "python" if context.system == "windows" else "python3"


def _has_pipx(context: Context) -> bool:
    ran = context.run("pipx", "--version")
    return ran is not None and ran.ok


def _last_line(text: str) -> str:
    return (text.splitlines() or ["it said nothing"])[-1].strip()
