"""Asks the questions of `hackkit new`, and shows what was made."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from hackkit.screens.console import entry, print_json, write

if TYPE_CHECKING:
    from hackkit.new.plan import Project
    from hackkit.new.questions import Question
    from hackkit.project.catalog import Catalog, Slot


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
    if project.next_commands:
        write("\nNext:")
    for each in project.next_commands:
        write(f"  {each}", style="bold")
    if project.env_file:
        write(f"\nKeys go into {project.env_file}.", style="dim")


def show_catalog(catalog: "Catalog", *, as_json: bool) -> None:
    """Show what `hackkit new` can make: for people, or as one JSON document."""
    if as_json:
        print_json(_document(catalog))
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
    return f"default: {slot.default}"


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
