"""Is there enough memory?

Fails when the machine, or the container that this runs in, has less than the app needs. Warns when
other programs leave less than half of that.
"""

from hackkit.doctor.findings import Category, Finding, failure, ok, warning
from hackkit.project.context import Context

TITLE = "Memory"
CATEGORY = Category.MACHINE

_GB, _MB = 10**9, 10**6
_LARGEST = {"linux": "top -o %MEM", "darwin": "top -o mem", "windows": "taskmgr"}


def check(context: Context) -> Finding:
    seen, needed = context.memory(), context.needs.memory_mb * _MB
    has, free = f"{seen.total / _GB:.1f} GB", f"{seen.available / _GB:.1f} GB"
    if seen.total < needed:
        message = f"{has} in all: the app needs {needed / _GB:.1f} GB"
        return failure(message, f"use a machine or a container with {2 * needed / _GB:.0f} GB")
    if seen.available < needed / 2:
        message = f"{free} of {has} available: the app may be slowed down or ended"
        fix = _LARGEST.get(context.system, _LARGEST["linux"])
        return warning(message, fix, details=("the command lists the programs to close",))
    return ok(f"{free} of {has} available", (f"needed: {needed / _GB:.1f} GB",))
