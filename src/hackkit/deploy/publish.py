"""Runs `hackkit deploy`: checks the manifest, asks the user, deploys, and tests the app."""

import difflib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hackkit.deploy import smoke_test
from hackkit.deploy.manifest import (
    DeploymentStatus,
    DeployRequest,
    Manifest,
    Message,
    Options,
    OutgoingFile,
    Progress,
    Published,
    RehearsalResult,
)
from hackkit.deploy.targets import Target
from hackkit.errors import HackkitError, Problem, WrongUseError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.project.leaks import scrub
from hackkit.system.command_line import hackkit

_MB = 1_000_000
_LINK = re.compile(r"(?m)^Live demo: .*$")
_TITLE = re.compile(r"(?m)^# .*$")


@dataclass(frozen=True)
class Prompter:
    """How deploy talks to the user.

    confirm: asks before anything is sent. confirm_loss: asks before something is lost (Enter alone
    means no). say: shows what was done. progress: shows what happens now, inside a `with` block.
    """

    confirm: Callable[[str], bool]
    confirm_loss: Callable[[str], bool]
    say: Callable[[str], None]
    progress: Callable[[], AbstractContextManager[Progress]]


Outcome = Manifest | RehearsalResult | DeploymentStatus | Message | Published


def carry_out(mode: str, target: Target, request: DeployRequest, prompter: Prompter) -> Outcome:
    """Run one mode of deploy: dry-run, rehearse, status, logs or down; "" deploys.

    Raises HackkitError when something stops it, WrongUseError for what the target cannot do.
    """
    _refuse_options(target, request.options)
    if mode == "dry-run":
        return target.plan(request)
    if mode == "rehearse":
        with prompter.progress() as progress:
            return target.rehearse(request, _checked_manifest(target, request), progress)
    if mode:
        return _manage(mode, target, request, prompter)
    return publish(target, request, prompter)


def _manage(mode: str, target: Target, request: DeployRequest, prompter: Prompter) -> Outcome:
    if mode == "status" and target.status:
        return target.status(request)
    if mode == "logs" and target.logs:
        return Message(scrub(target.logs(request), request.context.secrets))
    if mode == "down" and target.down:
        if not prompter.confirm_loss(f"remove the app ({target.title})"):
            raise HackkitError("Nothing was removed.")
        return Message(f"Removed: {target.down(request)}.")
    raise WrongUseError(
        f"--{mode} is not available for {target.title}.",
        fix=hackkit("deploy", target.name, "--dry-run"),
    )


def request_for(directory: Path, options: Options) -> DeployRequest:
    """Return the request to deploy a folder's project; raise WrongUseError without a project."""
    if not directory.is_dir():
        raise WrongUseError(f"There is no folder {directory}.", fix=hackkit("deploy", "--help"))
    project = ProjectFiles.find(directory)
    if project is None:
        raise WrongUseError(
            f"{directory.resolve()} is not in a hackkit project.",
            fix=hackkit("deploy", "TARGET", "PATH-OF-A-PROJECT"),
        )
    return DeployRequest(project, Context.here(project.folder), options)


def _refuse_options(target: Target, options: Options) -> None:
    for each in fields(Options):
        given = getattr(options, each.name)
        if given and each.name not in {"yes", *target.options}:
            takes = ", ".join(f"--{name}" for name in target.options) or "no options of its own"
            raise WrongUseError(
                f"--{each.name} is not an option of {target.name}, which takes {takes}.",
                fix=hackkit("deploy", target.name, "--dry-run"),
            )


def _checked_manifest(target: Target, request: DeployRequest) -> Manifest:
    """Return the manifest; raise HackkitError with all problems that stop the deployment."""
    manifest = target.plan(request)
    if manifest.ok:
        return manifest
    first, *others = manifest.problems
    more = "".join(f"\n{each.problem} Fix: {each.fix}" for each in others)
    raise HackkitError(scrub(first.problem + more, request.context.secrets), fix=first.fix)


def publish(target: Target, request: DeployRequest, prompter: Prompter) -> Published:
    """Deploy a project and ask the app one question; running it again resumes where it stopped.

    Raises HackkitError when something stops the deployment.
    """
    manifest = _checked_manifest(target, request)
    folder = request.project.folder
    new = [each.path for each in manifest.writes if not (folder / each.path).exists()]
    count = f"send {len(manifest.files)} files ({manifest.size / _MB:.1f} MB)"
    actions = [*(f"write {path}" for path in new), *manifest.changes, count]
    if not prompter.confirm("; ".join(actions)):
        raise HackkitError("Nothing was sent.", fix=hackkit("deploy", target.name, "--dry-run"))
    if _write(request, manifest, prompter):
        manifest = _checked_manifest(target, request)
    confirmed = replace(request, options=replace(request.options, yes=True))
    with prompter.progress() as progress:
        deployment = target.deploy(confirmed, manifest, progress)
        published = _ask(Published(manifest, deployment), target, confirmed, progress)
    if _is_for_all(published) and link_in_readme(folder, deployment.address):
        prompter.say("The address was added to README.md.")
    return published


def _is_for_all(published: Published) -> bool:
    """Return whether everybody can open the app: only such an address belongs in a README."""
    deployment = published.deployment
    return bool(deployment.address) and published.ok and not deployment.token


def _write(request: DeployRequest, manifest: Manifest, prompter: Prompter) -> bool:
    """Write the files that the target needs; overwrite the team's version only after a question."""
    wrote = False
    for each in manifest.writes:
        path = request.project.folder / each.path
        if path.is_file() and path.read_bytes() == each.read():
            continue
        if path.is_file():
            prompter.say(difference(path, each))
            if not prompter.confirm_loss(f"overwrite your {each.path}"):
                continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.read())
        prompter.say(f"{each.path} was written. Edit it if needed, then commit it.")
        wrote = True
    return wrote


def difference(path: Path, new: OutgoingFile) -> str:
    """Return the lines in which a file differs from what hackkit would write."""
    lines = difflib.unified_diff(
        path.read_text("utf-8", errors="replace").splitlines(),
        new.read().decode("utf-8", "replace").splitlines(),
        f"{new.path} (yours)",
        f"{new.path} (hackkit's)",
        lineterm="",
    )
    return "\n".join(lines)


def _ask(
    published: Published, target: Target, request: DeployRequest, progress: Progress
) -> Published:
    deployment = published.deployment
    if not deployment.address:
        return published
    question, note = smoke_test.question_of(request.context.app())
    published = replace(published, question=question, note=note)
    progress(f"Asking {deployment.address}: {question}")
    env = {**request.context.env, "APP_PASSWORD": request.context.value("APP_PASSWORD")}
    try:
        answer = smoke_test.ask(deployment.address, question, env, token=deployment.token)
    except HackkitError as error:
        look = hackkit("deploy", target.name, "--logs" if target.logs else "--status")
        return replace(published, explanation=Problem(error.problem, error.fix or look))
    return replace(published, answer=answer.text)


def link_in_readme(folder: Path, address: str) -> bool:
    """Put the address under the README's title, or replace an older address.

    Returns whether the file was changed. A README without a title stays as it is.
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
