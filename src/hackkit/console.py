"""Shows results and asks questions: the only module that knows Rich."""

import contextlib
import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hackkit.errors import WrongUseError
from hackkit.findings import Category, Report, Result, Status
from hackkit.shell import hackkit, line
from hackkit.version import VERSION

if TYPE_CHECKING:
    from rich.console import Console

    from hackkit.catalog import Catalog, Slot
    from hackkit.context import Context
    from hackkit.deploy import Voice
    from hackkit.doctor import Repair
    from hackkit.errors import HackkitError
    from hackkit.interview import Question
    from hackkit.project import Project

_NARROW = 60  # columns

_HEADINGS = {
    Category.MACHINE: "Machine",
    Category.ACCELERATOR: "Accelerator",
    Category.NETWORK: "Network",
    Category.SERVICES: "Keys and services",
    Category.PROJECT: "Project",
}
# The sign of each status, and the one for a terminal that knows only ASCII.
_SIGNS = {
    Status.OK: ("✓", "+", "green"),
    Status.WARN: ("!", "!", "yellow"),
    Status.FAIL: ("✗", "x", "bold red"),
    Status.SKIP: ("–", "-", "dim"),  # noqa: RUF001 - a dash that is as wide as the other signs
}
_TITLE = 20  # columns


def is_interactive() -> bool:
    """Tell whether somebody can answer a question."""
    return bool(sys.stdin and sys.stdin.isatty())


def say(text: str) -> None:
    """Show one line of progress."""
    write(text, style="dim", stderr=True)


def ask(question: "Question") -> str:
    """Ask until the answer is one of the options, or not empty."""
    width = max((len(option.name) for option in question.options), default=0)
    typer.echo(f"\n{question.text}", err=True)
    for option in question.options:
        typer.echo(f"  {option.name:{width}}  {option.summary}", err=True)
    names = {option.name for option in question.options}
    while True:
        answer = str(typer.prompt(">", question.default, err=True, prompt_suffix=" ")).strip()
        if answer and (not names or answer in names):
            return answer
        typer.echo(f"Please type one of: {', '.join(sorted(names))}", err=True)


def show_project(project: "Project", *, starting: bool) -> None:
    """Show where the project is and what to type next."""
    for notice in project.notices:
        write(f"Note: {notice}", style="yellow", stderr=True)
    write(f"{project.directory} is ready.", style="bold green")
    if starting:
        write("Starting it. Ctrl-C stops it.")
        return
    if project.steps:
        write("\nNext:")
    for step in project.steps:
        write(f"  {step}", style="bold")
    if project.env_file:
        write(f"\nKeys go into {project.env_file}.", style="dim")


def show_error(error: "HackkitError", *, as_json: bool) -> None:
    """Show what happened, then what to type: to people, and to a script that waits for JSON."""
    if as_json:
        document = {"error": {"problem": error.problem, "fix": error.fix}}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write(f"Error: {error.problem}", style="bold red", stderr=True)
    if error.fix:
        write(f"Fix: {error.fix}", stderr=True)


def show_catalog(catalog: "Catalog", *, as_json: bool) -> None:
    """Show what `hackkit new` can make: for people, or as one JSON document."""
    if as_json:
        sys.stdout.write(json.dumps(_document(catalog), indent=2, ensure_ascii=False) + "\n")
        return
    write("Templates", style="bold")
    for template in catalog.templates:
        entry(template.name, template.summary)
        for slot in template.slots:
            entry(f"--set {slot.name}=...", _default(slot), indent=4)
            for option in slot.options:
                entry(option.name, option.summary, indent=6)
    if catalog.examples:
        write("\nExamples", style="bold")
    for example in catalog.examples:
        entry(example.name, f"{example.summary} ({example.template})")


def _default(slot: "Slot") -> str:
    return f"{slot.default} unless you say otherwise"


def _document(catalog: "Catalog") -> dict[str, Any]:
    return {
        "templates": [
            {
                "name": template.name,
                "summary": template.summary,
                "slots": [
                    {
                        "name": slot.name,
                        "default": slot.default,
                        "options": [asdict(option) for option in slot.options],
                    }
                    for slot in template.slots
                ],
            }
            for template in catalog.templates
        ],
        "examples": [
            {
                "name": example.name,
                "summary": example.summary,
                "template": example.template,
                "answers": dict(example.answers),
            }
            for example in catalog.examples
        ],
    }


@contextlib.contextmanager
def watching() -> Iterator[Callable[[int, int, Collection[str]], None]]:
    """Show what doctor still waits for, on a terminal; yield the function that is told so."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    with console.status("") as status:

        def show(done: int, total: int, running: Collection[str]) -> None:
            names = ", ".join(sorted(running)[:4])
            status.update(f"{done} of {total} checked; waiting for {names}")

        yield show


def agree(says: str) -> bool:
    """Ask whether hackkit may do this."""
    return typer.confirm(f"hackkit will {says}. Do it?", default=True, err=True)


def risk(says: str) -> bool:
    """Ask whether hackkit may do what cannot be undone: Enter alone means no."""
    return typer.confirm(f"hackkit will {says}. Do it?", default=False, err=True)


def voice(*, yes: bool) -> "Voice":
    """Return how deploy speaks with its user; `yes` agrees to everything, and says to what.

    Without a terminal, being asked raises WrongUseError.
    """
    from hackkit.deploy import Voice  # noqa: PLC0415 - the other commands start without it

    if yes:
        return Voice(say_and_go, say_and_go, say, waiting)
    if is_interactive():
        return Voice(agree, risk, say, waiting)
    return Voice(_nobody, _nobody, say, waiting)


def _nobody(says: str) -> bool:
    """Say what would have been asked."""
    raise WrongUseError(
        f"hackkit would {says}, but nobody is there to ask: without a terminal it needs --yes.",
        fix=hackkit(*sys.argv[1:], "--yes"),
    )


@contextlib.contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """Show what happens now: in one place on a terminal, line by line elsewhere."""
    from rich.text import Text  # noqa: PLC0415 - `--help` does without

    console = _console(stderr=True)
    if console.is_terminal:
        with console.status("") as status:
            yield lambda words: status.update(Text(words))
        return
    last = ""

    def show(words: str) -> None:
        nonlocal last
        if words != last:
            say(words)
        last = words

    yield show


def show_code(address: str) -> None:
    """Show an address as a QR code, on a terminal that can draw one."""
    console = _console()
    if not console.is_terminal or not _can_show("▀▄█"):
        return
    import segno  # noqa: PLC0415 - only a deployment shows a code

    code = segno.make(address, micro=False)
    if console.width > code.symbol_size()[0]:
        code.terminal(sys.stdout, compact=True)


def say_and_go(says: str) -> bool:
    """Say that hackkit does this now."""
    say(f"hackkit will {says}.")
    return True


def show_repairs(repairs: "Sequence[Repair]", report: Report) -> None:
    """Show each mended finding, as it was and as it is; the report is the one after that."""
    if not repairs:
        refused = any(result.finding.mend for result in report.results)
        say("Nothing was mended." if refused else "There is nothing that --fix can mend.")
    for repair in repairs:
        was, now = repair.before.finding, repair.after.finding
        write(f"{repair.after.title}: {was.message}", style="dim", stderr=True)
        outcome = f"that did not work: {repair.error}" if repair.error else now.message
        write(f"  {_sign(now.status, stderr=True)} {outcome}", stderr=True)


def show_report(report: Report, context: "Context", *, as_json: bool, verbose: bool) -> None:
    """Show what doctor saw: one screen for people, or one JSON document."""
    if as_json:
        document = json.dumps(_report_document(report), indent=2, ensure_ascii=False)
        sys.stdout.write(document + "\n")
        return
    where = f"the project {context.folder.name}" if context.project else "this machine"
    write(f"hackkit {VERSION} looked at {where}", style="bold")
    with contextlib.suppress(OSError):  # the folder that we are in may be gone
        if context.project and context.folder != Path.cwd():
            there = line(["cd", str(context.folder)])
            write(f"Type the commands below there: {there}", style="dim")
    for category, heading in _HEADINGS.items():
        results = [result for result in report.results if result.category is category]
        if results:
            write(f"\n{heading}", style="bold")
            _show_results(results, verbose=verbose)
    _show_summary(report)


def _show_results(results: Sequence[Result], *, verbose: bool) -> None:
    quiet = [r for r in results if r.finding.status is Status.SKIP and not verbose]
    for result in results:
        if result not in quiet:
            _show_result(result, verbose=verbose)
    if quiet:
        # One line for all that was not looked at: the screen is for what was.
        _line(Status.SKIP, "not looked at", ", ".join(result.title for result in quiet))


def _show_result(result: Result, *, verbose: bool) -> None:
    finding = result.finding
    _line(finding.status, result.title, finding.message)
    indent = " " * _indent(_console())
    for detail in finding.details if verbose else ():
        write(f"{indent}{detail}", style="dim")
    if verbose:
        write(f"{indent}{result.id}, {result.seconds:.2f} s", style="dim")
    if finding.fix:
        write(f"{indent}{_arrow()} {finding.fix}", style="cyan")


def _line(status: Status, title: str, message: str) -> None:
    """Write sign, title and message: in columns, or below each other on a narrow terminal."""
    from rich.text import Text  # noqa: PLC0415 - `new` and `--help` do without

    console = _console()
    shade = "dim" if status is Status.SKIP else ""
    head = Text.assemble("  ", (_sign(status), _SIGNS[status][2]), " ")
    indent = _indent(console)
    lines = Text(message, shade).wrap(console, max(console.width - indent, 1))
    for each in lines:
        each.rstrip()
    if console.width < _NARROW:
        console.print(head.append(title, shade), soft_wrap=True)
    else:
        first = lines.pop(0) if lines else Text()
        console.print(head.append(f"{title:{_TITLE}} ", shade).append(first), soft_wrap=True)
    for each in lines:
        console.print(Text(" " * indent).append(each), soft_wrap=True)


def _indent(console: "Console") -> int:
    """Return the column where messages begin."""
    return 4 if console.width < _NARROW else _TITLE + 5


def _show_summary(report: Report) -> None:
    words = {
        Status.FAIL: "failed",
        Status.WARN: "warning" if report.count(Status.WARN) == 1 else "warnings",
        Status.OK: "ok",
        Status.SKIP: "not looked at",
    }
    counts = {status: report.count(status) for status in words if report.count(status)}
    text = ", ".join(f"{count} {words[status]}" for status, count in counts.items())
    worst = _SIGNS[next(iter(counts))][2] if counts else ""
    _console().print(f"\n{text or 'There was nothing to look at'}.", style=worst)
    if report.problems:
        first = report.problems[0]
        _console().print(f"First: {first.title}: {first.finding.message}")
        write(f"  {_arrow()} {first.finding.fix}", style="cyan")


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
    return sign if _can_show(sign, stderr=stderr) else plain


def _arrow() -> str:
    return "→" if _can_show("→") else "->"


def _can_show(sign: str, *, stderr: bool = False) -> bool:
    stream = sys.stderr if stderr else sys.stdout
    encoding = getattr(stream, "encoding", None) or "ascii"  # it may be closed
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def entry(name: str, text: str, indent: int = 2) -> None:
    """Show a name and its line: side by side, or below each other on a narrow terminal."""
    from rich.padding import Padding  # noqa: PLC0415 - `new` and `--help` do without
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console, label, words = _console(), Text(name, "cyan"), Text(text)
    if console.width < _NARROW:
        console.print(Padding(label, (0, 0, 0, indent), expand=False))
        console.print(Padding(words, (0, 0, 0, indent + 2), expand=False))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=23 - indent)
    grid.add_column()
    grid.add_row(label, words)
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))


def write(text: str, style: str = "", *, stderr: bool = False) -> None:
    """Write one line as it is: never wrapped, so that a command can be copied."""
    _console(stderr=stderr).print(text, style=style, soft_wrap=True)


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - `--help` does without

    # Names and paths are the user's: nothing in them is markup.
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
