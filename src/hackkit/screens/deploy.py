"""Shows the results of `hackkit deploy`: for people, or as one JSON document."""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hackkit.deploy.manifest import DeploymentStatus, Manifest, Published, RehearsalResult, Step
from hackkit.deploy.publish import Outcome, Prompter
from hackkit.deploy.targets import Target
from hackkit.errors import WrongUseError
from hackkit.screens import console
from hackkit.system.command_line import hackkit
from hackkit.system.progress import Progress

_MB = 1_000_000
_MOST_FILES = 15  # files on the screen; --json lists all of them


def show_targets(targets: Sequence[Target], *, as_json: bool) -> None:
    """Show the targets that a project can be deployed to."""
    if as_json:
        keys = ("name", "title", "summary", "options")
        console.print_json([{key: getattr(each, key) for key in keys} for each in targets])
        return
    for each in targets:
        console.entry(each.name, each.summary)


def show_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """Show the result of one mode of deploy."""
    if as_json:
        console.print_json(_document(outcome))
    elif isinstance(outcome, Manifest):
        _show_manifest(outcome)
    elif isinstance(outcome, RehearsalResult):
        _show_steps(outcome.steps)
        console.write(
            "Rehearsal passed: it runs here as it will on the platform.", style="bold green"
        )
        console.write(f"Full log: {outcome.log}", style="dim")
    elif isinstance(outcome, Published):
        _show_published(outcome)
    elif isinstance(outcome, DeploymentStatus):
        text = outcome.text[:1].upper() + outcome.text[1:]
        console.write(text, style="green" if outcome.ok else "yellow")
        if outcome.address:
            console.write(outcome.address)
    else:
        console.write(outcome.text)


def _show_manifest(manifest: Manifest) -> None:
    count = f"{len(manifest.files)} files, {manifest.size / _MB:.2f} MB"
    console.write(f"What `{hackkit('deploy', manifest.target)}` would do", style="bold")
    _list("It will", manifest.changes)
    _list("It needs", manifest.needs)
    _list("Written into the project", [each.path for each in manifest.writes])
    _list("Secrets to set", sorted(manifest.secrets))
    _list("Variables to set", [f"{key}={value}" for key, value in manifest.variables.items()])
    largest = sorted(manifest.files, key=lambda each: -each.size)[:_MOST_FILES]
    shown = [f"{each.size / 1000:9.1f} kB  {each.path}" for each in largest]
    more = len(manifest.files) - len(shown)
    _list(
        f"Files to send: {count}",
        shown + ([f"and {more} smaller ones (--json lists them)"] if more else []),
    )
    _list("Note", manifest.notes)
    for each in manifest.problems:
        console.write(f"\nProblem: {each.problem}", style="bold red")
        console.write(f"Fix: {each.fix}")
    console.write("\nNothing was changed.", style="dim")


def _list(heading: str, lines: Sequence[str]) -> None:
    if lines:
        console.write(f"\n{heading}", style="bold")
    for line in lines:
        console.write(f"  {line}")


def _show_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        console.write(f"  {step.seconds:6.1f} s  {step.name}  {step.outcome}".rstrip())


def _show_published(published: Published) -> None:
    deployment = published.deployment
    _show_steps(deployment.steps)
    _list("Commands to run yourself", deployment.commands)
    if not deployment.address:
        return
    if why := published.explanation:
        console.write(f"It is up, but did not answer: {why.problem}", style="yellow")
        console.write(f"Fix: {why.fix}")
    elif published.question:
        note = f" ({published.note})" if published.note else ""
        console.write(f"Question: {published.question}{note}\nAnswer: {published.answer[:200]}")
    console.write(f"\n{deployment.address}", style="bold green")
    if deployment.dashboard:
        console.write(f"Dashboard: {deployment.dashboard}", style="dim")
    show_code(deployment.address)


def _document(outcome: Outcome) -> Mapping[str, Any]:
    """Return the JSON document; its keys are stable, also where our own names change."""
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
            "objections": [{"words": each.problem, "fix": each.fix} for each in outcome.problems],
        }
    if isinstance(outcome, RehearsalResult):
        return {"steps": [asdict(each) for each in outcome.steps], "log": str(outcome.log)}
    if isinstance(outcome, Published):
        return _published_document(outcome)
    address = {"address": outcome.address} if isinstance(outcome, DeploymentStatus) else {}
    return {"words": outcome.text, **address, "well": outcome.ok}


def _published_document(published: Published) -> Mapping[str, Any]:
    deployment, problem = published.deployment, published.explanation
    return {
        "address": deployment.address,
        "dashboard": deployment.dashboard,
        "commands": deployment.commands,
        "steps": [asdict(each) for each in deployment.steps],
        "asked": published.question,
        "answer": published.answer,
        "doubt": problem.problem if problem else "",
        "fix": problem.fix if problem else "",
    }


def prompter(*, yes: bool) -> Prompter:
    """Return how deploy talks to the user; `yes` confirms everything, and shows what.

    Without a terminal, a question raises WrongUseError.
    """
    if yes:
        return Prompter(console.say_and_go, console.say_and_go, console.say, waiting)
    if console.is_interactive():
        return Prompter(console.confirm, console.confirm_loss, console.say, waiting)
    return Prompter(_refuse, _refuse, console.say, waiting)


def _refuse(action: str) -> bool:
    """Raise WrongUseError with the question that cannot be asked."""
    raise WrongUseError(
        f"hackkit would {action}. Without a terminal it needs --yes for that.",
        fix=hackkit(*sys.argv[1:], "--yes"),
    )


@contextlib.contextmanager
def waiting() -> Iterator[Progress]:
    """Show what happens now: on a terminal in one place, otherwise line by line."""
    from rich.text import Text  # noqa: PLC0415 - `--help` does without

    terminal = console.terminal(stderr=True)
    if terminal.is_terminal:
        with terminal.status("") as status:
            yield lambda text: status.update(Text(text))
        return
    last = ""

    def show(text: str) -> None:
        nonlocal last
        if text != last:
            console.say(text)
        last = text

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
