"""Lines, questions, errors and JSON: what all screens are made of."""

import json
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hackkit.errors import HackkitError

NARROW = 60  # columns; on a narrower terminal, parts are below each other


def is_interactive() -> bool:
    """Return whether a person can answer a question."""
    return bool(sys.stdin and sys.stdin.isatty())


def say(text: str) -> None:
    """Show one line of progress."""
    write(text, style="dim", stderr=True)


def say_and_go(action: str) -> bool:
    """Show what hackkit does now, and confirm it."""
    say(f"hackkit will {action}.")
    return True


def confirm(action: str) -> bool:
    """Ask whether hackkit may do this."""
    return typer.confirm(f"hackkit will {action}. Do it?", default=True, err=True)


def confirm_loss(action: str) -> bool:
    """Ask whether hackkit may do what cannot be undone: Enter alone means no."""
    return typer.confirm(f"hackkit will {action}. Do it?", default=False, err=True)


def show_error(error: "HackkitError", *, as_json: bool) -> None:
    """Show what happened, then what to type: to people, and to a script that waits for JSON."""
    if as_json:
        print_json({"error": {"problem": error.problem, "fix": error.fix}})
    write(f"Error: {error.problem}", style="bold red", stderr=True)
    if error.fix:
        write(f"Fix: {error.fix}", stderr=True)


def print_json(document: object) -> None:
    """Print one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def entry(name: str, text: str, indent: int = 2) -> None:
    """Show a name and its line: side by side, or below each other on a narrow terminal."""
    from rich.padding import Padding  # noqa: PLC0415 - `new` and `--help` do without
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    console, label, words = terminal(), Text(name, "cyan"), Text(text)
    if console.width < NARROW:
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
    terminal(stderr=stderr).print(text, style=style, soft_wrap=True)


def arrow() -> str:
    """Return the arrow in front of a fix, in what the terminal can show."""
    return "→" if can_show("→") else "->"


def can_show(sign: str, *, stderr: bool = False) -> bool:
    """Return whether the terminal's encoding has these characters."""
    stream = sys.stderr if stderr else sys.stdout
    encoding = getattr(stream, "encoding", None) or "ascii"  # it may be closed
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def terminal(*, stderr: bool = False) -> "Console":
    """Return Rich's console on stdout or stderr, as they are now."""
    from rich.console import Console  # noqa: PLC0415 - `--help` does without

    # Names and paths are the user's: nothing in them is markup.
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
