"""Is the index there, and in step with the documents?

Warns when there is none for the chosen embedding model, when documents were added, changed or
removed since it was made (the app catches up when it starts), and when its vectors are missing or
damaged. Fails when its keywords are damaged, since every question then ends in an error.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, Mend, failure, ok, skipped, warning
from hackkit.errors import HackkitError
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.system import uv
from hackkit.system.command_line import hackkit, line

TITLE = "Index"
CATEGORY = Category.PROJECT

_DETAILS = 20
_ASIDE = ".damaged"
_CLOSED = re.compile(r"Permission denied: '(\S*?\bindex)\b")


def check(context: Context) -> Finding:
    app = context.app()
    if app.problem or not app.index:
        return _unknown(app.problem or "the app has no index")
    if app.damage:
        return _damaged(context, app)
    waiting = (*app.new, *app.changed, *app.gone)
    if not waiting and not app.documents:
        return ok("empty, as there are no documents yet")
    if not waiting:
        passages = _count(app.passages, "passage")
        return ok(f"{app.index} holds {_count(app.documents, 'document')} in {passages}")
    fix, mend = _ingest(context, app)
    if not app.documents:
        return warning(_absent(context, app), fix, mend)
    kinds = {"new": app.new, "changed": app.changed, "gone": app.gone}
    says = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)
    details = tuple(f"{kind}: {name}" for kind, names in kinds.items() for name in names)
    return warning(f"{app.index} is behind the documents: {says}", fix, mend, details[:_DETAILS])


def _absent(context: Context, app: AppStatus) -> str:
    """Say that there is no index yet; with another model there may be one."""
    others = [
        f"{Path(app.index).with_name(name).as_posix()} holds {_count(count, 'document')}"
        for name, count in _others(context.folder / app.index)
    ]
    return "; ".join(
        [f"{app.index} is not made yet: {_count(len(app.new), 'document')} to read", *others[:1]]
    )


def _unknown(problem: str) -> Finding:
    closed = _CLOSED.search(problem)
    if closed:
        fix = line(["chmod", "-R", "u+rwX", closed[1]])
        return failure(f"{closed[1]} may not be read"[:120], fix)
    return skipped(problem[:100])


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def _others(index: Path) -> Iterator[tuple[str, int]]:
    """Yield the indexes that other embedding models made, with how many documents they hold."""
    for file in sorted(index.parent.glob("*/keywords.db")):
        if file.parent != index and _ASIDE not in file.parent.name:
            with contextlib.suppress(sqlite3.Error):
                address = f"{file.absolute().as_uri()}?immutable=1"  # leaves no trace
                with contextlib.closing(sqlite3.connect(address, uri=True)) as db:
                    yield file.parent.name, db.execute("SELECT count(*) FROM sources").fetchone()[0]


def _ingest(context: Context, app: AppStatus) -> tuple[str, Mend | None]:
    project = context.project
    if app.busy or project is None:
        return f"stop the app (Ctrl-C) and start it again: {uv.typed('run', 'app.py')}", None
    words = ("run", "python", "-m", project.package, "ingest")
    with_model = f", with {app.embed_model}" if app.embed_model else ""
    says = f"read the documents into {app.index} again{with_model}"
    return uv.typed(*words), Mend(says, partial(_run, context.folder, words, app))


def _run(folder: Path, words: tuple[str, ...], app: AppStatus) -> None:
    # It ends with 1, too, when all went well but for a document that cannot be read.
    if not uv.succeeds(folder, *words) and not app.unreadable:
        raise HackkitError("The documents could not be read again.", fix=uv.typed(*words))


def _damaged(context: Context, app: AppStatus) -> Finding:
    """Offer to put the index aside and make it anew; without its vectors the app still answers."""
    message = f"{app.index} is damaged: {app.damage}"[:120]
    judge = warning if app.documents else failure
    again = hackkit("doctor", "--fix", "--only", "index", folder=context.folder)
    _, ingest = _ingest(context, app)
    if ingest is None:
        return judge(message, f"stop the app (Ctrl-C), then: {again}")
    aside = _aside(context.folder / app.index)
    says = f"move {app.index} aside, to {aside.name}, and read the documents anew"

    def do() -> None:
        (context.folder / app.index).rename(aside)
        ingest.do()

    return judge(message, again, Mend(says, do))


def _aside(index: Path) -> Path:
    """Return a name beside the index that nothing has yet."""
    names = [f"{index.name}{_ASIDE}", *(f"{index.name}{_ASIDE}-{n}" for n in range(2, 100))]
    return next(path for path in map(index.with_name, names) if not path.exists())
