"""Waits for the app of a rehearsal, and explains why it crashed or listens on another port."""

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hackkit.deploy import smoke_test
from hackkit.deploy.explain import app_log
from hackkit.deploy.rehearsal.logged_process import LoggedProcess
from hackkit.errors import HackkitError
from hackkit.network import fetch
from hackkit.project.context import Context
from hackkit.system import hardware, uv

_TICK = 0.2  # seconds between two checks of an app that starts
_ANSWER_SHOWN = 60  # characters
_NOT_READY = {502, 503}
_OUT_OF_MEMORY = {-9, 137}
# Seconds after which another port is taken for the app's only one: a port that it listens on, and
# one that a container's output names.
_SEEN, _NAMED = 3.0, 10.0
_ENGINES = {"docker", "podman"}  # ports inside their containers are known from the output alone
_LOOPBACK_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
_ANNOUNCED = re.compile(
    r"(?i)\b(?:open|running|listen\w*|serving|started|url)\b[^\n]*?https?://"
    r"(?P<host>127\.0\.0\.1|0\.0\.0\.0|localhost|\[::1?\]):(?P<port>[0-9]+)"
)


@dataclass(frozen=True)
class StartedApp:
    """The app's process, the command that started it, and the project's context."""

    process: LoggedProcess
    words: tuple[str, ...]
    context: Context

    @property
    def script(self) -> str:
        """The Python file that was started."""
        named = re.findall(r"[\w-]+\.py\b", " ".join(self.words))
        return named[-1] if named else "app.py"

    @property
    def _in_container(self) -> bool:
        return Path(self.words[0]).stem in _ENGINES

    def wait_for(self, port: int, seconds: float) -> None:
        """Return when the app answers; raise HackkitError when it fails or is too slow."""
        started, address = time.monotonic(), f"http://127.0.0.1:{port}"
        since: dict[int, float] = {}  # the ports that it listens on or names, and since when
        while time.monotonic() - started < seconds:
            self.raise_if_ended()
            # (In front of a container a proxy may accept connections before the app does.)
            hosts = self._ports()
            # Another program may listen there, perhaps started in the meantime.
            mine = self._in_container or port in hosts
            if mine and fetch.listens(address):
                reply = fetch.fetch(address, {}, seconds=5)
                if reply.answered and reply.status not in _NOT_READY:
                    return
            self._raise_on_other_port(port, hosts, since)
            time.sleep(_TICK)
        self._raise_late(port, seconds)

    def raise_if_ended(self) -> None:
        """Raise HackkitError with the cause when the process has ended."""
        code = self.process.process.poll()
        if code is None:
            return
        self.process.end()
        if known := app_log.explain(self.process.output, self.context):
            raise HackkitError(known.problem, known.fix)
        if code in _OUT_OF_MEMORY:
            raise HackkitError(f"{self.script} was killed: this machine ran out of memory.")
        output = app_log.last_lines(self.process.output) or "It printed nothing."
        raise HackkitError(
            f"{self.script} ended with exit code {code} before it answered: {output}",
            fix=uv.typed("run", self.script),
        )

    def _raise_on_other_port(
        self, port: int, hosts: Mapping[int, str], since: dict[int, float]
    ) -> None:
        """Raise HackkitError when the app keeps another port than the one it was given."""
        now = time.monotonic()
        for each in hosts:
            since.setdefault(each, now)
        limit = _NAMED if self._in_container else _SEEN
        settled = [each for each in hosts if now - since[each] > limit]
        if port in settled and hosts[port] in _LOOPBACK_HOSTS:
            raise _only_loopback(self.script, port)
        for other in settled if port not in hosts else ():
            if self._in_container or _has_page(other):
                raise _other_port(self.script, port, other)

    def _ports(self) -> dict[int, str]:
        """Return the ports that the app listens on; in a container those that it names."""
        if not self._in_container:
            return dict.fromkeys(hardware.ports_of(self.process.process.pid), "")
        found = _ANNOUNCED.finditer(self.process.output)
        return {int(match["port"]): match["host"] for match in found}

    def _raise_late(self, port: int, seconds: float) -> NoReturn:
        output = app_log.last_lines(self.process.output)
        last = f" Its last output: {output}" if output else " It printed nothing."
        raise HackkitError(
            f"The app did not answer on port {port} within {seconds:g} s.{last}",
            fix=uv.typed("run", "app.py"),
        )

    def load_page(self, address: str, env: Mapping[str, str]) -> str:
        """Load the app's page; return its size in words."""
        with self._explained():
            return f"{len(smoke_test.load_page(address, env).body) / 1000:.0f} kB"

    def ask(self, address: str, question: str, env: Mapping[str, str]) -> str:
        """Ask the app a question; return the start of its answer, or why it was not asked."""
        try:
            with self._explained():
                return _shortened(smoke_test.ask(address, question, env).text)
        except smoke_test.NoEndpointError as error:
            return f"skipped: {error.problem}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Add the crash in the app's log to a failed request."""
        before = len(self.process.output)
        try:
            yield
        except smoke_test.NoEndpointError:
            raise
        except HackkitError as error:
            self.raise_if_ended()
            known = app_log.explain(self.process.output[before:], self.context)
            if known is None:
                raise
            raise HackkitError(f"{error.problem} {known.problem}", fix=known.fix) from error


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _ANSWER_SHOWN else f"{text[: _ANSWER_SHOWN - 1]}…"


def _other_port(script: str, port: int, other: int) -> HackkitError:
    return HackkitError(
        f"The app listens on port {other}; the platform connects to port {port}.",
        fix=f"edit {script}: let it listen on SETTINGS.port",
    )


def _only_loopback(script: str, port: int) -> HackkitError:
    return HackkitError(
        f"The app listens on 127.0.0.1:{port}, which cannot be reached from outside its container.",
        fix=f"edit {script}: let it listen on SETTINGS.host, and set HOST=0.0.0.0",
    )


def _has_page(port: int) -> bool:
    return fetch.fetch(f"http://127.0.0.1:{port}", {}, seconds=2).is_page
