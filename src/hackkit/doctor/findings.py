"""What doctor says: findings, how each can be mended, and the report they make up."""

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
class Mend:
    """What `--fix` may do about a finding: safe, reversible, and said before it is done.

    `says` completes the sentence "hackkit will …". `do` raises HackkitError or OSError.
    """

    says: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Finding:
    """What one check found: a fact, and the command or page that fixes it where one is needed.

    `details` are further lines for `--verbose`. Of several findings with the same cause, only the
    worst is shown.
    """

    status: Status
    found: Problem
    details: tuple[str, ...] = ()
    mend: Mend | None = None

    @property
    def message(self) -> str:
        """The fact."""
        return self.found.problem

    @property
    def fix(self) -> str:
        """The command or page, or nothing."""
        return self.found.fix


def ok(message: str, details: tuple[str, ...] = ()) -> Finding:
    """All is well: say what was seen."""
    return Finding(Status.OK, Problem(message), details)


def warning(
    message: str,
    fix: str,
    mend: Mend | None = None,
    details: tuple[str, ...] = (),
    cause: str = "",
) -> Finding:
    """Something costs quality: say what, and what to type."""
    return Finding(Status.WARN, Problem(message, fix, cause), details, mend)


def failure(
    message: str,
    fix: str,
    mend: Mend | None = None,
    details: tuple[str, ...] = (),
    cause: str = "",
) -> Finding:
    """Something stops the main job: say what, and what to type."""
    return Finding(Status.FAIL, Problem(message, fix, cause), details, mend)


def skipped(message: str) -> Finding:
    """Nothing was looked at: say why not."""
    return Finding(Status.SKIP, Problem(message))


_WORST_FIRST = (Status.FAIL, Status.WARN, Status.OK, Status.SKIP)


def together(findings: Sequence[Finding]) -> Finding:
    """Make one finding of several: the worst stands first, the others are its details.

    Its mend does all that there are, in the order in which they were handed in.
    """
    first, *others = sorted(findings, key=lambda each: _WORST_FIRST.index(each.status))
    lines = [line for each in others for line in (_sentence(each), *each.details)]
    mends = [each.mend for each in findings if each.mend]
    mend = Mend(" and ".join(each.says for each in mends), lambda: [each.do() for each in mends])
    return replace(first, details=(*first.details, *lines), mend=mend if mends else None)


def _sentence(finding: Finding) -> str:
    return f"{finding.message}: {finding.fix}" if finding.fix else finding.message


@dataclass(frozen=True)
class Result:
    """A check's finding and how long it took; `broken` means that the check itself failed."""

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
        """Tell how many checks ended so."""
        return sum(result.finding.status is status for result in self.results)

    @property
    def problems(self) -> tuple[Result, ...]:
        """Return what is not well, failures first."""
        found = [r for r in self.results if r.finding.status in {Status.FAIL, Status.WARN}]
        return tuple(sorted(found, key=lambda result: result.finding.status is not Status.FAIL))

    def exit_code(self, *, strict: bool = False) -> int:
        """0 all is well, 1 something is not (`strict`: a warning too), 2 a check could not look."""
        if any(result.broken for result in self.results):
            return 2
        bad = self.count(Status.FAIL) + (self.count(Status.WARN) if strict else 0)
        return 1 if bad else 0
