"""Uploads a project to a Space, and waits until it runs."""

import contextlib
import re
import time
from dataclasses import dataclass

from hackkit.deploy import outgoing
from hackkit.deploy.explain import app_log, install_log
from hackkit.deploy.manifest import Deployment, Manifest, Progress
from hackkit.deploy.steps import Steps
from hackkit.errors import HackkitError, Problem
from hackkit.project.context import Context
from hackkit.project.files import ANSWERS
from hackkit.project.layout import PORT
from hackkit.services.hub import Hub, Space, SpaceState
from hackkit.system.command_line import hackkit

_INITIAL_FILES = {".gitattributes", "README.md"}  # the hub's own files in a new Space
_LOG_LINES = 15
_MOST_FAILURES = 5  # failed requests in a row: a network may fail for a moment
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
class Polling:
    """How to wait for a Space, in seconds.

    interval: between two requests. grace: how long the state may still be the earlier version's.
    limit: the longest wait.
    """

    interval: float = 2.0
    grace: float = 45.0
    limit: float = 1200.0


@dataclass(frozen=True)
class Upload:
    """What goes to which Space: "owner/name". hardware: "" keeps the current one."""

    name: str
    manifest: Manifest
    hardware: str = ""
    public: bool = False


def upload_and_wait(
    hub: Hub, planned: Upload, context: Context, progress: Progress, polling: Polling | None = None
) -> Deployment:
    """Create or update a Space, and wait until it runs; a repetition changes nothing.

    Raises HackkitError when the hub refuses, or when the app does not start: then with the last
    lines of its log.
    """
    steps, name = Steps(progress), planned.name
    with steps.step("Prepare the Space") as outcome:
        space = _find_or_create(hub, planned, outcome)
        restarts = _apply_settings(hub, planned, outcome)
    with steps.step("Send the files") as outcome:
        commit = _send(hub, space, planned)
        outcome.append(commit[:7] if commit != space.commit else "nothing has changed")
    if commit == space.commit:
        restarts = _restart_if_down(hub, name) or restarts
    with steps.step("Wait until it runs") as outcome:
        fresh = commit if commit != space.commit and not restarts else ""
        _Wait(hub, name, progress, polling or Polling()).until_it_runs(
            fresh, context, changed=restarts or commit != space.commit
        )
        outcome.append("running")
    final = hub.find(name) or space
    return Deployment(
        address=final.address,
        dashboard=final.page,
        token=hub.token if final.private else "",
        steps=tuple(steps.done),
    )


def _find_or_create(hub: Hub, planned: Upload, outcome: list[str]) -> Space:
    found = hub.find(planned.name)
    if found is None:
        hub.create(planned.name, private=not planned.public, hardware=planned.hardware)
        outcome.append("created")
        return hub.find(planned.name) or Space(planned.name, private=not planned.public)
    ours = ANSWERS in found.files or set(found.files) <= _INITIAL_FILES
    if not ours and ANSWERS in {each.path for each in planned.manifest.files}:
        raise HackkitError(
            f"{planned.name} exists, but was not created by hackkit. Nothing was sent.",
            fix=hackkit("deploy", "spaces", "--space", "ANOTHER-NAME"),
        )
    return found


def _apply_settings(hub: Hub, planned: Upload, outcome: list[str]) -> bool:
    """Update the settings that were asked for; return whether that restarts the app."""
    changed = hub.set_secrets(planned.name, planned.manifest.secrets)
    changed += hub.set_variables(planned.name, planned.manifest.variables)
    if changed:
        outcome.append("1 variable set" if changed == 1 else f"{changed} variables set")
    if planned.public and (found := hub.find(planned.name)) and found.private:
        hub.make_public(planned.name)
        outcome.append("public now")
    moves = bool(planned.hardware) and hub.state(planned.name).hardware != planned.hardware
    if moves:
        hub.set_hardware(planned.name, planned.hardware)
        outcome.append(f"on {planned.hardware}")
    return bool(changed) or moves


def _send(hub: Hub, space: Space, planned: Upload) -> str:
    with outgoing.copied(planned.manifest.files) as folder:
        return hub.commit_folder(space, folder)


def _restart_if_down(hub: Hub, name: str) -> bool:
    """Restart a Space that sleeps or has failed: without a new commit it would stay so."""
    if hub.state(name).stage in {*ASLEEP, *FAILED}:
        hub.restart(name)
        return True
    return False


@dataclass(frozen=True)
class _Wait:
    hub: Hub
    name: str
    progress: Progress
    polling: Polling

    def until_it_runs(self, commit: str, context: Context, *, changed: bool) -> None:
        """Return when the Space runs; raise HackkitError when it fails, or after the limit.

        commit: a state with this commit counts immediately. changed: other states count only after
        the Space was busy once, or after the grace period.
        """
        started, trusted = time.monotonic(), not changed
        while (waited := time.monotonic() - started) < self.polling.limit:
            state = self._state()
            self.progress(describe(state))
            if state.stage in BUSY:
                trusted = True
            elif trusted or waited > self.polling.grace or (commit and state.commit == commit):
                if state.stage == "RUNNING":
                    return
                raise why_not_running(self.hub, self.name, state, context)
            time.sleep(self.polling.interval)
        raise HackkitError(
            f"{self.name} does not run after {self.polling.limit / 60:.0f} minutes.",
            fix=hackkit("deploy", "spaces", "--logs"),
        )

    def _state(self) -> SpaceState:
        for _ in range(_MOST_FAILURES):
            with contextlib.suppress(HackkitError):
                return self.hub.state(self.name)
            time.sleep(self.polling.interval)
        return self.hub.state(self.name)


def describe(state: SpaceState) -> str:
    """Return a Space's state as a sentence."""
    known = {**BUSY, **ASLEEP, **FAILED, "RUNNING": "running"}
    text = known.get(state.stage, state.stage.lower())
    return f"The Space {text}" if text in FAILED.values() else f"The Space is {text}"


def why_not_running(hub: Hub, name: str, state: SpaceState, context: Context) -> HackkitError:
    """Return why a Space does not run: the likely cause, and the last lines of its log."""
    build = state.stage == "BUILD_ERROR"
    log = ""
    if build or state.stage == "RUNTIME_ERROR":
        with contextlib.suppress(HackkitError):  # the failure matters more than its log
            log = clean_log(hub.log(name, build=build))
    cause = _cause(log, state, context)
    what = FAILED.get(state.stage) or f"is {ASLEEP.get(state.stage, state.stage.lower())}"
    lines = [f"{name} {what}. {cause.problem}".rstrip()]
    if tail := log.splitlines()[-_LOG_LINES:]:
        which = "build" if build else "app"
        lines += [f"The last lines of the {which}'s log:", *(f"  {each}" for each in tail)]
    return HackkitError("\n".join(lines), fix=cause.fix)


def _cause(log: str, state: SpaceState, context: Context) -> Problem:
    error = state.error.lower()
    if "memory" in error:
        fix = hackkit("deploy", "spaces", "--hardware", "cpu-upgrade")
        return Problem("The app ran out of memory on this hardware.", fix=fix)
    if "not healthy" in error or "timed out" in error:
        return Problem(
            f"The app did not answer on port {PORT}.",
            fix="edit app.py: let it listen on SETTINGS.host, and no port of your own",
        )
    known = install_log.explain(log) or app_log.explain(log, context)
    if known:
        return known
    header = state.stage in {"CONFIG_ERROR", "NO_APP_FILE"}
    fix = "edit README.md: its header" if header else hackkit("deploy", "spaces", "--rehearse")
    return Problem(state.error, fix=fix)


def clean_log(log: str) -> str:
    """Return a log as a terminal shows it in the end: no colours, progress bars overwritten."""
    lines = (each.rstrip().rsplit("\r", 1)[-1] for each in _ESCAPES.sub("", log).split("\n"))
    return "\n".join(line for line in lines if line)
