"""The public API: make a project and check one from Python, as the commands do."""

from hackkit.context import Context
from hackkit.doctor import diagnose
from hackkit.errors import HackkitError
from hackkit.project import Plan, Project
from hackkit.scaffold import new_project
from hackkit.version import VERSION

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
