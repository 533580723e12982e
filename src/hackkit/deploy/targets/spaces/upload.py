"""Puts a project into a Space, and waits until it runs."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from hackkit.deploy import outgoing
from hackkit.deploy.explain import app_log, install_log
from hackkit.deploy.manifest import Live, Manifest, Step, Watch
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.services.hub import MARK, Hub, Space, State
from hackkit.system.command_line import hackkit

_UNUSED = {".gitattributes", "README.md"}  # what the hub itself puts into a new Space
_LOG_LINES = 15
_LOST = 5  # looks in a row that may fail: a network is not perfect for minutes
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

BUSY = {
    "BUILDING": "building",
    "RUNNING_BUILDING": "building, while the earlier version runs",
    "APP_STARTING": "starting",
    "RUNNING_APP_STARTING": "starting, while the earlier version runs",
}
ASLEEP = {"PAUSED": "paused", "SLEEPING": "asleep", "STOPPED": "stopped"}
FAILED = {
    "BUILD_ERROR": "could not be built",
    "RUNTIME_ERROR": "stopped",
    "CONFIG_ERROR": "has a wrong header in README.md",
    "NO_APP_FILE": "has no app file",
    "DELETING": "is being deleted",
}


@dataclass(frozen=True)
class Pace:
    """How a Space is waited for, in seconds.

    every: between two looks. grace: so long an earlier version's state is not believed. limit: at
    most.
    """

    every: float = 2.0
    grace: float = 45.0
    limit: float = 1200.0


@dataclass(frozen=True)
class Wish:
    """What is to be in which Space: "owner/name", the hardware ("": as it is), for everybody."""

    name: str
    manifest: Manifest
    hardware: str = ""
    public: bool = False


@dataclass
class _Steps:
    watch: Watch
    done: list[Step] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, words: str) -> Iterator[list[str]]:
        """Time the block as a step; what is appended to the list is what it came to."""
        self.watch(words)
        came, began = list[str](), time.monotonic()
        yield came
        self.done.append(Step(words, time.monotonic() - began, ", ".join(came)))


def deliver(hub: Hub, wish: Wish, context: Context, watch: Watch, pace: Pace | None = None) -> Live:
    """Make or update a Space, and wait until it runs; nothing happens twice.

    Raises HackkitError when the hub refuses, or when the app does not come up: then with the last
    lines of the right log.
    """
    steps, name = _Steps(watch), wish.name
    with steps.step("Prepare the Space") as came:
        space = _prepared(hub, wish, came)
        moved = _settle(hub, wish, came)
    with steps.step("Send the files") as came:
        commit = _send(hub, space, wish)
        came.append(commit[:7] if commit != space.commit else "nothing has changed")
    if commit == space.commit:
        moved = _wake(hub, name) or moved
    with steps.step("Wait until it runs") as came:
        fresh = commit if commit != space.commit and not moved else ""
        _Waiting(hub, name, watch, pace or Pace()).until_it_runs(
            fresh, context, changed=moved or commit != space.commit
        )
        came.append("running")
    seen = hub.find(name) or space
    return Live(
        address=seen.address,
        dashboard=seen.page,
        token=hub.token if seen.private else "",
        steps=tuple(steps.done),
    )


def _prepared(hub: Hub, wish: Wish, came: list[str]) -> Space:
    """Return the Space, made if need be."""
    found = hub.find(wish.name)
    if found is None:
        hub.create(wish.name, private=not wish.public, hardware=wish.hardware)
        came.append("made")
        return hub.find(wish.name) or Space(wish.name, private=not wish.public)
    ours = MARK in found.files or set(found.files) <= _UNUSED
    if not ours and MARK in {each.path for each in wish.manifest.files}:
        raise HackkitError(
            f"{wish.name} exists already, and what is in it is not from hackkit. Nothing was sent.",
            fix=hackkit("deploy", "spaces", "--space", "ANOTHER-NAME"),
        )
    return found


def _settle(hub: Hub, wish: Wish, came: list[str]) -> bool:
    """Bring the settings up to date that were asked for; tell whether the app starts anew."""
    changed = hub.set_secrets(wish.name, wish.manifest.secrets)
    changed += hub.set_variables(wish.name, wish.manifest.variables)
    if changed:
        came.append("1 variable set" if changed == 1 else f"{changed} variables set")
    if wish.public and (found := hub.find(wish.name)) and found.private:
        hub.publish(wish.name)
        came.append("public now")
    moves = bool(wish.hardware) and hub.state(wish.name).hardware != wish.hardware
    if moves:
        hub.move(wish.name, wish.hardware)
        came.append(f"on {wish.hardware}")
    return bool(changed) or moves


def _send(hub: Hub, space: Space, wish: Wish) -> str:
    with outgoing.staged(wish.manifest.files) as folder:
        return hub.send(space, folder)


def _wake(hub: Hub, name: str) -> bool:
    """Start a Space that sleeps or has failed: nothing new would do it."""
    if hub.state(name).stage in {*ASLEEP, *FAILED}:
        hub.restart(name)
        return True
    return False


@dataclass(frozen=True)
class _Waiting:
    hub: Hub
    name: str
    watch: Watch
    pace: Pace

    def until_it_runs(self, commit: str, context: Context, *, changed: bool) -> None:
        """Return when it runs; raise HackkitError when it fails, or takes too long.

        commit: what it must run, where a state that names it is enough. changed: otherwise a state
        is believed only once the Space was seen to be busy, or after a while.
        """
        began, believed = time.monotonic(), not changed
        while (waited := time.monotonic() - began) < self.pace.limit:
            state = self._look()
            self.watch(words(state))
            if state.stage in BUSY:
                believed = True
            elif believed or waited > self.pace.grace or (commit and state.commit == commit):
                if state.stage == "RUNNING":
                    return
                raise failure(self.hub, self.name, state, context)
            time.sleep(self.pace.every)
        raise HackkitError(
            f"{self.name} does not run after {self.pace.limit / 60:.0f} minutes.",
            fix=hackkit("deploy", "spaces", "--logs"),
        )

    def _look(self) -> State:
        for _ in range(_LOST):
            with contextlib.suppress(HackkitError):
                return self.hub.state(self.name)
            time.sleep(self.pace.every)
        return self.hub.state(self.name)


def words(state: State) -> str:
    """Say what a Space does."""
    known = {**BUSY, **ASLEEP, **FAILED, "RUNNING": "running"}
    return f"The Space {_is(known.get(state.stage, state.stage.lower()))}"


def _is(stage: str) -> str:
    return stage if stage in FAILED.values() else f"is {stage}"


def failure(hub: Hub, name: str, state: State, context: Context) -> HackkitError:
    """Say why a Space does not run: the likely cause, and the last lines of the right log."""
    build = state.stage == "BUILD_ERROR"
    said = ""
    if build or state.stage == "RUNTIME_ERROR":
        with contextlib.suppress(HackkitError):  # the failure is worth more than its log
            said = tidy(hub.log(name, build=build))
    cause = _cause(said, state, context)
    what = FAILED.get(state.stage) or f"is {ASLEEP.get(state.stage, state.stage.lower())}"
    lines = [f"{name} {what}. {cause.problem}".rstrip()]
    if tail := said.splitlines()[-_LOG_LINES:]:
        which = "build" if build else "app"
        lines += [f"The last lines of the {which}'s log:", *(f"  {each}" for each in tail)]
    return HackkitError("\n".join(lines), fix=cause.fix)


def _cause(said: str, state: State, context: Context) -> HackkitError:
    complaint = state.complaint.lower()
    if "memory" in complaint:
        fix = hackkit("deploy", "spaces", "--hardware", "cpu-upgrade")
        return HackkitError("The app needs more memory than its hardware has.", fix=fix)
    if "not healthy" in complaint or "timed out" in complaint:
        return HackkitError(
            "Nothing answered on port 7860.",
            fix="edit app.py: pass server_name=SETTINGS.host to launch(), and no port of your own",
        )
    known = install_log.trouble(said) or app_log.cause(said, context)
    if known:
        return known
    header = state.stage in {"CONFIG_ERROR", "NO_APP_FILE"}
    fix = "edit README.md: its header" if header else hackkit("deploy", "spaces", "--rehearse")
    return HackkitError(state.complaint, fix=fix)


def tidy(log: str) -> str:
    """Return a log as a screen would show it in the end: no colours, no bars overwritten."""
    lines = (each.rstrip().rsplit("\r", 1)[-1] for each in _ESCAPES.sub("", log).split("\n"))
    return "\n".join(line for line in lines if line)
