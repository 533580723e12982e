"""The shop's own tools: one summarises a log, one changes the public status page."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator

from agent.sandbox import inside
from agent.tools import ToolError, asks_first, fitting, tool

# Each of our logs covers a day. A line starts with its time (UTC) and a level or an HTTP status.
LINE = re.compile(r"[\d-]{10}[T ](\d\d:\d\d)\S*(?: UTC)?(?: \[\d+\])? +(\w+):? +(.{1,300})")
TROUBLE = re.compile(r"WARN|ERROR|FATAL|[45]\d\d")
MAX_KINDS = 10  # of lines in each of the two lists
STATES = ("operational", "degraded", "outage")
_writing = threading.Lock()  # the calls of one reply run in parallel


@tool
def log_summary(path: str, start: str = "00:00", end: str = "23:59") -> str:
    """Summarise a log: each kind of line with its count, its first and its last line.

    Use it before you read lines of a log. `start` and `end` are times in UTC, written as 02:30.
    Lines that differ only in their numbers are of one kind.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for time, level, text in _lines(path):
        if start <= time <= end:
            kind = level, re.sub(r"[\d.,:]+", "#", text)
            kinds.setdefault(kind, []).append(f"{time} {' '.join(text.split())}")
    if not kinds:
        raise ToolError(f"{path} has no line from {start} to {end}. Write times as 02:30.")
    return "\n".join(fitting(_summary(path, kinds)))


def _lines(path: str) -> Iterator[tuple[str, str, str]]:
    """Time, level and text of a log's lines. Raises ToolError."""
    if not (file := inside(path)).is_file():
        raise ToolError(f"There is no file {path}: list_files shows all files.")
    with file.open(encoding="utf-8", errors="replace") as lines:
        for found in filter(None, map(LINE.match, lines)):
            yield found[1], found[2], found[3]


def _summary(path: str, kinds: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    counts, minutes = Counter[str](), Counter[str]()
    trouble, others = list[str](), list[str]()
    for (level, _), lines in sorted(kinds.items(), key=lambda item: len(item[1])):
        ends = " … ".join(dict.fromkeys([lines[0], lines[-1]]))
        counts[level] += len(lines)
        (trouble if TROUBLE.match(level) else others).append(f"- {len(lines)} x {level} {ends}")
        minutes.update(line[:5] for line in lines if TROUBLE.match(level))
    yield f"{path}: " + ", ".join(f"{n} x {level}" for level, n in counts.most_common())
    if trouble:
        yield from ["Trouble, the most frequent first:", *trouble[: -MAX_KINDS - 1 : -1]]
        yield "By minute: " + ", ".join(f"{time} {n}" for time, n in sorted(minutes.items()))
    yield from ["Other lines, the rarest first:", *others[:MAX_KINDS]]


@asks_first
@tool
def set_status(service: str, status: str, note: str = "") -> str:
    """Set a service on the public status page to operational, degraded or outage.

    Customers read `note`: one plain sentence without names and internal details.
    """
    file = inside("status.json")
    with _writing:
        page = json.loads(file.read_text(encoding="utf-8"))
        if service not in page or status not in STATES:
            raise ToolError(f"Services: {', '.join(page)}. Each is one of {', '.join(STATES)}.")
        before, page[service] = page[service], {"status": status, "note": note}
        file.write_text(json.dumps(page, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return f"The status page says {status} for {service} (before: {before['status']}). {note}"
