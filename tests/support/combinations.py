"""Which of all combinations of values are worth making: few, and yet each pair meets in one."""

import itertools
from collections.abc import Collection, Mapping, Sequence


def covering(
    values: Mapping[str, Sequence[str]], plain: Collection[str] = ()
) -> list[dict[str, str]]:
    """Return combinations in which any two values of two keys meet; the first values in front.

    A key that is `plain` bears on no other: each of its values occurs, with whichever others.
    """
    candidates = [
        dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())
    ]
    wanted = set().union(*(_parts(each, plain) for each in candidates))
    chosen = []
    while wanted:
        best = max(candidates, key=lambda each: len(_parts(each, plain) & wanted))
        chosen.append(best)
        wanted -= _parts(best, plain)
    return chosen


def _parts(combination: Mapping[str, str], plain: Collection[str]) -> set[tuple[object, ...]]:
    """Return what a combination is good for: its pairs of values, and each plain value alone."""
    bearing = [item for item in combination.items() if item[0] not in plain]
    pairs = itertools.combinations(bearing, min(2, len(bearing)))  # one without another is alone
    return {*pairs, *(item for item in combination.items() if item[0] in plain)}
