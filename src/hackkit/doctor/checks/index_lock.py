"""Is the index locked by another process?

Only one process may write to it. Warns when one other than the running app has it open: documents
cannot be added until that process ends.
"""

import re
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.app_status import STATUS_SECONDS
from hackkit.project.context import Context
from hackkit.project.layout import PORT

TITLE = "Index lock"
CATEGORY = Category.PROJECT
SECONDS = STATUS_SECONDS + 1  # so that the app has its whole time

_LOCKS = Path("/proc/locks")


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
    process = f"process {number}" if number else "an unknown process"
    listens = context.listener(app.port or PORT)
    if "app.py" in command or (number and f"(process {number})" in listens):
        return ok(f"the running app has it open ({process})")
    if not number and "python" in listens.lower():
        return ok(f"the running app has it open ({listens})")
    name = f"{process}: {command}" if command else process
    return warning(f"{name} has it open"[:100], _stop(context, number))


def _stop(context: Context, number: str) -> str:
    if not number:
        return "stop the app (Ctrl-C), or the ingest that is running"
    return context.shell.end_process(number)


def _holder(context: Context, lock: Path) -> str:
    """Return the number of the process that has locked the file; empty when unknown."""
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
