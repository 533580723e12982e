"""Shows doctor's report."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hackkit.doctor.diagnose import CheckProgress
from hackkit.doctor.findings import Category, Report, Result, Status
from hackkit.screens.console import NARROW, arrow, can_show, print_json, say, terminal, write
from hackkit.system.command_line import line
from hackkit.version import VERSION

if TYPE_CHECKING:
    from rich.console import Console

    from hackkit.doctor.repair import Repaired
    from hackkit.project.context import Context

_HEADINGS = {
    Category.MACHINE: "Machine",
    Category.ACCELERATOR: "Accelerator",
    Category.NETWORK: "Network",
    Category.SERVICES: "Keys and services",
    Category.PROJECT: "Project",
}
# The sign of each status, and the one for a terminal that shows only ASCII.
_SIGNS = {
    Status.OK: ("✓", "+", "green"),
    Status.WARN: ("!", "!", "yellow"),
    Status.FAIL: ("✗", "x", "bold red"),
    Status.SKIP: ("–", "-", "dim"),  # noqa: RUF001 - a dash that is as wide as the other signs
}
_TITLE = 20  # columns


@contextlib.contextmanager
def watching() -> Iterator[CheckProgress]:
    """Show on a terminal which checks are running; yield the progress callback for `diagnose`."""
    console = terminal(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    with console.status("") as status:

        def show(done: int, total: int, running: Collection[str]) -> None:
            names = ", ".join(sorted(running)[:4])
            status.update(f"{done} of {total} done; waiting for {names}")

        yield show


def show_repairs(repairs: "Sequence[Repaired]", report: Report) -> None:
    """Show each repaired finding, before and after; `report` is the one after the repairs."""
    if not repairs:
        declined = any(result.finding.repair for result in report.results)
        say("Nothing was repaired." if declined else "There is nothing that --fix can repair.")
    for each in repairs:
        was, now = each.before.finding, each.after.finding
        write(f"{each.after.title}: {was.message}", style="dim", stderr=True)
        outcome = f"the repair failed: {each.error}" if each.error else now.message
        write(f"  {_sign(now.status, stderr=True)} {outcome}", stderr=True)


def show_report(report: Report, context: "Context", *, as_json: bool, verbose: bool) -> None:
    """Show doctor's report: one screen for people, or one JSON document."""
    if as_json:
        print_json(_report_document(report))
        return
    where = f"the project {context.folder.name}" if context.project else "this machine"
    write(f"hackkit {VERSION} checked {where}", style="bold")
    with contextlib.suppress(OSError):  # the current folder may have been deleted
        if context.project and context.folder != Path.cwd():
            there = line(["cd", str(context.folder)])
            write(f"Run the commands below in that folder: {there}", style="dim")
    for category, heading in _HEADINGS.items():
        results = [result for result in report.results if result.category is category]
        if results:
            write(f"\n{heading}", style="bold")
            _show_results(results, verbose=verbose)
    _show_summary(report)


def _show_results(results: Sequence[Result], *, verbose: bool) -> None:
    quiet = [r for r in results if _was_skipped(r) and not verbose]
    for result in results:
        if result not in quiet:
            _show_result(result, verbose=verbose)
    if quiet:
        # One line for all checks that were skipped: the screen is for the others.
        _line(Status.SKIP, "not checked", ", ".join(result.title for result in quiet))


def _was_skipped(result: Result) -> bool:
    """Return whether a check was left out; one that took too long was not."""
    return result.finding.status is Status.SKIP and not result.broken


def _show_result(result: Result, *, verbose: bool) -> None:
    finding = result.finding
    _line(finding.status, result.title, finding.message)
    indent = " " * _indent(terminal())
    for detail in finding.details if verbose else ():
        write(f"{indent}{detail}", style="dim")
    if verbose:
        write(f"{indent}{result.id}, {result.seconds:.2f} s", style="dim")
    if finding.fix:
        write(f"{indent}{arrow()} {finding.fix}", style="cyan")


def _line(status: Status, title: str, message: str) -> None:
    """Write sign, title and message: in columns, or below each other on a narrow terminal."""
    from rich.text import Text  # noqa: PLC0415 - `new` and `--help` do without

    console = terminal()
    shade = "dim" if status is Status.SKIP else ""
    head = Text.assemble("  ", (_sign(status), _SIGNS[status][2]), " ")
    indent = _indent(console)
    lines = Text(message, shade).wrap(console, max(console.width - indent, 1))
    for each in lines:
        each.rstrip()
    if console.width < NARROW:
        console.print(head.append(title, shade), soft_wrap=True)
    else:
        first = lines.pop(0) if lines else Text()
        console.print(head.append(f"{title:{_TITLE}} ", shade).append(first), soft_wrap=True)
    for each in lines:
        console.print(Text(" " * indent).append(each), soft_wrap=True)


def _indent(console: "Console") -> int:
    """Return the column where messages start."""
    return 4 if console.width < NARROW else _TITLE + 5


def _show_summary(report: Report) -> None:
    words = {
        Status.FAIL: "failed",
        Status.WARN: "warning" if report.count(Status.WARN) == 1 else "warnings",
        Status.OK: "ok",
        Status.SKIP: "not checked",
    }
    counts = {status: report.count(status) for status in words if report.count(status)}
    slow = sum(each.broken and each.finding.status is Status.SKIP for each in report.results)
    if slow:
        counts[Status.SKIP] -= slow
    parts = [f"{count} {words[status]}" for status, count in counts.items() if count]
    parts += [f"{slow} timed out"] if slow else []
    worst = _SIGNS[next(iter(counts))][2] if counts else ""
    terminal().print(f"\n{', '.join(parts) or 'There was nothing to check'}.", style=worst)
    if report.problems:
        first = report.problems[0]
        terminal().print(f"First: {first.title}: {first.finding.message}")
        write(f"  {arrow()} {first.finding.fix}", style="cyan")


def _report_document(report: Report) -> dict[str, Any]:
    return {
        "checks": [
            {
                "id": result.id,
                "title": result.title,
                "category": result.category,
                "status": result.finding.status,
                "message": result.finding.message,
                "fix": result.finding.fix,
                "seconds": round(result.seconds, 3),
            }
            for result in report.results
        ],
        "summary": {status: report.count(status) for status in Status},
    }


def _sign(status: Status, *, stderr: bool = False) -> str:
    sign, plain, _ = _SIGNS[status]
    return sign if can_show(sign, stderr=stderr) else plain
