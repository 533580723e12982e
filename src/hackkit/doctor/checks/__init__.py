"""The registry of doctor's checks: every file of this folder is one.

A check's file is named after its id (`mistral_key.py` is `mistral-key`) and holds:
- a docstring: its first line is the question that the check answers, the rest says when it warns
  or fails;
- `TITLE`, `CATEGORY`, and the function `check(context) -> Finding`, which also names the fix;
- `ONLINE = True` if it uses the network (`--offline` skips it);
- `SECONDS` if its time limit is not the usual one.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding
from hackkit.project.context import Context

SECONDS = 4.0  # the usual time limit of a check


@dataclass(frozen=True)
class Check:
    """One file of this folder."""

    id: str
    title: str
    category: Category
    description: str
    run: Callable[[Context], Finding]
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
        run=module.check,
        online=getattr(module, "ONLINE", False),
        seconds=getattr(module, "SECONDS", SECONDS),
    )
