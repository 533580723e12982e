"""Is there enough memory?

Fails when this machine or container has less memory than the app needs. Warns when less than half
of that is available, as other programs use the rest.
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
        message = f"{has} in total: the app needs {needed / _GB:.1f} GB"
        return failure(message, f"use a machine or a container with {2 * needed / _GB:.0f} GB")
    if seen.available < needed / 2:
        message = f"{free} of {has} available: the app may become slow, or be killed"
        fix = _LARGEST.get(context.system, _LARGEST["linux"])
        return warning(
            message, fix, details=("the command lists the programs that use the most memory",)
        )
    return ok(f"{free} of {has} available", (f"needed: {needed / _GB:.1f} GB",))
