"""Facts for a check: the commands of a fake machine and their output."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.system.processes import Ran

MISSING = None
HANGS = Ran(-1, timed_out=True)


@dataclass(frozen=True)
class Commands:
    """Runs nothing: answers by the longest known start of a command; others are not installed.

    `asked` holds what it was asked, one line per command.
    """

    answers: Mapping[str, Ran | None]
    asked: list[str] = field(default_factory=list)

    def __call__(self, *words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:  # noqa: ARG002 - the signature of a real one
        command = " ".join(words)
        self.asked.append(command)
        known = [each for each in self.answers if f"{command} ".startswith(f"{each} ")]
        return self.answers[max(known, key=len)] if known else MISSING


def commands(answers: Mapping[str, Ran | str | None]) -> Commands:
    """Make a machine with these commands: {"git --version": "git version 2.39"}.

    A text is what a command prints that ends well; None is a command that is not there.
    """
    return Commands(
        {
            words: Ran(0, answer) if isinstance(answer, str) else answer
            for words, answer in answers.items()
        }
    )
