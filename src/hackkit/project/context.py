"""The facts that doctor's checks are handed."""

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
from hackkit.system.command_line import Shell
from hackkit.system.hardware import Memory
from hackkit.system.processes import Ran, Run, Stream

_T = TypeVar("_T")


def _nothing(*_words: str, folder: Path | None = None, seconds: float = 3) -> Ran | None:  # noqa: ARG001
    return None


def _silence(
    *_words: str,
    folder: Path | None = None,  # noqa: ARG001 - as a real one
    seconds: float = 3,  # noqa: ARG001 - as a real one
    most: int = 0,  # noqa: ARG001 - as a real one
) -> Iterator[bytes]:
    raise FileNotFoundError


@dataclass(frozen=True)
class Context:
    """What a check may look at. The defaults are an empty machine without a network.

    env: the environment's variables. project: the project that `folder` belongs to, if any.
    system: "linux", "darwin" or "windows". uv: the words that start uv here, empty without uv.
    run: runs a command; stream: one that may say very much.
    app: what the project's own code says (slow: asks a child process, once).
    """

    folder: Path = field(default_factory=Path)
    env: Mapping[str, str] = field(default_factory=dict)
    project: ProjectFiles | None = None
    offline: bool = True
    system: str = "linux"
    uv: tuple[str, ...] = ()
    needs: Needs = field(default_factory=Needs)
    run: Run = _nothing
    stream: Stream = _silence
    app: Callable[[], AppStatus] = AppStatus
    memory: Callable[[], Memory] = hardware.memory
    disk_free: Callable[[Path], int] = hardware.disk_free
    listener: Callable[[int], str] = hardware.listener
    now: Callable[[], float] = time.time

    @classmethod
    def here(cls, folder: Path, *, offline: bool = False) -> "Context":
        """Gather the facts of this machine and of the project that the folder belongs to."""
        env = processes.environment()
        variables = uv.environment(env)
        run = processes.runner(variables)
        project = ProjectFiles.find(folder)
        return cls(
            folder=project.folder if project else folder.resolve(),
            env=env,
            project=project,
            offline=offline,
            system={"win32": "windows"}.get(sys.platform, sys.platform),
            uv=_uv(),
            needs=_needs(project),
            run=run,
            stream=processes.streamer(variables),
            app=_once(lambda: ask_app(project, run) if project else AppStatus()),
        )

    def value(self, name: str) -> str:
        """Return a variable as the app reads it: the environment wins over `.env`."""
        return self.env.get(name) or self._dotenv.get(name, "")

    def origin(self, name: str) -> str:
        """Tell where that value comes from: "the environment", ".env", or nothing."""
        if self.env.get(name):
            return "the environment"
        return ".env" if name in self._dotenv else ""

    @property
    def shell(self) -> Shell:
        """How the user's shell takes commands."""
        return Shell(windows=self.system == "windows")

    @property
    def secrets(self) -> frozenset[str]:
        """Return the values that no output may show."""
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
    """Return what the project's template needs; outside a project, what the most demanding does."""
    templates = Catalog.here().templates
    mine = [each.needs for each in templates if project and each.name == project.template]
    among = mine or [each.needs for each in templates] or [Needs()]
    return Needs(
        disk_mb=max(needs.disk_mb for needs in among),
        memory_mb=max(needs.memory_mb for needs in among),
        gpu=any(needs.gpu for needs in mine),
    )


def _once(function: Callable[[], _T]) -> Callable[[], _T]:
    """Make a function that runs once, also when several threads ask at the same time."""
    lock, found = threading.Lock(), list[_T]()

    def ask() -> _T:
        with lock:
            if not found:
                found.append(function())
        return found[0]

    return ask
