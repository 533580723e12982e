"""Is there enough free space on the project's drive?

Fails when there is less than a project needs for its packages, uv's cache and its index; the fix
then lists what takes the most space. Warns below twice that. Once the packages are installed, a
fifth is enough.
"""

from hackkit.doctor.findings import Category, Finding, failure, ok, warning
from hackkit.project.context import Context
from hackkit.system import uv

TITLE = "Disk"
CATEGORY = Category.MACHINE

_MB = 10**6
_LARGEST = {
    "linux": "du -xh ~ | sort -h | tail -n 20",
    "darwin": "du -xh ~ | sort -h | tail -n 20",
    "windows": "start ms-settings:storagesense",
}
_INSTALLED = 0.2  # what is still needed then: the index, run records, a few more packages


def check(context: Context) -> Finding:
    free = context.disk_free(context.folder)
    installed = context.project is not None and context.project.installed
    needed = int(context.needs.disk_mb * _MB * (_INSTALLED if installed else 1))
    what = "an installed project" if installed else "a new project"
    message = f"{_size(free)} free"
    if free < needed:
        largest = _LARGEST.get(context.system, _LARGEST["linux"])
        return failure(f"{message}: {what} needs {_size(needed)}", largest)
    # Not `cache clean`: packages in use would have to be downloaded again.
    if free < 2 * needed:
        return warning(f"{message}: {what} needs {_size(needed)}", uv.typed("cache", "prune"))
    return ok(message, (f"{what} needs {_size(needed)}",))


def _size(count: int) -> str:
    return f"{count / 10**9:,.1f} GB" if count >= 10**9 else f"{count / _MB:,.0f} MB"
