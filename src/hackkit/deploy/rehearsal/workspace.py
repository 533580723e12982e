"""Runs a deployment locally in a clean temporary folder, logs it, and cleans up."""

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from hackkit.deploy import smoke_test
from hackkit.deploy.explain import app_log
from hackkit.deploy.manifest import DeployRequest, Progress, RehearsalResult
from hackkit.deploy.rehearsal import clean_env
from hackkit.deploy.rehearsal.logged_process import LoggedProcess, RehearsalLog, short_name
from hackkit.deploy.rehearsal.started_app import StartedApp
from hackkit.deploy.steps import Steps
from hackkit.errors import HackkitError, Problem
from hackkit.project.app_status import AppStatus
from hackkit.project.leaks import scrub

Explain = Callable[[str], Problem | None]


class Workspace:
    """Where a deployment is rehearsed.

    folder: empty, removed afterwards. env: a clean environment without keys, with an empty home and
    this machine's package indexes. log: the file with the full output.
    """

    def __init__(
        self, request: DeployRequest, progress: Progress, place: Path, log: RehearsalLog
    ) -> None:
        self.folder = place / "work"
        self.env = clean_env.fresh_machine(request.context, place)
        self.log = log.path
        self._context, self._log = request.context, log
        self._steps = Steps(progress)
        self._processes: list[LoggedProcess] = []
        self.folder.mkdir()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """Time the block as a step; what it appends to the list is the step's outcome."""
        self._log.write(f"\n== {name}\n")
        with self._steps.step(name) as outcome:
            yield outcome

    def run(
        self,
        *words: str,
        folder: Path,
        seconds: float,
        explain: Explain = lambda _: None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command to its end; `env` is added to the workspace's variables.

        Raises HackkitError when it fails: with what `explain` finds in its output, else with its
        last lines.
        """
        process = self._start(words, folder, {**self.env, **(env or {})})
        code = process.wait(seconds)
        process.end()
        if code is None:
            raise HackkitError(f"`{short_name(words)}` took longer than {seconds:g} s.")
        if code:
            known = explain(process.output)
            if known:
                raise HackkitError(known.problem, known.fix)
            output = app_log.last_lines(process.output, 3) or f"exit code {code}"
            raise HackkitError(f"`{short_name(words)}` failed: {output}")

    def start(self, *words: str, folder: Path, env: Mapping[str, str]) -> StartedApp:
        """Start the app; `env` is added to the workspace's variables.

        The app does not see the settings of package installers. It ends with the workspace.
        """
        plain = clean_env.without_installers(self.env)
        process = self._start(words, folder, {**plain, **env})
        return StartedApp(process, words, self._context)

    def try_app(self, app: StartedApp, port: int, status: AppStatus, seconds: float = 90) -> None:
        """Wait until the app answers on the port, load its page, and ask it its own question.

        Raises HackkitError when it crashes, listens elsewhere, or answers with an error.
        """
        address = f"http://127.0.0.1:{port}"
        question, note = smoke_test.question_of(status)
        with self.step("Start the app") as outcome:
            app.wait_for(port, seconds)
            outcome.append(f"port {port}")
        with self.step("Load the page") as outcome:
            outcome.append(app.load_page(address, self.env))
        with self.step(f"Ask: {question}") as outcome:
            answer = app.ask(address, question, self.env)
            outcome.append(f"{answer} ({note})" if note else answer)

    def result(self) -> RehearsalResult:
        """Return the finished steps and the log."""
        return RehearsalResult(tuple(self._steps.done), self.log)

    def close(self) -> None:
        """End all processes that were started here."""
        for process in self._processes:
            process.end()

    def _start(self, words: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> LoggedProcess:
        process = LoggedProcess.start(words, folder, env, self._log)
        self._processes.append(process)
        return process


@contextlib.contextmanager
def rehearsal(target: str, request: DeployRequest, progress: Progress) -> Iterator[Workspace]:
    """Make a workspace, and remove it in any case; the log stays.

    A HackkitError from within names the log, and shows no secret.
    """
    secrets = request.context.secrets
    with contextlib.ExitStack() as cleanup:
        cleanup.enter_context(_cleaning_up_on_signals())
        place = Path(tempfile.mkdtemp(prefix="hackkit-"))
        cleanup.callback(_remove, place)
        log = RehearsalLog(target, secrets)
        cleanup.callback(log.close)
        workspace = Workspace(request, progress, place, log)
        cleanup.callback(workspace.close)
        try:
            yield workspace
        except HackkitError as error:
            problem = scrub(f"{error.problem} Full log: {log.path}", secrets)
            error.explanation = Problem(problem, scrub(error.fix, secrets))
            log.write(f"\n{error.problem}\n")
            raise


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def folder_size(folder: Path) -> str:
    """Return the size of a folder in words ("412 MB"): each file once, links not followed."""
    sizes: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                seen = (Path(place) / name).lstat()
                sizes[seen.st_dev, seen.st_ino] = seen.st_size
    return f"{sum(sizes.values()) / 1_000_000:.0f} MB"


def _remove(place: Path) -> None:
    for _ in range(5):  # a process that has just ended may still hold a file
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            return
        time.sleep(0.2)


@contextlib.contextmanager
def _cleaning_up_on_signals() -> Iterator[None]:
    """Make a closed terminal and SIGTERM clean up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = {number for number in numbers if signal.getsignal(number) == signal.SIG_IGN}
    before = {number: signal.signal(number, leave) for number in numbers if number not in ignored}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
