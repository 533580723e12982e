"""The registry of doctor's checks: one file each, found by looking into this folder.

A check's file is named after its id (`mistral_key.py` is `mistral-key`) and holds:
a docstring whose first line is the question it asks and whose rest says when it warns or fails,
`TITLE`, `CATEGORY`, the function `check(context) -> Finding` with the remedy beside the test, and
where they differ from the defaults `ONLINE = True` (it uses the network; `--offline` skips it) and
`SECONDS` (its time limit).
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding
from hackkit.project.context import Context

SECONDS = 4.0  # a check's time limit, unless it says otherwise


@dataclass(frozen=True)
class Check:
    """One file of this folder."""

    id: str
    title: str
    category: Category
    description: str
    look: Callable[[Context], Finding]
    online: bool
    seconds: float


def all_checks() -> tuple[Check, ...]:
    """Return every check of this folder, in the order of the screen."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"]
    order = list(Category)
    return tuple(sorted(map(_read, names), key=lambda each: (order.index(each.category), each.id)))


def _read(name: str) -> Check:
    module = importlib.import_module(f"{__name__}.{name}")
    return Check(
        id=name.replace("_", "-"),
        title=module.TITLE,
        category=module.CATEGORY,
        description=inspect.getdoc(module) or "",
        look=module.check,
        online=getattr(module, "ONLINE", False),
        seconds=getattr(module, "SECONDS", SECONDS),
    )
