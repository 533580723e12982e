"""Measures this machine: memory, disk space, and the processes that use its ports."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from hackkit.system.processes import family

# The memory limit of a container (control groups, version 2 and 1).
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True)
class Memory:
    """Main memory, in bytes."""

    total: int
    available: int


def memory() -> Memory:
    """Measure main memory, or the part that this container may use."""
    import psutil  # noqa: PLC0415 - only some commands measure

    seen = psutil.virtual_memory()
    limit = _memory_limit() or seen.total
    return Memory(min(seen.total, limit), min(seen.available, limit))


def _memory_limit() -> int:
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not Linux, or "max"
            return int(path.read_text("ascii"))
    return 0


def disk_free(folder: Path) -> int:
    """Return the free bytes on the drive of a folder, which need not exist yet."""
    for place in (folder, *folder.absolute().parents):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return shutil.disk_usage(place).free
    raise FileNotFoundError(folder)


def listener(port: int) -> str:
    """Name the process that listens on a TCP port of this machine; empty when there is none.

    The system may hide the process of another user: then it is "another user's process".
    """
    import psutil  # noqa: PLC0415 - only some commands look

    with contextlib.suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            here = listens and getattr(connection.laddr, "port", None) == port
            if here and connection.pid:
                with contextlib.suppress(psutil.Error):
                    return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            if here:
                return "another user's process"
    return ""


def ports_of(process: int) -> frozenset[int]:
    """Return the TCP ports on which a process or one of its children listens."""
    import psutil  # noqa: PLC0415 - only some commands look

    found = set()
    for each in family(process):
        with contextlib.suppress(psutil.Error, OSError):
            found |= {
                socket.laddr.port
                for socket in each.net_connections("tcp")
                if socket.status == psutil.CONN_LISTEN
            }
    return frozenset(found)
