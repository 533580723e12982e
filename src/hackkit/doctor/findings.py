"""Doctor's data types: Finding, Repair, Result, Report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hackkit.errors import Problem


class Status(StrEnum):
    """How a check ended: a warning costs quality, a failure stops the main job."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Category(StrEnum):
    """What a check looks at, in the order of the screen."""

    MACHINE = "machine"
    ACCELERATOR = "accelerator"
    NETWORK = "network"
    SERVICES = "services"
    PROJECT = "project"


@dataclass(frozen=True)
class Repair:
    """A safe, reversible repair that `--fix` offers for a finding.

    `action` completes the sentence "hackkit will …". `run` raises HackkitError or OSError.
    `online`: it uses the network, and is left out with `--offline`.
    """

    action: str
    run: Callable[[], object]
    online: bool = False


@dataclass(frozen=True)
class Finding:
    """What one check found: a fact, and a fix where one is needed.

    `details` are more lines for `--verbose`. Of several findings with the same cause, only the
    worst is shown.
    """

    status: Status
    explanation: Problem
    details: tuple[str, ...] = ()
    repair: Repair | None = None

    @property
    def message(self) -> str:
        """What was found."""
        return self.explanation.problem

    @property
    def fix(self) -> str:
        """The command to run or the page to open; empty where nothing is wrong."""
        return self.explanation.fix


def ok(message: str, details: tuple[str, ...] = ()) -> Finding:
    """Make a finding without a problem."""
    return Finding(Status.OK, Problem(message), details)


def warning(
    message: str,
    fix: str,
    repair: Repair | None = None,
    details: tuple[str, ...] = (),
    cause: str = "",
) -> Finding:
    """Make a finding about something that costs quality."""
    return Finding(Status.WARN, Problem(message, fix, cause), details, repair)


def failure(
    message: str,
    fix: str,
    repair: Repair | None = None,
    details: tuple[str, ...] = (),
    cause: str = "",
) -> Finding:
    """Make a finding about something that stops the main job."""
    return Finding(Status.FAIL, Problem(message, fix, cause), details, repair)


def skipped(message: str, fix: str = "") -> Finding:
    """Make a finding that says why the check did not look."""
    return Finding(Status.SKIP, Problem(message, fix))


_WORST_FIRST = (Status.FAIL, Status.WARN, Status.OK, Status.SKIP)


def together(findings: Sequence[Finding]) -> Finding:
    """Merge several findings into one: the worst is its message, the others are its details.

    Its repair runs all of their repairs, in the order of the findings.
    """
    first, *others = sorted(findings, key=lambda each: _WORST_FIRST.index(each.status))
    lines = [line for each in others for line in (_sentence(each), *each.details)]
    repairs = [each.repair for each in findings if each.repair]
    actions = " and ".join(each.action for each in repairs)
    repair = Repair(actions, lambda: [each.run() for each in repairs]) if repairs else None
    return replace(first, details=(*first.details, *lines), repair=repair)


def _sentence(finding: Finding) -> str:
    return f"{finding.message}: {finding.fix}" if finding.fix else finding.message


@dataclass(frozen=True)
class Result:
    """A check's finding and how long it took; `broken`: it crashed, or took too long."""

    id: str
    title: str
    category: Category
    finding: Finding
    seconds: float
    broken: bool = False


@dataclass(frozen=True)
class Report:
    """All results, in the order of the screen."""

    results: tuple[Result, ...]

    def count(self, status: Status) -> int:
        """Count the checks with this status."""
        return sum(result.finding.status is status for result in self.results)

    @property
    def problems(self) -> tuple[Result, ...]:
        """All failures, then all warnings."""
        found = [r for r in self.results if r.finding.status in {Status.FAIL, Status.WARN}]
        return tuple(sorted(found, key=lambda result: result.finding.status is not Status.FAIL))

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 0, 1 for a failure (`strict`: or a warning), 2 when a check could not look."""
        if any(result.broken for result in self.results):
            return 2
        bad = self.count(Status.FAIL) + (self.count(Status.WARN) if strict else 0)
        return 1 if bad else 0
