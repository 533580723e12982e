"""The public API: make a project and check one from Python, as the commands do."""

from typing import TYPE_CHECKING, Any

from hackkit.errors import HackkitError
from hackkit.new.plan import Plan, Project
from hackkit.new.scaffold import new_project
from hackkit.version import VERSION

if TYPE_CHECKING:
    from hackkit.doctor.diagnose import diagnose
    from hackkit.project.context import Context

__version__ = VERSION

__all__ = [
    "Context",
    "HackkitError",
    "Plan",
    "Project",
    "__version__",
    "diagnose",
    "new_project",
]


if not TYPE_CHECKING:  # a type checker shall know the names above, and no others

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the public API holds
        """Load doctor when it is asked for: the other commands start without it."""
        if name == "Context":
            from hackkit.project.context import Context  # noqa: PLC0415 - that is the point

            return Context
        if name == "diagnose":
            from hackkit.doctor.diagnose import diagnose  # noqa: PLC0415 - that is the point

            return diagnose
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
