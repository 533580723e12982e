"""Which of all combinations of values are worth making: few, and yet each pair meets in one."""

import itertools
from collections.abc import Mapping, Sequence

from hackkit.project.catalog import Catalog, Slot

# One letter and forty letters: short and long names change how lines wrap.
NAMES = ("x", "forty-letters-make-quite-a-long-app-name")


def is_plain(slot: Slot) -> bool:
    """Return whether a slot has no code, as a licence: it cannot break other slots."""
    folder = Catalog.here().templates_folder / "_slots" / slot.name
    return not slot.files and not any(folder.glob("*.py"))


def values_of(slot: Slot) -> list[str]:
    """Return the slot's values, the default in front."""
    return sorted(slot.values, key=lambda name: (name != slot.default, name))


def covering(values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return combinations in which any two values of two keys meet; the first values in front."""
    candidates = [
        dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())
    ]
    wanted = set().union(*(_parts(each) for each in candidates))
    chosen = []
    while wanted:
        best = max(candidates, key=lambda each: len(_parts(each) & wanted))
        chosen.append(best)
        wanted -= _parts(best)
    return chosen


def _parts(combination: Mapping[str, str]) -> set[tuple[object, ...]]:
    """Return the pairs of values in a combination; of a single value, that value."""
    return set(itertools.combinations(combination.items(), min(2, len(combination))))
