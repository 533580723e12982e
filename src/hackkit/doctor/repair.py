"""Runs the repairs that findings offer, then diagnoses again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hackkit.doctor.checks import Check
from hackkit.doctor.diagnose import Choice, diagnose
from hackkit.doctor.findings import Repair, Report, Result, Status
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.leaks import scrub

_ROUNDS = 3  # an environment that was repaired lets more checks look
_NOT_OFFLINE = "it needs the network, and --offline leaves that out"
Confirm = Callable[[str], bool]


@dataclass(frozen=True)
class Repaired:
    """A repair that was run: its finding before and after, and its error if it failed."""

    action: str
    before: Result
    after: Result
    error: str = ""


def repair(
    report: Report,
    fresh: Callable[[], Context],
    confirm: Confirm,
    checks: Sequence[Check] | None = None,
) -> tuple[Report, tuple[Repaired, ...]]:
    """Run the repairs that `confirm` allows; return the new report and what was repaired.

    With `--offline`, a repair that uses the network is not run, and has an error that says so.
    Afterwards all checks that were not ok run again, on `fresh` facts. What they find is repaired
    too.
    """
    facts = fresh()
    secrets = facts.secrets
    repaired: list[Repaired] = []
    asked: set[tuple[str, str]] = set()
    for _ in range(_ROUNDS):
        done: list[tuple[Result, Repair, str]] = []
        for result in report.results:
            offer = result.finding.repair
            if offer is None or (result.id, offer.action) in asked:
                continue
            asked.add((result.id, offer.action))
            if offer.online and facts.offline:
                done.append((result, offer, _NOT_OFFLINE))
            elif confirm(scrub(offer.action, secrets)):
                done.append((result, offer, scrub(_error_of(offer), secrets)))
        if not done:
            break
        again = {r.id for r in report.results if r.finding.status is not Status.OK}
        report = _updated(report, diagnose(fresh(), Choice(only=again), checks=checks))
        now = {result.id: result for result in report.results}
        repaired += [Repaired(offer.action, was, now[was.id], error) for was, offer, error in done]
    return report, tuple(repaired)


def _error_of(offer: Repair) -> str:
    """Run a repair; return its error, or nothing."""
    try:
        offer.run()
    except (HackkitError, OSError) as error:
        return str(error)
    return ""


def _updated(report: Report, newer: Report) -> Report:
    found = {result.id: result for result in newer.results}
    return Report(tuple(found.get(result.id, result) for result in report.results))
