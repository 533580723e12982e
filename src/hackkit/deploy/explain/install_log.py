"""Turns what an installer prints (pip, uv) into a cause and a fix."""

import re

from hackkit.errors import HackkitError
from hackkit.system import uv
from hackkit.system.command_line import hackkit

_LONGEST = 600  # characters of an installer's own words
_EDIT = "edit pyproject.toml, then: "
_UNKNOWN = "There is no {} for this version of Python."
_MEANINGS = (
    (
        r"No interpreter found for Python ([0-9.]+)|Failed to download `[^`]*/cpython-(3\.[0-9]+)",
        "Python {} is not on this machine, and could not be fetched.",
    ),
    (r"No matching distribution found for ([^\s(;]+)", _UNKNOWN),
    (r"Because ([\w.-]+) was not found in the package registry", _UNKNOWN),
    (r"Because there is no version of ([\w.=-]+) and you require", _UNKNOWN),
    (
        r"Cannot install (.+?) because these package versions have conflicting dependencies",
        "These versions contradict each other: {}.",
    ),
    (
        r"No solution found when resolving.*?(Because .*?unsatisfiable\.)",
        "The requirements contradict each other: {}",
    ),
    (
        r"(?:Failed building wheel for|Failed to build) `?([\w.=-]+)",
        "{} has no ready-made package here, and cannot be built.",
    ),
    (r"dns error|client error \(Connect\)", "A package index cannot be reached."),
)


def trouble(said: str) -> HackkitError | None:
    """Return why an installer (pip or uv) failed; None when what it said does not tell."""
    said = " ".join(said.split())
    for rule, words in _MEANINGS:
        if match := re.search(rule, said):
            what = next(filter(None, match.groups()), "")
            return HackkitError(words.format(what[:_LONGEST]), fix=_mend(words, what))
    return None


def _mend(words: str, what: str) -> str:
    if words.startswith("Python"):
        return uv.typed("python", "install", what)
    return _EDIT + uv.typed("lock") if "{}" in words else hackkit("doctor")
