"""The registry of deploy's targets: one file each, found by looking into this folder.

A target's file is named after its name (`spaces.py` is `hackkit deploy spaces`) and holds a
docstring whose first line is shown by `hackkit deploy --list`, `TITLE` ("Hugging Face Spaces"),
`OPTIONS` (the names of those fields of `orders.Options` that it takes), and these functions. The
last three may be left out where the platform does not allow them:

    plan(order) -> Manifest                       offline: reads the project, touches nothing
    rehearse(order, manifest, watch) -> Rehearsed here, what the platform will do there
    ship(order, manifest, watch) -> Live          makes or updates it, and waits until it runs
    status(order) -> Condition
    logs(order) -> str
    down(order) -> str                            takes it away; returns what was taken away

They raise HackkitError with the fix; a manifest's objections are dealt with before `rehearse` and
`ship` are called.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hackkit.deploy.manifest import Condition, Live, Manifest, Order, Rehearsed, Watch
from hackkit.errors import WrongUseError
from hackkit.system.command_line import hackkit


@dataclass(frozen=True)
class Target:
    """One file of this folder."""

    name: str
    title: str
    summary: str
    options: tuple[str, ...]
    plan: Callable[[Order], Manifest]
    rehearse: Callable[[Order, Manifest, Watch], Rehearsed]
    ship: Callable[[Order, Manifest, Watch], Live]
    status: Callable[[Order], Condition] | None
    logs: Callable[[Order], str] | None
    down: Callable[[Order], str] | None


def all_targets() -> tuple[Target, ...]:
    """Return every target of this folder, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    return tuple(map(_read, sorted(names)))


def find_target(name: str) -> Target:
    """Return the target of that name, or say which there are."""
    known = {each.name: each for each in all_targets()}
    if name not in known:
        what = f'There is no target "{name}".' if name else "Deploy needs a target."
        raise WrongUseError(f"{what} Targets: {', '.join(known)}.", fix=hackkit("deploy", "--list"))
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
        ship=module.ship,
        status=getattr(module, "status", None),
        logs=getattr(module, "logs", None),
        down=getattr(module, "down", None),
    )
