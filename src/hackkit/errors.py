"""The failures that a user can mend: each says what happened and what to type."""


class HackkitError(Exception):
    """An expected failure: `problem` says what happened, `fix` is the command that mends it."""

    exit_code = 1

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


class WrongUseError(HackkitError):
    """The command cannot do what was asked; nothing was touched."""

    exit_code = 2
