"""Is there an index, and is it up to date?

Warns when there is none for the chosen embedding model, when documents were added, changed or
removed since (the app updates it when it starts), and when its vectors are missing or damaged.
Fails when its keyword index is damaged, since every question then ends in an error.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Repair, failure, ok, skipped, warning
from hackkit.errors import HackkitError
from hackkit.network.urls import is_loopback
from hackkit.project.app_status import STATUS_SECONDS, AppStatus
from hackkit.project.context import Context
from hackkit.system import uv
from hackkit.system.command_line import hackkit
from hackkit.system.wording import counted

TITLE = "Index"
CATEGORY = Category.PROJECT
SECONDS = STATUS_SECONDS + 1  # so that the app has its whole time

_DETAILS = 20
_ASIDE = ".damaged"
_CLOSED = re.compile(r"Permission denied: '(\S*?\bindex)\b")


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem or not app.index:
        return _unknown(app.problem or "the app has no index", context)
    if app.damage:
        return _damaged(context, app)
    waiting = (*app.new, *app.changed, *app.gone)
    if not waiting and not app.documents:
        return ok("empty: there are no documents yet")
    if not waiting:
        chunks = counted(app.chunks, "chunk")
        return ok(f"{app.index} has {counted(app.documents, 'document')} in {chunks}")
    fix, repair = _ingest(context, app)
    if not app.documents:
        return warning(_absent(context, app), fix, repair)
    kinds = {"new": app.new, "changed": app.changed, "removed": app.gone}
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
    details = tuple(f"{kind}: {name}" for kind, names in kinds.items() for name in names)
    return warning(f"{app.index} is out of date: {counts}", fix, repair, details[:_DETAILS])


def _absent(context: Context, app: AppStatus) -> str:
    """Say that there is no index yet, and name one of another embedding model."""
    others = [
        f"{Path(app.index).with_name(name).as_posix()} has {counted(count, 'document')}"
        for name, count in _others(context.folder / app.index)
    ]
    missing = f"there is no {app.index} yet: {counted(len(app.new), 'document')} to read"
    return "; ".join([missing, *others[:1]])


def _unknown(problem: str, context: Context) -> Finding:
    closed = _CLOSED.search(problem)
    if closed:
        message = f"{closed[1]} cannot be read: permission denied"[:120]
        return failure(message, context.shell.unlock(closed[1]))
    return skipped(problem[:100])


def _others(index: Path) -> Iterator[tuple[str, int]]:
    """Yield the indexes of other embedding models, with their number of documents."""
    for file in sorted(index.parent.glob("*/keywords.db")):
        if file.parent != index and _ASIDE not in file.parent.name:
            with contextlib.suppress(sqlite3.Error):
                address = f"{file.absolute().as_uri()}?immutable=1"  # creates no files
                with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
                    yield file.parent.name, db.execute("SELECT count(*) FROM sources").fetchone()[0]


def _ingest(context: Context, app: AppStatus) -> tuple[str, Repair | None]:
    project = context.project
    if app.busy or project is None:
        return f"stop the app (Ctrl-C) and start it again: {uv.typed('run', 'app.py')}", None
    words = ("run", "python", "-m", project.package, "ingest")
    with_model = f", with {app.embed_model}" if app.embed_model else ""
    action = f"read the documents into {app.index} again{with_model}"
    offline = ("--offline",) if context.offline else ()  # uv's own: it would look for packages
    run = partial(_run, context.folder, (words[0], *offline, *words[1:]), app)
    return uv.typed(*words), Repair(action, run, online=_asks_a_model(context, app))


def _asks_a_model(context: Context, app: AppStatus) -> bool:
    """Return whether the documents go to a model that is not on this machine."""
    address = context.value("LLM_BASE_URL")
    return app.provider != "offline" and not (address and is_loopback(address))


def _run(folder: Path, words: tuple[str, ...], app: AppStatus) -> None:
    # Its exit code is 1, too, when only some documents cannot be read.
    if not uv.succeeds(folder, *words) and not app.unreadable:
        raise HackkitError(
            "The documents could not be read again.",
            fix=uv.typed(*(each for each in words if each != "--offline")),
        )


def _damaged(context: Context, app: AppStatus) -> Finding:
    """Offer to move the index away and to make a new one; without vectors the app still answers."""
    message = f"{app.index} is damaged: {app.damage}"[:120]
    finding = warning if app.documents else failure
    again = hackkit("doctor", "--fix", "--only", "index", folder=context.folder)
    _, ingest = _ingest(context, app)
    if ingest is None:
        return finding(message, f"stop the app (Ctrl-C), then: {again}")
    aside = _aside(context.folder / app.index)
    action = f"rename {app.index} to {aside.name}, and read the documents again"

    def run() -> None:
        (context.folder / app.index).rename(aside)
        ingest.run()

    return finding(message, again, Repair(action, run, online=ingest.online))


def _aside(index: Path) -> Path:
    """Return a free name beside the index."""
    names = [f"{index.name}{_ASIDE}", *(f"{index.name}{_ASIDE}-{n}" for n in range(2, 100))]
    return next(path for path in map(index.with_name, names) if not path.exists())
