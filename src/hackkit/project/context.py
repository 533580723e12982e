"""The facts about a machine and a project that doctor and deploy work with."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hackkit.errors import HackkitError
from hackkit.project.app_status import AppStatus, ask_app
from hackkit.project.catalog import Catalog, Needs
from hackkit.project.files import ProjectFiles
from hackkit.project.leaks import secrets_among
from hackkit.system import hardware, processes, uv
from hackkit.system.command_line import Shell, Start
from hackkit.system.hardware import Memory
from hackkit.system.processes import Ran, Run, Stream

_T = TypeVar("_T")


def _not_installed(*_words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:  # noqa: ARG001
    return None


def _no_output(
    *_words: str,
    folder: Path | None = None,  # noqa: ARG001 - the signature of a real one
    seconds: float = 3,  # noqa: ARG001 - the signature of a real one
    most: int = 0,  # noqa: ARG001 - the signature of a real one
) -> Iterator[bytes]:
    raise FileNotFoundError


@dataclass(frozen=True)
class Context:
    """All facts that a check may use. The defaults are an empty machine without a network.

    env: the environment variables. project: the project that `folder` is in, if any.
    system: "linux", "darwin" or "windows". uv: the words that start uv, empty without uv.
    start: how hackkit was started.
    run: runs a command; stream: runs one with very much output.
    app: the output of the project's own `status` (slow: runs a process, once).
    """

    folder: Path = field(default_factory=Path)
    env: Mapping[str, str] = field(default_factory=dict)
    project: ProjectFiles | None = None
    offline: bool = True
    system: str = "linux"
    uv: tuple[str, ...] = ()
    start: Start = field(default_factory=Start)
    needs: Needs = field(default_factory=Needs)
    run: Run = _not_installed
    stream: Stream = _no_output
    app: Callable[[], AppStatus] = AppStatus
    memory: Callable[[], Memory] = hardware.memory
    disk_free: Callable[[Path], int] = hardware.disk_free
    listener: Callable[[int], str] = hardware.listener
    now: Callable[[], float] = time.time

    @classmethod
    def here(cls, folder: Path, *, offline: bool = False) -> "Context":
        """Collect the facts of this machine, and of the project that the folder is in."""
        env = processes.inherited_environment()
        variables = uv.outer_environment(env)
        run = processes.runner(variables)
        project = ProjectFiles.find(folder)
        return cls(
            folder=project.folder if project else folder.resolve(),
            env=env,
            project=project,
            offline=offline,
            system={"win32": "windows"}.get(sys.platform, sys.platform),
            uv=_uv(),
            start=Start.here(),
            needs=_needs(project),
            run=run,
            stream=processes.streamer(variables),
            app=_once(lambda: ask_app(project, run) if project else AppStatus()),
        )

    def value(self, name: str) -> str:
        """Return a variable's value for the app: the environment wins over `.env`."""
        return self.env.get(name) or self._dotenv.get(name, "")

    def origin(self, name: str) -> str:
        """Return where that value comes from: "the environment", ".env", or nothing."""
        if self.env.get(name):
            return "the environment"
        return ".env" if name in self._dotenv else ""

    @property
    def shell(self) -> Shell:
        """The user's shell, which writes printed commands."""
        return Shell(windows=self.system == "windows")

    @property
    def secrets(self) -> frozenset[str]:
        """The values that no output may show."""
        return secrets_among(self.env) | secrets_among(self._dotenv)

    @property
    def _dotenv(self) -> Mapping[str, str]:
        return self.project.dotenv if self.project else {}


def _uv() -> tuple[str, ...]:
    try:
        return tuple(uv.command())
    except HackkitError:
        return ()


def _needs(project: ProjectFiles | None) -> Needs:
    """Return the needs of the project's template; without a project, the largest of all."""
    templates = Catalog.here().templates
    mine = [each.needs for each in templates if project and each.name == project.template]
    among = mine or [each.needs for each in templates] or [Needs()]
    return Needs(
        disk_mb=max(needs.disk_mb for needs in among),
        memory_mb=max(needs.memory_mb for needs in among),
        gpu=any(needs.gpu for needs in mine),
    )


def _once(function: Callable[[], _T]) -> Callable[[], _T]:
    """Make a function that runs once, even when several threads call it at the same time."""
    lock, found = threading.Lock(), list[_T]()

    def ask() -> _T:
        with lock:
            if not found:
                found.append(function())
        return found[0]

    return ask
