"""Shows what deploy plans, rehearses and ships: for people, or as one JSON document."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hackkit.deploy.manifest import Condition, Manifest, Published, Rehearsed, Step
from hackkit.deploy.publish import Outcome, Voice
from hackkit.deploy.targets import Target
from hackkit.errors import WrongUseError
from hackkit.screens import console
from hackkit.system.command_line import hackkit

_MB = 1_000_000
_MOST_FILES = 15  # lines for files on the screen; --json has them all


def show_targets(targets: Sequence[Target], *, as_json: bool) -> None:
    """Show where a project can be put."""
    if as_json:
        keys = ("name", "title", "summary", "options")
        console.print_json([{key: getattr(each, key) for key in keys} for each in targets])
        return
    for each in targets:
        console.entry(each.name, each.summary)


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Show what came of a deployment, a rehearsal, or a question about one."""
    if as_json:
        console.print_json(_document(outcome))
    elif isinstance(outcome, Manifest):
        _show_manifest(outcome)
    elif isinstance(outcome, Rehearsed):
        _show_steps(outcome.steps)
        console.write("It works here as it will there.", style="bold green")
        console.write(f"Full log: {outcome.log}", style="dim")
    elif isinstance(outcome, Published):
        _show_published(outcome)
    elif isinstance(outcome, Condition):
        words = outcome.words[:1].upper() + outcome.words[1:]
        console.write(words, style="green" if outcome.well else "yellow")
        if outcome.address:
            console.write(outcome.address)
    else:
        console.write(outcome.words)


def _show_manifest(manifest: Manifest) -> None:
    count = f"{len(manifest.files)} files, {manifest.size / _MB:.2f} MB"
    console.write(f"What `hackkit deploy {manifest.target}` would do", style="bold")
    _list("It will", manifest.changes)
    _list("It needs", manifest.needs)
    _list("Written into the project", [each.path for each in manifest.writes])
    _list("Secrets set there", sorted(manifest.secrets))
    _list("Variables set there", [f"{key}={value}" for key, value in manifest.variables.items()])
    largest = sorted(manifest.files, key=lambda each: -each.size)[:_MOST_FILES]
    shown = [f"{each.size / 1000:9.1f} kB  {each.path}" for each in largest]
    more = len(manifest.files) - len(shown)
    _list(
        f"Files that leave: {count}",
        shown + ([f"and {more} smaller ones (--json lists them)"] if more else []),
    )
    _list("Note", manifest.notes)
    for each in manifest.objections:
        console.write(f"\nStops it: {each.words}", style="bold red")
        console.write(f"Fix: {each.fix}")
    console.write("\nNothing was touched.", style="dim")


def _list(heading: str, lines: Sequence[str]) -> None:
    if lines:
        console.write(f"\n{heading}", style="bold")
    for line in lines:
        console.write(f"  {line}")


def _show_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        console.write(f"  {step.seconds:6.1f} s  {step.name}  {step.outcome}".rstrip())


def _show_published(published: Published) -> None:
    live = published.live
    _show_steps(live.steps)
    if live.commands:
        _list("Left to type", live.commands)
    if not live.address:
        return
    if published.doubt:
        console.write(f"It is up, but did not answer: {published.doubt}", style="yellow")
        console.write(f"Fix: {published.fix}")
    elif published.asked:
        console.write(f"Asked: {published.asked}\nIt answered: {published.answer[:200]}")
    console.write(f"\n{live.address}", style="bold green")
    if live.dashboard:
        console.write(f"Manage it at {live.dashboard}", style="dim")
    show_code(live.address)


def _document(outcome: Outcome) -> Mapping[str, Any]:
    if isinstance(outcome, Manifest):
        return {
            "target": outcome.target,
            "files": [{"path": each.path, "size": each.size} for each in outcome.files],
            "writes": [each.path for each in outcome.writes],
            "secrets": sorted(outcome.secrets),
            "variables": dict(outcome.variables),
            "changes": outcome.changes,
            "needs": outcome.needs,
            "notes": outcome.notes,
            "objections": [asdict(each) for each in outcome.objections],
        }
    if isinstance(outcome, Rehearsed):
        return {"steps": [asdict(each) for each in outcome.steps], "log": str(outcome.log)}
    if isinstance(outcome, Published):
        return {
            "address": outcome.live.address,
            "dashboard": outcome.live.dashboard,
            "commands": outcome.live.commands,
            "steps": [asdict(each) for each in outcome.live.steps],
            "asked": outcome.asked,
            "answer": outcome.answer,
            "doubt": outcome.doubt,
            "fix": outcome.fix,
        }
    return asdict(outcome)


def voice(*, yes: bool) -> Voice:
    """Return how deploy speaks with its user; `yes` agrees to everything, and says to what.

    Without a terminal, being asked raises WrongUseError.
    """
    if yes:
        return Voice(console.say_and_go, console.say_and_go, console.say, waiting)
    if console.is_interactive():
        return Voice(console.confirm, console.confirm_loss, console.say, waiting)
    return Voice(_nobody, _nobody, console.say, waiting)


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

    terminal = console.terminal(stderr=True)
    if terminal.is_terminal:
        with terminal.status("") as status:
            yield lambda words: status.update(Text(words))
        return
    last = ""

    def show(words: str) -> None:
        nonlocal last
        if words != last:
            console.say(words)
        last = words

    yield show


def show_code(address: str) -> None:
    """Show an address as a QR code, on a terminal that can draw one."""
    terminal = console.terminal()
    if not terminal.is_terminal or not console.can_show("▀▄█"):
        return
    import segno  # noqa: PLC0415 - only a deployment shows a code

    code = segno.make(address, micro=False)
    if terminal.width > code.symbol_size()[0]:
        code.terminal(sys.stdout, compact=True)
