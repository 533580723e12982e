"""Turns what an installer prints (pip, uv) into a cause and a fix."""

import re

from hackkit.errors import Problem
from hackkit.system import uv
from hackkit.system.command_line import hackkit

_LONGEST = 600  # characters of an installer's output that a message quotes
_EDIT = "edit pyproject.toml, then: "
_UNKNOWN = "There is no {} for this version of Python."
_MEANINGS = (
    (
        r"No interpreter found for Python ([0-9.]+)|Failed to download `[^`]*/cpython-(3\.[0-9]+)",
        "Python {} is not installed, and could not be downloaded.",
    ),
    (r"No matching distribution found for ([^\s(;]+)", _UNKNOWN),
    (r"Because ([\w.-]+) was not found in the package registry", _UNKNOWN),
    (r"Because there is no version of ([\w.=-]+) and you require", _UNKNOWN),
    (
        r"Cannot install (.+?) because these package versions have conflicting dependencies",
        "These versions conflict: {}.",
    ),
    (
        r"No solution found when resolving.*?(Because .*?unsatisfiable\.)",
        "The requirements conflict: {}",
    ),
    (
        r"(?:Failed building wheel for|Failed to build) `?([\w.=-]+)",
        "{} has no wheel for this machine, and could not be built.",
    ),
    (r"dns error|client error \(Connect\)", "A package index cannot be reached."),
)


def explain(output: str) -> Problem | None:
    """Return why pip or uv failed, and the fix; None when the output does not show it."""
    output = " ".join(output.split())
    for pattern, meaning in _MEANINGS:
        if match := re.search(pattern, output):
            what = next(filter(None, match.groups()), "")
            return Problem(meaning.format(what[:_LONGEST]), fix=_fix(meaning, what))
    return None


def _fix(meaning: str, what: str) -> str:
    if meaning.startswith("Python"):
        return uv.typed("python", "install", what)
    return _EDIT + uv.typed("lock") if "{}" in meaning else hackkit("doctor")
