"""A platform's own command-line program: looked for, run, or written out for the user to type."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from hackkit.deploy.manifest import Order, Watch
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.leaks import scrub
from hackkit.system import uv
from hackkit.system.command_line import line
from hackkit.system.processes import Ran

_LAST_LINES = 15  # that are shown
_TELLING_LINES = 40  # that tell the cause: a build says much more, about anything
_NOT_RUNNABLE = 126
_QUOTES = r"\042\047"  # double and single ones, as `tr` knows them anywhere


@dataclass(frozen=True)
class Trouble:
    """What a program says (a pattern) when something known went wrong, and what that means."""

    seen: str
    words: str
    fix: str


@dataclass(frozen=True)
class Tool:
    """A platform's program.

    install: for each system the command that installs it, or a page. login: what logs one in.
    who: succeeds and prints something only for somebody who is logged in.
    """

    program: str
    title: str
    install: Mapping[str, str]
    login: str
    who: tuple[str, ...]
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True)
class Command:
    """One command of a deployment, to be run here or to be typed.

    given: what it reads from its standard input, the only way that a secret takes. typed: how a
    person types it, where that differs. unless: a look that makes it needless when it succeeds;
    with `same` it must print that, too.
    """

    says: str
    words: tuple[str, ...]
    given: str = field(default="", repr=False)
    typed: str = ""
    unless: tuple[str, ...] = ()
    same: str = field(default="", repr=False)
    seconds: float = 120

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return self.typed or line(self.words)


class Cli:
    """The program of one platform, for one order."""

    def __init__(self, tool: Tool, order: Order, secrets: Iterable[str] = ()) -> None:
        """`secrets` are the names of variables that the program has no business to see."""
        self._tool, self._order = tool, order
        env = {
            name: value
            for name, value in uv.environment(order.context.env).items()
            if name not in set(secrets)
        }
        # Plain words in wide lines: an address that is broken in two cannot be found.
        self._env = {**env, "NO_COLOR": "1", "COLUMNS": "250"}

    def first(self) -> tuple[str, ...]:
        """Return what the user types before anything else: to install it, to log in."""
        if not self.there:
            return (self._install, self._tool.login)
        return () if self.knows_us() else (self._tool.login,)

    @property
    def there(self) -> bool:
        """Whether the program is installed."""
        return shutil.which(self._tool.program, path=self._env.get("PATH")) is not None

    def ready(self) -> None:
        """Raise HackkitError when the program is not there, or nobody is logged in."""
        missing = self.first()
        if len(missing) > 1:
            raise HackkitError(f"`{self._tool.program}` was not found.", fix=missing[0])
        if missing:
            ran = self.ask(*self._tool.who)
            said = "" if ran.ok else self.clean(_last_lines(ran.err, 1))
            words = f"Nobody is logged in to {self._tool.title}, or it cannot be reached."
            raise HackkitError(f"{words}\n{said}".rstrip(), fix=missing[0])

    def knows_us(self) -> bool:
        """Tell whether somebody is logged in."""
        ran = self.ask(*self._tool.who)
        return ran.ok and ran.out not in {"", "(unset)"}

    @property
    def _install(self) -> str:
        return self._tool.install.get(self._order.context.system, self._tool.install["linux"])

    def to_type(self, commands: Sequence[Command]) -> tuple[str, ...]:
        """Return what is left to type when we do not run the commands: installing comes first."""
        return (*self.first(), *(command.line for command in commands))

    def ask(self, *words: str, seconds: float = 60) -> Ran:
        """Look something up; the caller judges the answer."""
        looking = Command("Looking", (self._tool.program, *words), seconds=seconds)
        return _run(looking, self._order.project.folder, self._env)

    def wants(self, command: Command) -> bool:
        """Tell whether a command has yet to be run."""
        if not command.unless:
            return True
        ran = self.ask(*command.unless[1:])
        return not (ran.ok and (not command.same or ran.out == command.same.strip()))

    def do(self, command: Command, folder: Path) -> str:
        """Run a command and return what it said; raise HackkitError in words when it fails."""
        ran = _run(command, folder, self._env)
        said = f"{ran.out}\n{ran.err}".strip()
        if not ran.ok:
            raise self._failure(command, ran, said)
        return said

    def clean(self, text: str, given: str = "") -> str:
        """Return what a program said without secrets, least of all the one it was just given."""
        return scrub(text, {*self._order.context.secrets, *filter(None, [given.strip()])})

    def _failure(self, command: Command, ran: Ran, said: str) -> HackkitError:
        tail = self.clean(_last_lines(said, _LAST_LINES), command.given)
        end = _last_lines(said, _TELLING_LINES)
        for trouble in self._tool.troubles:
            if re.search(trouble.seen, end):
                return HackkitError(f"{trouble.words}\n{tail}", fix=trouble.fix)
        ended = (
            f"did not end within {command.seconds:g} s"
            if ran.timed_out
            else f"failed with exit code {ran.code}"
        )
        doing = command.says[0].lower() + command.says[1:]
        return HackkitError(
            f"{self._tool.title}: {doing} {ended}.\n{tail}".rstrip(), fix=command.line
        )


def run_all(cli: Cli, commands: Sequence[Command], folder: Path, watch: Watch) -> tuple[str, ...]:
    """Run the commands in their order, without those that are needless; return what each said."""
    said = []
    for command in commands:
        watch(command.says)
        if cli.wants(command):
            said.append(cli.do(command, folder))
    return tuple(said)


def _run(command: Command, folder: Path, env: Mapping[str, str]) -> Ran:
    """Run a command that reads what it is given; its output goes to files, not to pipes.

    Unlike a pipe, a file does not keep us waiting for a grandchild that holds it open.
    """
    program, *words = command.words
    path = shutil.which(program, path=env.get("PATH"))
    if path is None:
        return Ran(_NOT_RUNNABLE, err=f"{program} was not found")
    words = [path, *words]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                words, cwd=folder, env=dict(env), stdin=subprocess.PIPE, stdout=out, stderr=err
            )
        except OSError as error:
            return Ran(_NOT_RUNNABLE, err=str(error))
        with child:
            late = _feed(child, command.given, command.seconds)
        return Ran(child.returncode, _text(out), _text(err), timed_out=late)


def _feed(child: subprocess.Popen[bytes], given: str, seconds: float) -> bool:
    """Write to a program and wait for its end; tell whether that took too long."""
    try:
        child.communicate(given.encode(), seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        return True
    except BaseException:
        child.kill()
        raise
    return False


def _last_lines(text: str, count: int) -> str:
    return "\n".join(text.splitlines()[-count:])


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace").strip()


def piped(context: Context, name: str, command: Sequence[str], *, whole: bool) -> str:
    """Write a command that reads a variable from where the user has it, not from its own words.

    `whole`: it reads NAME=value; else the value alone.
    """
    from_env, words = context.origin(name) == "the environment", line(command)
    if context.system == "windows":  # PowerShell
        found = f"Select-String '^{name}=(.*)' .env"
        value = (
            f"$env:{name}"
            if from_env
            else f"({found}).Matches.Groups[1].Value.Trim([char]34, [char]39)"
        )
        return f'"{name}=$({value})" | {words}' if whole else f"{value} | {words}"
    if from_env:
        form = f"{name}=%s\\n" if whole else "%s"
        return f"printf '{form}' \"${name}\" | {words}"
    said = (
        f"grep '^{name}=' .env" if whole else f"sed -n 's/^{name}=//p' .env | tr -d '{_QUOTES}\\n'"
    )
    return f"{said} | {words}"
