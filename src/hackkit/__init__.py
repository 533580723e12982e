"""The public API: make a project from Python as the command does."""

from hackkit.errors import HackkitError
from hackkit.project import Plan, Project
from hackkit.scaffold import new_project
from hackkit.version import VERSION

__version__ = VERSION

__all__ = ["HackkitError", "Plan", "Project", "__version__", "new_project"]
