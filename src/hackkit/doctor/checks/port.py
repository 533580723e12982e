"""Is the app's port free?

Fails when another program uses the port in `PORT`, and when the app may not use it. Without `PORT`
the app takes the first free port from 7860 on.
"""

import errno
import ipaddress
import re
import socket
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Repair, failure, ok, skipped
from hackkit.errors import HackkitError
from hackkit.project.app_status import STATUS_SECONDS, AppStatus
from hackkit.project.context import Context
from hackkit.project.layout import PORT
from hackkit.system.command_line import hackkit

TITLE = "Port"
CATEGORY = Category.PROJECT
SECONDS = STATUS_SECONDS + 1  # so that the app has its whole time

_LEAST = 1023  # up to here, only an administrator may use a port
_LINE = re.compile(rb"""(?im)^(\s*(?:export\s+)?PORT\s*=[ \t]*)("[^"\n]*"|'[^'\n]*'|[^\s#]*)""")


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem:
        return skipped(app.problem[:100])
    port = app.port or PORT
    problem = _problem(app.host, port)
    if not problem:
        return ok(f"{port} is free")
    if problem == errno.EADDRNOTAVAIL:
        message = f"HOST is {app.host}, which is not an address of this machine"
        return failure(message, _edit(context, "HOST", "127.0.0.1"))
    return _in_use(context, app, port, problem)


def _in_use(context: Context, app: AppStatus, port: int, problem: int) -> Finding:
    holder = context.listener(port)
    if not holder and problem in {errno.EACCES, errno.EPERM}:
        return _taken(context, app.host, port, "only an administrator may use it")
    holder = holder or "an unknown program"
    ours = app.busy and "python" in holder.lower()
    if not app.port:
        name = f"{holder}, perhaps this app," if ours else holder
        return ok(f"the next free one: {name} uses {port}")
    if ours:
        return ok(f"{port}, used by this app: {holder}")
    return _taken(context, app.host, port, f"{holder} uses it")


def _problem(host: str, port: int) -> int:
    """Return why no program can listen there now (an errno), or 0."""
    try:
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            # As the app's own server; on Windows SO_REUSEADDR succeeds on a port in use, too.
            alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, alone, 1)
            probe.bind((_numeric(host), port))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def _numeric(host: str) -> str:
    """Return an address to try; a name is not looked up, as that can take long."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - only tried, nothing listens there


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _taken(context: Context, host: str, port: int, why: str) -> Finding:
    start = max(port, _LEAST) + 1
    free = next((each for each in range(start, start + 100) if not _problem(host, each)), PORT)
    fix, repair = _edit(context, "PORT", str(free)), None
    if context.origin("PORT") == ".env":
        repair = Repair(f"set PORT={free} in .env", lambda: _write(context.folder / ".env", free))
    return failure(f"{port} is not free: {why}", fix, repair)


def _edit(context: Context, name: str, value: str) -> str:
    if context.origin(name) != "the environment":
        return f"edit .env: set {name}={value}"
    return context.shell.set(name, value)


def _write(path: Path, port: int) -> None:
    """Change only the line that sets PORT (the last one counts), and keep the file's mode."""
    with path.open("r+b") as file:
        text = file.read()
        line = [*_LINE.finditer(text)][-1:]
        if not line:
            raise HackkitError(".env no longer has a line PORT=….", fix=hackkit("doctor"))
        start, end = line[0].span(2)
        file.seek(0)
        file.write(text[:start] + str(port).encode() + text[end:])
        file.truncate()
