"""Shows results and asks questions: the only module that knows Rich."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hackkit.catalog import Catalog, Slot
    from hackkit.errors import HackkitError
    from hackkit.interview import Question
    from hackkit.project import Project

_NARROW = 60  # columns


def is_interactive() -> bool:
    """Tell whether somebody can answer a question."""
    return bool(sys.stdin and sys.stdin.isatty())


def say(text: str) -> None:
    """Show one line of progress."""
    _write(text, style="dim", stderr=True)


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
        _write(f"Note: {notice}", style="yellow", stderr=True)
    _write(f"{project.directory} is ready.", style="bold green")
    if starting:
        _write("Starting it. Ctrl-C stops it.")
        return
    if project.steps:
        _write("\nNext:")
    for step in project.steps:
        _write(f"  {step}", style="bold")
    if project.env_file:
        _write(f"\nKeys go into {project.env_file}.", style="dim")


def show_error(error: "HackkitError") -> None:
    """Show what happened, then what to type."""
    _write(f"Error: {error.problem}", style="bold red", stderr=True)
    if error.fix:
        _write(f"Fix: {error.fix}", stderr=True)


def show_catalog(catalog: "Catalog", *, as_json: bool) -> None:
    """Show what `hackkit new` can make: for people, or as one JSON document."""
    if as_json:
        sys.stdout.write(json.dumps(_document(catalog), indent=2, ensure_ascii=False) + "\n")
        return
    _write("Templates", style="bold")
    for template in catalog.templates:
        _entry(template.name, template.summary)
        for slot in template.slots:
            _entry(f"--set {slot.name}=...", _default(slot), indent=4)
            for option in slot.options:
                _entry(option.name, option.summary, indent=6)
    if catalog.examples:
        _write("\nExamples", style="bold")
    for example in catalog.examples:
        _entry(example.name, f"{example.summary} ({example.template})")


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


def _entry(name: str, text: str, indent: int = 2) -> None:
    """Show a name and its line: side by side, or below each other on a narrow terminal."""
    from rich.padding import Padding  # noqa: PLC0415 - `new` and `--help` do without
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console, label, line = _console(), Text(name, "cyan"), Text(text)
    if console.width < _NARROW:
        console.print(Padding(label, (0, 0, 0, indent), expand=False))
        console.print(Padding(line, (0, 0, 0, indent + 2), expand=False))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=22 - indent)
    grid.add_column()
    grid.add_row(label, line)
    console.print(Padding(grid, (0, 0, 0, indent), expand=False))


def _write(text: str, style: str = "", *, stderr: bool = False) -> None:
    """Write one line as it is: never wrapped, so that a command can be copied."""
    _console(stderr=stderr).print(text, style=style, soft_wrap=True)


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console  # noqa: PLC0415 - `--help` does without

    # Names and paths are the user's: nothing in them is markup.
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
