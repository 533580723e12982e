"""Expected failures: what happened, and the command that fixes it."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What happened, the command (or page) that fixes it, and the cause it shares with others.

    Problems of one cause ("no network") are shown once.
    """

    problem: str
    fix: str = ""
    cause: str = ""


class HackkitError(Exception):
    """An expected failure, raised deep and shown at the edge; it holds a `Problem`."""

    exit_code = 1

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.explanation = Problem(problem, fix)

    def __str__(self) -> str:
        return self.explanation.problem

    @property
    def problem(self) -> str:
        """What happened."""
        return self.explanation.problem

    @property
    def fix(self) -> str:
        """The command that fixes it, or nothing."""
        return self.explanation.fix


class WrongUseError(HackkitError):
    """The command cannot do what was asked; nothing was changed."""

    exit_code = 2


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, then what caused it, at any depth."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
