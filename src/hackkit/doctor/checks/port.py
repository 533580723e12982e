"""Is the port that the app wants free?

Fails when another program has the port that `PORT` asks for, and when the app may not listen there.
Without `PORT` the app takes the first free one from 7860 on, so that is always well.
"""

import errno
import ipaddress
import re
import socket
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Mend, failure, ok, skipped
from hackkit.errors import HackkitError
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.system.command_line import hackkit

TITLE = "Port"
CATEGORY = Category.PROJECT

_FIRST = 7860  # where Gradio begins to look for a free one
_LEAST = 1023  # up to here, ports are an administrator's
_LINE = re.compile(rb"""(?im)^(\s*(?:export\s+)?PORT\s*=[ \t]*)("[^"\n]*"|'[^'\n]*'|[^\s#]*)""")


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem:
        return skipped(app.problem[:100])
    port = app.port or _FIRST
    problem = _problem(app.host, port)
    if not problem:
        return ok(f"{port} is free")
    if problem == errno.EADDRNOTAVAIL:
        message = f"HOST is {app.host}, which is no address of this machine"
        return failure(message, _edit(context, "HOST", "127.0.0.1"))
    return _held(context, app, port, problem)


def _held(context: Context, app: AppStatus, port: int, problem: int) -> Finding:
    holder = context.listener(port)
    if not holder and problem in {errno.EACCES, errno.EPERM}:
        return _taken(context, app.host, port, "only an administrator may use it")
    holder = holder or "a program that cannot be named"
    ours = app.busy and "python" in holder.lower()
    if not app.port:
        who = f"{holder}, this app perhaps," if ours else holder
        return ok(f"the next free one: {who} has {port}")
    if ours:
        return ok(f"{port}, where this app listens: {holder}")
    return _taken(context, app.host, port, f"{holder} has it")


def _problem(host: str, port: int) -> int:
    """Return why no program could listen there now (an errno), or 0."""
    try:
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            # What the app's own server asks for; on Windows the same would be granted too easily.
            alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, alone, 1)
            probe.bind((_numeric(host), port))
    except OSError as error:
        return error.errno or errno.EADDRNOTAVAIL
    return 0


def _numeric(host: str) -> str:
    """Return an address to try; a name is not looked up, which may take long."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return "0.0.0.0"  # noqa: S104 - tried out, nobody listens there


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _taken(context: Context, host: str, port: int, why: str) -> Finding:
    begin = max(port, _LEAST) + 1
    free = next((each for each in range(begin, begin + 100) if not _problem(host, each)), _FIRST)
    fix, mend = _edit(context, "PORT", str(free)), None
    if context.origin("PORT") == ".env":
        mend = Mend(f"set PORT={free} in .env", lambda: _write(context.folder / ".env", free))
    return failure(f"{port} is not free: {why}", fix, mend)


def _edit(context: Context, name: str, value: str) -> str:
    if context.origin(name) != "the environment":
        return f"edit .env: set {name}={value}"
    return f"$env:{name} = {value!r}" if context.system == "windows" else f"export {name}={value}"


def _write(path: Path, port: int) -> None:
    """Change the line that sets PORT (the last one counts) and nothing else, the mode included."""
    with path.open("r+b") as file:
        text = file.read()
        line = [*_LINE.finditer(text)][-1:]
        if not line:
            raise HackkitError(".env has no line PORT=… any more.", fix=hackkit("doctor"))
        begin, end = line[0].span(2)
        file.seek(0)
        file.write(text[:begin] + str(port).encode() + text[end:])
        file.truncate()
