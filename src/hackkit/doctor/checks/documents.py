"""Are there documents to ask about, and can they be read?

Warns when there are none, and when some cannot be read: too large, of a kind that the app does not
read, broken, or without text.
"""

import os
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.system.command_line import line

TITLE = "Documents"
CATEGORY = Category.PROJECT

_MOST = 10_000  # more are not counted
_DETAILS = 20


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem:
        return skipped(app.problem[:100])
    if not app.docs:
        return skipped("the app has no documents")
    folder = context.folder / app.docs
    if not folder.is_dir():
        return warning(f"the folder {app.docs} is not there", f"mkdir {app.docs}")
    return _inside(folder, app)


def _inside(folder: Path, app: AppStatus) -> Finding:
    if not os.access(folder, os.R_OK | os.X_OK):
        return warning(f"{app.docs} may not be read", line(["chmod", "u+rwx", app.docs]))
    count = _count(folder)
    if not count:
        return warning(f"{app.docs} is empty", f"edit {app.docs}: put in what to ask about")
    if app.unreadable:
        name = app.unreadable[0].partition(": ")[0]
        others = f" (and {len(app.unreadable) - 1} more)" if app.unreadable[1:] else ""
        fix = f"edit {name}: replace or remove it"
        return warning(f"{app.unreadable[0]}{others}", fix, details=app.unreadable[:_DETAILS])
    some = f"more than {_MOST}" if count > _MOST else str(count)
    return ok(f"{some} in {app.docs}, none unreadable")


def _count(folder: Path) -> int:
    """Count the files as the app does: hidden ones are none."""
    found = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += sum(name[0] != "." for name in files)
        if found > _MOST:
            break
    return found
