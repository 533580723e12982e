"""A deployment that was asked for: which project, and what the user said about it."""

from dataclasses import dataclass

from hackkit.context import Context
from hackkit.project import ProjectFiles


@dataclass(frozen=True)
class Options:
    """What a user may say about a deployment; every target takes some of it.

    space: "owner/name" on Hugging Face. name: the service's name elsewhere. hardware, region: as
    the platform calls them. public: let everybody see it. yes: ask nothing.
    """

    space: str = ""
    name: str = ""
    hardware: str = ""
    region: str = ""
    public: bool = False
    yes: bool = False


@dataclass(frozen=True)
class Order:
    """A deployment that was asked for: the project, the facts around it, the user's options."""

    project: ProjectFiles
    context: Context
    options: Options
