"""The stage on which a deployment is tried here: clean, watched, written down, cleared away."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from hackkit.deploy import smoke_test
from hackkit.deploy.explain import app_log
from hackkit.deploy.manifest import Order, Rehearsed, Step, Watch
from hackkit.deploy.rehearsal import clean_env
from hackkit.errors import HackkitError, Problem
from hackkit.network import fetch
from hackkit.project.leaks import scrub
from hackkit.system import hardware, processes
from hackkit.system.command_line import line

Explain = Callable[[str], HackkitError | None]

_UNKNOWN = "What is this about?"  # asked where the app names no question of its own
_MOST_LOG = 20_000_000  # bytes of output that are kept
_MOST_LINES = 4_000  # lines of a command that are looked at for the cause
_LONGEST_LINE = 65_536  # bytes
_ANSWER_SHOWN = 60  # characters
_TICK = 0.2  # seconds between two looks at an app that starts
_STRAY = 3.0  # seconds that it may listen elsewhere before that is taken for its only port
_TOLD = 10.0  # the same for a port that it names from within a container
_NOT_YET = {502, 503}
_OUT_OF_MEMORY = {-9, 137}
_ENGINES = {"docker", "podman"}  # what runs in their containers can be heard, but not seen
_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "[::1]"}

_ANNOUNCED = re.compile(
    r"(?i)\b(?:open|running|listen\w*|serving|started|url)\b[^\n]*?https?://"
    r"(?P<host>127\.0\.0\.1|0\.0\.0\.0|localhost|\[::1?\]):(?P<port>[0-9]+)"
)


@dataclass
class Note:
    """What a step came to: "412 MB"."""

    outcome: str = ""


class Stage:
    """Where a deployment is tried.

    folder: empty, removed afterwards. env: the variables of a fresh machine that reaches the same
    package indexes as this one, with an empty home and without keys. log: the file that keeps all
    that is said.
    """

    def __init__(self, order: Order, watch: Watch, place: Path, log: "_Log") -> None:
        self.folder = place / "stage"
        self.env = clean_env.environment(order.context, place)
        self.log = log.path
        self._order, self._watch, self._log = order, watch, log
        self._steps: list[Step] = []
        self._children: list[_Child] = []
        self._app: _Child | None = None
        self.folder.mkdir()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Note]:
        """Time the block as a step, and tell who watches; `outcome` says what it came to."""
        self._watch(name)
        self._log.write(f"\n== {name}\n")
        note, began = Note(), time.monotonic()
        yield note
        self._steps.append(Step(name, time.monotonic() - began, note.outcome))

    def run(
        self,
        *words: str,
        folder: Path,
        seconds: float,
        explain: Explain = lambda _: None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command to its end, with `env` besides the stage's variables.

        Raises HackkitError when it fails: what `explain` makes of all that it said, or its last
        words.
        """
        child = self._begin(words, folder, {**self.env, **(env or {})})
        code = child.wait(seconds)
        child.end()
        if code is None:
            raise HackkitError(f"`{_short(words)}` did not end within {seconds:g} s.")
        if code:
            known = explain(child.said)
            said = app_log.last_words(child.said, 3) or f"exit code {code}"
            raise known or HackkitError(f"`{_short(words)}` failed: {said}")

    def start(self, *words: str, folder: Path, env: Mapping[str, str]) -> None:
        """Start the app, with `env` besides the stage's variables; it ends with the stage.

        It sees nothing of how packages are installed here.
        """
        plain = clean_env.without_installers(self.env)
        self._app = self._begin(words, folder, {**plain, **env})

    def try_app(self, port: int, question: str, seconds: float = 90) -> None:
        """Wait until the app answers on the port, load its page, and put a question to it.

        Raises HackkitError when it crashes, listens elsewhere, or answers with an error.
        """
        address, question = f"http://127.0.0.1:{port}", question or _UNKNOWN
        with self.step("Start the app") as note:
            self._wait_for(address, port, seconds)
            note.outcome = f"port {port}"
        with self.step("Load the page") as note, self._blamed():
            note.outcome = f"{len(smoke_test.load(address, self.env).body) / 1000:.0f} kB"
        with self.step(f"Ask: {question}") as note, self._blamed():
            try:
                note.outcome = _shortened(smoke_test.ask(address, question, self.env).text)
            except smoke_test.NoAskError as error:
                note.outcome = f"skipped: {error.problem}"

    def done(self) -> Rehearsed:
        """Return how it went."""
        return Rehearsed(tuple(self._steps), self.log)

    def close(self) -> None:
        """End all that was started here."""
        for child in self._children:
            child.end()

    def _begin(self, words: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> "_Child":
        self._log.write(f"$ {line(words)}\n")
        try:
            process = processes.begin(words, folder, env)
        except OSError as error:
            raise HackkitError(f"{words[0]} cannot be started: {error.strerror}.") from error
        if process is None:
            raise HackkitError(f"{words[0]} was not found.")
        child = _Child(process, words, self._log)
        self._children.append(child)
        return child

    # The app that was started

    def _wait_for(self, address: str, port: int, seconds: float) -> None:
        began = time.monotonic()
        seen: dict[int, float] = {}  # ports that it listens on or names, and since when
        while time.monotonic() - began < seconds:
            self._refuse_end()
            # (Before a container something may take connections long before the app does.)
            if fetch.listens(address):
                reply = fetch.fetch(address, {}, seconds=5)
                if reply.answered and reply.status not in _NOT_YET:
                    return
            self._refuse_stray(port, seen)
            time.sleep(_TICK)
        self._late(port, seconds)

    def _refuse_end(self) -> None:
        app = self._app
        code = app.process.poll() if app else None
        if app is None or code is None:
            return
        app.end()
        if known := app_log.cause(app.said, self._order.context):
            raise known
        name, said = app.script, app_log.last_words(app.said)
        if code in _OUT_OF_MEMORY:
            raise HackkitError(
                f"{name} was killed before it answered: this machine's memory was too small."
            )
        words = f"{name} ended with exit code {code} before it answered"
        raise HackkitError(
            f"{words}: {said}" if said else f"{words}, without a word.", fix=f"uv run {name}"
        )

    def _refuse_stray(self, port: int, seen: dict[int, float]) -> None:
        """Raise when the app has settled elsewhere than where it was told to."""
        app, now = self._app, time.monotonic()
        if app is None:
            return
        if app.is_hidden:
            named = {int(match["port"]): match["host"] for match in _ANNOUNCED.finditer(app.said)}
        else:
            named = dict.fromkeys(hardware.ports_of(app.process.pid), "")
        for each in named:
            seen.setdefault(each, now)
        patience = _TOLD if app.is_hidden else _STRAY
        settled = [each for each in named if now - seen[each] > patience]
        if port in settled and named[port] in _LOOPBACK_HOSTS:
            raise _deaf(app.script, port)
        for other in settled if port not in named else ():
            if app.is_hidden or _has_page(other):
                raise _stray(app.script, port, other)

    def _late(self, port: int, seconds: float) -> NoReturn:
        said = self._app.said if self._app else ""
        words = app_log.last_words(said)
        last = f" The last that it said: {words}" if words else " It said nothing."
        raise HackkitError(
            f"The app did not answer on port {port} within {seconds:g} s.{last}",
            fix="uv run app.py",
        )

    @contextlib.contextmanager
    def _blamed(self) -> Iterator[None]:
        """Name the crash behind an answer that did not come."""
        before = len(self._app.said) if self._app else 0
        try:
            yield
        except smoke_test.NoAskError:
            raise
        except HackkitError as error:
            self._refuse_end()
            said = self._app.said[before:] if self._app else ""
            known = app_log.cause(said, self._order.context)
            if known is None:
                raise
            raise HackkitError(f"{error.problem} {known.problem}", fix=known.fix) from error


@contextlib.contextmanager
def rehearsal(target: str, order: Order, watch: Watch) -> Iterator[Stage]:
    """Set a stage, and clear it away whatever happens; the log stays.

    A HackkitError from within names the log, and shows no secret.
    """
    secrets = order.context.secrets
    with contextlib.ExitStack() as cleared:
        cleared.enter_context(_unwinding())
        place = Path(tempfile.mkdtemp(prefix="hackkit-"))
        cleared.callback(_remove, place)
        log = _Log(target, secrets)
        cleared.callback(log.close)
        stage = Stage(order, watch, place, log)
        cleared.callback(stage.close)
        try:
            yield stage
        except HackkitError as error:
            problem = scrub(f"{error.problem} Full log: {log.path}", secrets)
            error.shown = Problem(problem, scrub(error.fix, secrets))
            log.write(f"\n{error.problem}\n")
            raise


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def weight(folder: Path) -> str:
    """Return the size of a folder in words ("412 MB"): each file once, links not followed."""
    files: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                seen = (Path(place) / name).lstat()
                files[seen.st_dev, seen.st_ino] = seen.st_size
    return f"{sum(files.values()) / 1_000_000:.0f} MB"


# What is said


class _Log:
    """The file that keeps what was said, without secrets; only its owner can read it."""

    def __init__(self, target: str, secrets: Collection[str]) -> None:
        handle, name = tempfile.mkstemp(prefix=f"hackkit-{target}-", suffix=".log")
        self.path = Path(name)
        self._secrets, self._left, self._lock = secrets, _MOST_LOG, threading.Lock()
        self._file: IO[str] = os.fdopen(handle, "w", encoding="utf-8", newline="\n")

    def write(self, text: str) -> str:
        """Write what was said; return it without secrets."""
        text = scrub(text, self._secrets)
        with self._lock:
            if self._left > 0 and not self._file.closed:
                self._file.write(text)
                self._file.flush()
                self._left -= len(text)
        return text

    def close(self) -> None:
        with self._lock:
            self._file.close()
        # Once more as a whole: a secret may stand on another line than what gives it away.
        with contextlib.suppress(OSError):
            whole = self.path.read_text("utf-8")
            clean = scrub(whole, self._secrets)
            if clean != whole:
                self.path.write_text(clean, "utf-8", newline="\n")


class _Child:
    """A command that runs: all that it says goes into the log, its last lines stay here."""

    def __init__(self, process: subprocess.Popen[bytes], words: tuple[str, ...], log: _Log) -> None:
        self.process = process
        named = re.findall(r"[\w-]+\.py\b", " ".join(words))
        self.script = named[-1] if named else "app.py"
        self.is_hidden = Path(words[0]).stem in _ENGINES
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._log, self._lock = log, threading.Lock()
        self._over = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def said(self) -> str:
        """All that it said, as far as that is looked at."""
        with self._lock:
            return "".join(self._lines)

    def wait(self, seconds: float) -> int | None:
        """Wait until it ends; return its exit code, or None when that takes longer."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it with all that it has started, and hear it out."""
        if self._over:  # its number may be another's by now
            return
        self._over = True
        processes.end(self.process)
        self._listener.join(2)

    def _listen(self) -> None:
        pipe = self.process.stdout
        while pipe and (data := pipe.readline(_LONGEST_LINE)):
            text = self._log.write(data.decode("utf-8", "replace"))
            with self._lock:
                self._lines.append(text)


def _short(words: tuple[str, ...]) -> str:
    """Return a command without its options: "uv pip install"."""
    rest = [word for word in words[1:4] if re.fullmatch(r"[\w.-]+", word) and word[0] != "-"]
    return " ".join([Path(words[0]).stem, *rest])


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _ANSWER_SHOWN else f"{words[: _ANSWER_SHOWN - 1]}…"


def _stray(script: str, port: int, other: int) -> HackkitError:
    return HackkitError(
        f"The app listens on {other}, not on {port}, where the platform asks it.",
        fix=f"edit {script}: pass server_port=SETTINGS.port to launch()",
    )


def _deaf(script: str, port: int) -> HackkitError:
    return HackkitError(
        f"The app says that it runs on {port}, but only for itself: nobody outside its container "
        "can reach 127.0.0.1.",
        fix=f"edit {script}: pass server_name=SETTINGS.host to launch(), and set HOST=0.0.0.0",
    )


def _has_page(port: int) -> bool:
    return fetch.fetch(f"http://127.0.0.1:{port}", {}, seconds=2).is_page


# All is cleared away


def _remove(place: Path) -> None:
    for _ in range(5):  # what was ended a moment ago may still hold a file
        shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            return
        time.sleep(0.2)


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Make a closed terminal or a polite kill unwind as Ctrl-C does: nothing stays behind."""
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
