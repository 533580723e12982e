"""Does one process at most have the index open?

Only one may write to it. Warns when something other than the running app has it: documents cannot
be added until that ends.
"""

import re
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.context import Context

TITLE = "Index lock"
CATEGORY = Category.PROJECT

_LOCKS = Path("/proc/locks")
_FIRST = 7860


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem:
        return skipped(app.problem[:100])
    if not app.index:
        return skipped("the app has no index")
    if not app.busy:
        return ok("no process has the index open")
    number = _holder(context, context.folder / app.index / "writer.lock")
    command = _command(context, number)
    process = f"process {number}" if number else "a process that cannot be named"
    listens = context.listener(app.port or _FIRST)
    if "app.py" in command or (number and f"(process {number})" in listens):
        return ok(f"the running app has it open ({process})")
    if not number and "python" in listens.lower():
        return ok(f"the running app has it open ({listens})")
    said = f"{process}: {command}" if command else process
    return warning(f"{said} has it open"[:100], _stop(context, number))


def _stop(context: Context, number: str) -> str:
    if not number:
        return "stop the app (Ctrl-C) or the ingest that runs somewhere"
    return f"taskkill /PID {number}" if context.system == "windows" else f"kill {number}"


def _holder(context: Context, lock: Path) -> str:
    """Return the number of the process that holds a lock on the file; empty when unknown."""
    try:
        inode = lock.stat().st_ino
        if context.system == "linux":
            held = rf"^\d+: FLOCK\s+\S+\s+WRITE (\d+) \S+:{inode} "
            found = re.search(held, _LOCKS.read_text("utf-8"), re.MULTILINE)
            return found[1] if found and found[1] != "0" else ""
    except OSError:
        return ""
    if context.system == "windows":
        return ""
    ran = context.run("lsof", "-t", str(lock))
    return ran.out.split()[0] if ran and ran.ok and ran.out else ""


def _command(context: Context, number: str) -> str:
    ran = context.run("ps", "-o", "args=", "-p", number) if number else None
    return ran.out if ran and ran.ok else ""
