"""The registry of deploy's targets: each file or folder in here is one target.

The file's name is the target's (`fly.py` is `hackkit deploy fly`). It has a docstring, whose first
line `hackkit deploy --list` shows; `TITLE` ("Fly.io"); `OPTIONS` (names of fields of
`manifest.Options`); and these functions. The last three are optional, for platforms without them:

    plan(request) -> Manifest               offline: reads the project, changes nothing
    rehearse(request, manifest, progress) -> RehearsalResult    runs it on this machine
    deploy(request, manifest, progress) -> Deployment           creates or updates it
    status(request) -> DeploymentStatus
    logs(request) -> str                    the last lines
    down(request) -> str                    removes it; returns what was removed

They raise HackkitError with the fix. `rehearse` and `deploy` are called only with a manifest that
has no problems.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    Progress,
    RehearsalResult,
)
from hackkit.errors import WrongUseError
from hackkit.system.command_line import hackkit


@dataclass(frozen=True)
class Target:
    """One target, as its file describes it."""

    name: str
    title: str
    summary: str
    options: tuple[str, ...]
    plan: Callable[[DeployRequest], Manifest]
    rehearse: Callable[[DeployRequest, Manifest, Progress], RehearsalResult]
    deploy: Callable[[DeployRequest, Manifest, Progress], Deployment]
    status: Callable[[DeployRequest], DeploymentStatus] | None
    logs: Callable[[DeployRequest], str] | None
    down: Callable[[DeployRequest], str] | None


def all_targets() -> tuple[Target, ...]:
    """Return every target of this folder, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    return tuple(map(_read, sorted(names)))


def find_target(name: str) -> Target:
    """Return the target of that name; raise WrongUseError with all names when there is none."""
    known = {each.name: each for each in all_targets()}
    if name not in known:
        problem = f'There is no target "{name}".' if name else "Deploy needs a target."
        raise WrongUseError(
            f"{problem} Targets: {', '.join(known)}.", fix=hackkit("deploy", "--list")
        )
    return known[name]


def _read(name: str) -> Target:
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(
        name=name,
        title=module.TITLE,
        summary=(inspect.getdoc(module) or "").partition("\n")[0],
        options=module.OPTIONS,
        plan=module.plan,
        rehearse=module.rehearse,
        deploy=module.deploy,
        status=getattr(module, "status", None),
        logs=getattr(module, "logs", None),
        down=getattr(module, "down", None),
    )
