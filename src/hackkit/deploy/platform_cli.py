"""Runs a platform's own command-line program, or writes out the commands for the user to run."""

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.deploy.manifest import DeployRequest, Progress
from hackkit.errors import HackkitError, Problem
from hackkit.project.context import Context
from hackkit.project.leaks import scrub
from hackkit.system import processes, uv
from hackkit.system.command_line import line
from hackkit.system.processes import Ran

_LAST_LINES = 15  # that are shown
_SEARCHED_LINES = 40  # for the cause: a build's output before them is about other things


@dataclass(frozen=True)
class Tool:
    """A platform's program.

    install: for each system the command that installs it, or a page. login: the command that logs
    in. login_check: succeeds with output only for a user who is logged in. known_errors: a pattern
    of the program's output → the problem that it means.
    """

    program: str
    title: str
    install: Mapping[str, str]
    login: str
    login_check: tuple[str, ...]
    known_errors: Mapping[str, Problem] = field(default_factory=dict)

    def install_command(self, system: str) -> str:
        """Return what installs the program on this system."""
        return self.install.get(system, self.install["linux"])


@dataclass(frozen=True)
class Command:
    """One command of a deployment, for hackkit or the user to run.

    given: its standard input, the only way in which it gets a secret. typed: the line for a user,
    where that differs. unless: skips the command when this look-up succeeds; with `same`, only when
    its output is that too.
    """

    title: str
    words: tuple[str, ...]
    given: str = field(default="", repr=False)
    typed: str = ""
    unless: tuple[str, ...] = ()
    same: str = field(default="", repr=False)
    seconds: float = 120

    @property
    def line(self) -> str:
        """The command as the user types it."""
        return self.typed or line(self.words)


class Cli:
    """The program of one platform, for one deploy request."""

    def __init__(self, tool: Tool, request: DeployRequest, secrets: Iterable[str] = ()) -> None:
        """`secrets` are the names of the variables that are hidden from the program."""
        self._tool, self._request = tool, request
        env = {
            name: value
            for name, value in uv.outer_environment(request.context.env).items()
            if name not in set(secrets)
        }
        # No colours, and wide lines: an address that is broken in two cannot be found.
        self._env = {**env, "NO_COLOR": "1", "COLUMNS": "250"}

    def setup_commands(self) -> tuple[str, ...]:
        """Return the commands that the user has to run first: to install it, to log in."""
        if not self.installed:
            install = self._tool.install_command(self._request.context.system)
            return (install, self._tool.login)
        return () if self.logged_in() else (self._tool.login,)

    @property
    def installed(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self._tool.program, path=self._env.get("PATH")) is not None

    def require_login(self) -> None:
        """Raise HackkitError when the program is not installed, or the user not logged in."""
        missing = self.setup_commands()
        if len(missing) > 1:
            raise HackkitError(f"`{self._tool.program}` was not found.", fix=missing[0])
        if missing:
            ran = self.ask(*self._tool.login_check)
            output = "" if ran.ok else self.clean(_last_lines(ran.err, 1))
            problem = f"You are not logged in to {self._tool.title}, or it cannot be reached."
            raise HackkitError(f"{problem}\n{output}".rstrip(), fix=missing[0])

    def logged_in(self) -> bool:
        """Return whether the user is logged in."""
        ran = self.ask(*self._tool.login_check)
        return ran.ok and ran.out not in {"", "(unset)"}

    def manual_commands(self, commands: Sequence[Command]) -> tuple[str, ...]:
        """Return what the user has to run when hackkit does not: set-up first."""
        return (*self.setup_commands(), *(command.line for command in commands))

    def ask(self, *words: str, seconds: float = 60) -> Ran:
        """Look something up; the caller checks the exit code."""
        return self._run(Command("Looking", (self._tool.program, *words), seconds=seconds))

    def is_needed(self, command: Command) -> bool:
        """Return whether a command still has to be run."""
        if not command.unless:
            return True
        ran = self.ask(*command.unless[1:])
        return not (ran.ok and (not command.same or ran.out == command.same.strip()))

    def run(self, command: Command, folder: Path) -> str:
        """Run a command and return its output; raise HackkitError when it fails."""
        ran = self._run(command, folder)
        output = f"{ran.out}\n{ran.err}".strip()
        if not ran.ok:
            raise self._failure(command, ran, output)
        return output

    def clean(self, text: str, given: str = "") -> str:
        """Return a program's output without secrets, also without the one that it was given."""
        return scrub(text, {*self._request.context.secrets, *filter(None, [given.strip()])})

    def _run(self, command: Command, folder: Path | None = None) -> Ran:
        return processes.run_once(
            command.words,
            folder=folder or self._request.project.folder,
            env=self._env,
            seconds=command.seconds,
            given=command.given,
        )

    def _failure(self, command: Command, ran: Ran, output: str) -> HackkitError:
        tail = self.clean(_last_lines(output, _LAST_LINES), command.given)
        searched = _last_lines(output, _SEARCHED_LINES)
        for pattern, known in self._tool.known_errors.items():
            if re.search(pattern, searched):
                return HackkitError(f"{known.problem}\n{tail}", fix=known.fix)
        ended = (
            f"took longer than {command.seconds:g} s"
            if ran.timed_out
            else f"failed with exit code {ran.code}"
        )
        action = command.title[0].lower() + command.title[1:]
        return HackkitError(
            f"{self._tool.title}: {action} {ended}.\n{tail}".rstrip(), fix=command.line
        )


def run_all(
    cli: Cli, commands: Sequence[Command], folder: Path, progress: Progress
) -> tuple[str, ...]:
    """Run the commands in order, except those not needed; return the output of each."""
    outputs = []
    for command in commands:
        progress(command.title)
        if cli.is_needed(command):
            outputs.append(cli.run(command, folder))
    return tuple(outputs)


def _last_lines(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[-count:])


def piped(context: Context, name: str, command: Sequence[str], *, whole: bool) -> str:
    """Write a command that reads a variable from the environment or `.env` by a pipe.

    `whole`: it reads NAME=value; else the value alone.
    """
    shell, typed = context.shell, context.shell.line(command)
    if context.origin(name) == "the environment":
        return shell.pipe_variable(name, typed, whole=whole)
    return shell.pipe_env_file(name, typed, whole=whole)
