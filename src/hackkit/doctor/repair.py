"""Repairs what can safely be repaired, and diagnoses again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hackkit.doctor.checks import Check
from hackkit.doctor.diagnose import Choice, diagnose
from hackkit.doctor.findings import (
    Mend,
    Report,
    Result,
    Status,
)
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.leaks import scrub

_ROUNDS = 3  # a mended environment lets checks look that could not before
Agree = Callable[[str], bool]


@dataclass(frozen=True)
class Repair:
    """What a mend came to: what was said, the finding before and after it, and its error if any."""

    says: str
    before: Result
    after: Result
    error: str = ""


def repair(
    report: Report,
    fresh: Callable[[], Context],
    agree: Agree,
    checks: Sequence[Check] | None = None,
) -> tuple[Report, tuple[Repair, ...]]:
    """Do what can safely be done about the findings; return the new report and what changed.

    Each mend is said first, by `agree`, which answers whether to do it. Afterwards all checks that
    were not well, or could not look, run again on `fresh` facts: what they find is mended too.
    """
    secrets = fresh().secrets
    repairs: list[Repair] = []
    asked: set[tuple[str, str]] = set()
    for _ in range(_ROUNDS):
        done: list[tuple[Result, Mend, str]] = []
        for result in report.results:
            mend = result.finding.mend
            if mend is None or (result.id, mend.says) in asked:
                continue
            asked.add((result.id, mend.says))
            if agree(scrub(mend.says, secrets)):
                done.append((result, mend, scrub(_attempt(mend), secrets)))
        if not done:
            break
        again = {r.id for r in report.results if r.finding.status is not Status.OK}
        report = _updated(report, diagnose(fresh(), Choice(only=again), checks=checks))
        now = {result.id: result for result in report.results}
        repairs += [Repair(mend.says, was, now[was.id], error) for was, mend, error in done]
    return report, tuple(repairs)


def _attempt(mend: Mend) -> str:
    try:
        mend.do()
    except (HackkitError, OSError) as error:
        return str(error)
    return ""


def _updated(report: Report, newer: Report) -> Report:
    found = {result.id: result for result in newer.results}
    return Report(tuple(found.get(result.id, result) for result in report.results))
