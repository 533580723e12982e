"""Are there documents, and can they be read?

Warns when there are none, and when some cannot be read: too large, damaged, without text, or of a
type that the app does not support.
"""

import os
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.app_status import STATUS_SECONDS, AppStatus
from hackkit.project.context import Context
from hackkit.system.command_line import line
from hackkit.system.wording import first_of

TITLE = "Documents"
CATEGORY = Category.PROJECT
SECONDS = STATUS_SECONDS + 1  # so that the app has its whole time

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
        return warning(f"there is no folder {app.docs}", line(["mkdir", app.docs]))
    return _inside(folder, app, context)


def _inside(folder: Path, app: AppStatus, context: Context) -> Finding:
    if not os.access(folder, os.R_OK | os.X_OK):
        return warning(
            f"{app.docs} cannot be read: permission denied", context.shell.unlock(app.docs)
        )
    count = _count(folder)
    if not count:
        return warning(f"{app.docs} is empty", f"edit {app.docs}: add documents")
    if app.unreadable:
        fix = f"edit {app.unreadable[0].partition(': ')[0]}: replace or remove it"
        return warning(first_of(app.unreadable), fix, details=app.unreadable[:_DETAILS])
    some = f"more than {_MOST}" if count > _MOST else str(count)
    return ok(f"{some} in {app.docs}, all readable")


def _count(folder: Path) -> int:
    """Count the files as the app does: without hidden ones."""
    found = 0
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "."]
        found += sum(name[0] != "." for name in files)
        if found > _MOST:
            break
    return found
