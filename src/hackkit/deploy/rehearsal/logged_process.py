"""Runs the commands of a rehearsal, and writes their output to its log file, without secrets."""

import contextlib
import os
import re
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Self

from hackkit.errors import HackkitError
from hackkit.project.leaks import scrub
from hackkit.system import processes
from hackkit.system.command_line import line

_MOST_LOG = 20_000_000  # characters of output in the log file
_MOST_LINES = 4_000  # of a command, searched for the cause
_LONGEST_LINE = 65_536  # bytes


class RehearsalLog:
    """The log file of a rehearsal; only its owner may read it."""

    def __init__(self, target: str, secrets: Collection[str]) -> None:
        handle, name = tempfile.mkstemp(prefix=f"hackkit-{target}-", suffix=".log")
        self.path = Path(name)
        self._secrets, self._left, self._lock = secrets, _MOST_LOG, threading.Lock()
        self._file: IO[str] = os.fdopen(handle, "w", encoding="utf-8", newline="\n")

    def write(self, text: str) -> str:
        """Write output to the log; return it without secrets."""
        text = scrub(text, self._secrets)
        with self._lock:
            if self._left > 0 and not self._file.closed:
                self._file.write(text)
                self._file.flush()
                self._left -= len(text)
        return text

    def close(self) -> None:
        """Close the file, and remove the secrets that only the whole text shows."""
        with self._lock:
            self._file.close()
        # A secret may be on another line than the name that marks it as one.
        with contextlib.suppress(OSError):
            whole = self.path.read_text("utf-8")
            clean = scrub(whole, self._secrets)
            if clean != whole:
                self.path.write_text(clean, "utf-8", newline="\n")


class LoggedProcess:
    """A started command: all of its output goes to the log, its last lines also stay here."""

    def __init__(self, process: subprocess.Popen[bytes], log: RehearsalLog) -> None:
        self.process = process
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._log, self._lock = log, threading.Lock()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(
        cls, words: tuple[str, ...], folder: Path, env: Mapping[str, str], log: RehearsalLog
    ) -> Self:
        """Start a command; raise HackkitError when that fails."""
        log.write(f"$ {line(words)}\n")
        try:
            process = processes.begin(words, folder, env)
        except OSError as error:
            raise HackkitError(f"{words[0]} cannot be started: {error.strerror}.") from error
        if process is None:
            raise HackkitError(f"{words[0]} was not found.")
        return cls(process, log)

    @property
    def output(self) -> str:
        """Its output (only the last 4,000 lines are kept)."""
        with self._lock:
            return "".join(self._lines)

    def wait(self, seconds: float) -> int | None:
        """Wait until it ends; return its exit code, or None after so many seconds."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """End it and all processes that it has started, and read the rest of its output."""
        if self._ended:  # its process number may belong to another process now
            return
        self._ended = True
        processes.stop_gracefully(self.process)
        self._reader.join(2)

    def _read(self) -> None:
        pipe = self.process.stdout
        while pipe and (data := pipe.readline(_LONGEST_LINE)):
            text = self._log.write(data.decode("utf-8", "replace"))
            with self._lock:
                self._lines.append(text)


def short_name(words: tuple[str, ...]) -> str:
    """Return a command without its options: "uv pip install"."""
    rest = [word for word in words[1:4] if re.fullmatch(r"[\w.-]+", word) and word[0] != "-"]
    return " ".join([Path(words[0]).stem, *rest])
