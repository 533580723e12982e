"""Puts a project in front of the judges: publish() checks, agrees, ships, asks, remembers."""

import difflib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hackkit.deploy import smoke_test
from hackkit.deploy.manifest import (
    Condition,
    Manifest,
    Options,
    Order,
    Outgoing,
    Published,
    Rehearsed,
    Told,
    Watch,
)
from hackkit.deploy.targets import Target
from hackkit.errors import HackkitError, WrongUseError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.project.leaks import scrub
from hackkit.system.command_line import hackkit

_MB = 1_000_000
_QUESTION = "What is this about?"  # where the app names no question of its own
_LINK = re.compile(r"(?m)^Live demo: .*$")
_TITLE = re.compile(r"(?m)^# .*$")


@dataclass(frozen=True)
class Voice:
    """How deploy speaks with its user.

    agree: is asked before anything leaves. risk: is asked before something is lost: Enter alone
    means no. tell: is told what was done. watch: shows what happens now, for as long as the block
    lasts.
    """

    agree: Callable[[str], bool]
    risk: Callable[[str], bool]
    tell: Callable[[str], None]
    watch: Callable[[], AbstractContextManager[Watch]]


Outcome = Manifest | Rehearsed | Condition | Told | Published


def carry_out(mode: str, target: Target, order: Order, voice: Voice) -> Outcome:
    """Do what the user wishes: "" ships; dry-run, rehearse, status, logs and down do not.

    Raises HackkitError when something stops it, WrongUseError for what the target cannot do.
    """
    _refuse_options(target, order.options)
    if mode == "dry-run":
        return target.plan(order)
    if mode == "rehearse":
        with voice.watch() as watch:
            return target.rehearse(order, _planned(target, order), watch)
    return _manage(mode, target, order, voice) if mode else publish(target, order, voice)


def _manage(mode: str, target: Target, order: Order, voice: Voice) -> Outcome:
    if mode == "status" and target.status:
        return target.status(order)
    if mode == "logs" and target.logs:
        return Told(scrub(target.logs(order), order.context.secrets))
    if mode == "down" and target.down:
        if not voice.risk(f"take the app away ({target.title})"):
            raise HackkitError("Nothing was taken away.")
        return Told(f"Taken away: {target.down(order)}.")
    raise WrongUseError(
        f"hackkit cannot do --{mode} for {target.title}.",
        fix=hackkit("deploy", target.name, "--dry-run"),
    )


def order_for(directory: Path, options: Options) -> Order:
    """Gather what a deployment needs to know; raise WrongUseError where there is no project."""
    if not directory.is_dir():
        raise WrongUseError(f"There is no folder {directory}.", fix=hackkit("deploy", "--help"))
    project = ProjectFiles.find(directory)
    if project is None:
        raise WrongUseError(
            f"{directory.resolve()} belongs to no hackkit project.",
            fix=hackkit("deploy", "TARGET", "PATH-OF-A-PROJECT"),
        )
    return Order(project, Context.here(project.folder), options)


def _refuse_options(target: Target, options: Options) -> None:
    for each in fields(Options):
        given = getattr(options, each.name)
        if given and each.name not in {"yes", *target.options}:
            takes = ", ".join(f"--{name}" for name in target.options) or "no options of its own"
            raise WrongUseError(
                f"--{each.name} is not an option of {target.name}, which takes {takes}.",
                fix=hackkit("deploy", target.name, "--dry-run"),
            )


def _planned(target: Target, order: Order) -> Manifest:
    """Return the manifest; raise HackkitError when something stops the deployment."""
    manifest = target.plan(order)
    if manifest.well:
        return manifest
    first, *others = manifest.objections
    more = "".join(f"\n{each.words} Fix: {each.fix}" for each in others)
    raise HackkitError(scrub(first.words + more, order.context.secrets), fix=first.fix)


def publish(target: Target, order: Order, voice: Voice) -> Published:
    """Ship a project and see it answer; running it again goes on from wherever it stopped.

    Raises HackkitError when something stops the deployment.
    """
    manifest = _planned(target, order)
    folder = order.project.folder
    absent = [each.path for each in manifest.writes if not (folder / each.path).exists()]
    count = f"send {len(manifest.files)} files ({manifest.size / _MB:.1f} MB)"
    if not voice.agree(
        "; ".join([*(f"write {path}" for path in absent), *manifest.changes, count])
    ):
        raise HackkitError("Nothing was sent.", fix=hackkit("deploy", target.name, "--dry-run"))
    if _write(order, manifest, voice):
        manifest = _planned(target, order)
    order = replace(order, options=replace(order.options, yes=True))  # now it is agreed to
    with voice.watch() as watch:
        shipped = target.ship(order, manifest, watch)
        published = _ask(Published(manifest, shipped), target, order, watch)
    if _is_for_all(published) and remember(folder, shipped.address):
        voice.tell("Its address was put into README.md.")
    return published


def _is_for_all(published: Published) -> bool:
    """Tell whether everybody can open what answers: only that belongs into a README."""
    return bool(published.live.address) and published.well and not published.live.token


def _write(order: Order, manifest: Manifest, voice: Voice) -> bool:
    """Write the files that the target needs; the team's own version stays unless it agrees."""
    wrote = False
    for each in manifest.writes:
        path = order.project.folder / each.path
        if path.is_file() and path.read_bytes() == each.read():
            continue
        if path.is_file():
            voice.tell(difference(path, each))
            if not voice.risk(f"overwrite your {each.path}"):
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.read())
        voice.tell(f"{each.path} was written: it is yours to edit and to commit.")
        wrote = True
    return wrote


def difference(path: Path, new: Outgoing) -> str:
    """Return the lines in which a file differs from what hackkit would write."""
    lines = difflib.unified_diff(
        path.read_text("utf-8", errors="replace").splitlines(),
        new.read().decode("utf-8", "replace").splitlines(),
        f"{new.path} (yours)",
        f"{new.path} (hackkit's)",
        lineterm="",
    )
    return "\n".join(lines)


def _ask(published: Published, target: Target, order: Order, watch: Watch) -> Published:
    shipped = published.live
    if not shipped.address:
        return published
    question = order.context.app().question or _QUESTION
    watch(f"Asking {shipped.address}: {question}")
    try:
        asked = smoke_test.ask(shipped.address, question, order.context.env, token=shipped.token)
    except HackkitError as error:
        fix = hackkit("deploy", target.name, "--logs" if target.logs else "--status")
        return replace(published, asked=question, doubt=error.problem, fix=fix)
    return replace(published, asked=question, answer=asked.text)


def remember(folder: Path, address: str) -> bool:
    """Put the address under the README's title, or in the place of an older one.

    Returns whether the file was changed: it is left alone where it has no title.
    """
    readme, link = folder / "README.md", f"Live demo: <{address}>"
    try:
        text = readme.read_bytes().decode("utf-8")
    except (OSError, UnicodeError):
        return False
    if _LINK.search(text):
        changed = _LINK.sub(lambda _: link, text, count=1)
    else:
        changed = _TITLE.sub(lambda title: f"{title[0]}\n\n{link}", text, count=1)
    if changed == text:
        return False
    readme.write_bytes(changed.encode())
    return True
