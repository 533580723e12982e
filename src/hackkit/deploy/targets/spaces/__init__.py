"""A Hugging Face Space that runs the app; private, unless you pass --public.

A new one needs a PRO account, or ZeroGPU hardware and an app with a function for it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit.deploy import gaps, outgoing, requirements
from hackkit.deploy.explain import install_log
from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    OutgoingFile,
    Progress,
    RehearsalResult,
)
from hackkit.deploy.rehearsal import imports
from hackkit.deploy.rehearsal.workspace import Workspace, folder_size, free_port, rehearsal
from hackkit.deploy.requirements import Requirements
from hackkit.deploy.targets.spaces import readme, space_name
from hackkit.deploy.targets.spaces.upload import (
    FAILED,
    Polling,
    Upload,
    clean_log,
    describe,
    upload_and_wait,
)
from hackkit.errors import HackkitError, Problem
from hackkit.project.files import ANSWERS
from hackkit.project.layout import PORT, venv_python
from hackkit.services.hub import Hub, Space, token
from hackkit.services.hub_errors import TOKENS, RefusedError
from hackkit.system import uv
from hackkit.system.command_line import hackkit, line
from hackkit.system.wording import listed

TITLE = "Hugging Face Spaces"
OPTIONS = ("space", "hardware", "public")

ZERO_GPU = "zero-a10g"
_FREE = "cpu-basic"
_LARGE = 10_000_000  # bytes; larger files go to the hub's large file storage
_LARGEST_MB = 100.0  # of one file
_MOST = 1_000_000_000  # bytes of all files: the limit of a Space's repository
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9](?!.*(?:--|\.\.))[\w.-]{0,95}")
_ENV = {  # variables that every Space sets
    "SYSTEM": "spaces",
    "GRADIO_SERVER_NAME": "0.0.0.0",  # noqa: S104 - as on a Space
    "GRADIO_NUM_PORTS": "1",
}
_INSTALL = 900.0  # seconds
_LOG_LINES = 60
_REQUIREMENTS = "requirements.txt"
_MOST_NAMED = 5


# The plan


def plan(request: DeployRequest) -> Manifest:
    """Return what would be sent, without using the network."""
    context = request.context
    sent, kept = _split(outgoing.tracked_files(context))
    page = readme.completed(request.project, sent)
    needed = requirements.exported(context)
    generated = [page.file]
    if needed.text:
        generated.append(outgoing.generated(_REQUIREMENTS, needed.text))
    files = outgoing.merged(sent, generated)
    secrets, variables = outgoing.variables(context)
    return Manifest(
        target="spaces",
        files=files,
        secrets=secrets,
        variables=variables,
        changes=(_change(request),),
        needs=tuple(_needs(request, files)),
        notes=(
            *_notes(request, files, kept),
            *_generated_notes(sent, page.added, needed),
            *outgoing.variable_notes(variables),
            *gaps.notes(files, [*secrets, *variables]),
        ),
        problems=(
            *_name_problems(request, files),
            *readme.problems(page, context.folder, files),
            *needed.problems,
            *_replaced_problems(sent, needed),
            *_size_problems(files),
            *outgoing.problems(files, context, _LARGEST_MB),
        ),
    )


def _split(
    tracked: tuple[OutgoingFile, ...],
) -> tuple[tuple[OutgoingFile, ...], tuple[str, ...]]:
    """Separate the files from those that the hub manages itself (.gitattributes) or refuses."""
    kept = tuple(
        each.path
        for each in tracked
        if each.path == ".gitattributes" or ".cache" in each.path.split("/")
    )
    return tuple(each for each in tracked if each.path not in kept), kept


def _change(request: DeployRequest) -> str:
    kind = "public" if request.options.public else "private"
    return f"create or update the {kind} Space {space_name.offline(request)}"


def _needs(request: DeployRequest, files: tuple[OutgoingFile, ...]) -> Iterator[str]:
    hardware = request.options.hardware
    if hardware == ZERO_GPU:
        yield "an account older than 30 days: a free one may have two Spaces with ZeroGPU"
    elif hardware and hardware != _FREE:
        yield f"a payment method: {hardware} costs by the hour, see https://huggingface.co/pricing"
    else:
        free = f"; free with --hardware {ZERO_GPU}" if readme.has_gpu_function(files) else ""
        yield f"a PRO account or a paying organisation, for a new Space{free}"
    secret, origin = token(request.context)
    found = f"found in {origin}" if secret else f"none found: {TOKENS}"
    yield f"a Hugging Face token with write access ({found})"


def _notes(
    request: DeployRequest, files: tuple[OutgoingFile, ...], kept: tuple[str, ...]
) -> Iterator[str]:
    if not request.options.public:
        yield "a new Space is private: with --public the judges can open it"
    if kept:
        yield f"not sent, because the hub has its own: {', '.join(kept)}"
    for each in files:
        if each.size > _LARGE:
            yield f"{each.path} ({each.size / 1e6:.0f} MB) goes to the hub's large file storage"
    yield from outgoing.left_out_notes(request.context, files)


def _generated_notes(
    sent: tuple[OutgoingFile, ...], added: tuple[str, ...], needed: Requirements
) -> Iterator[str]:
    if needed.text and any(each.path == _REQUIREMENTS for each in sent):
        yield f"your {_REQUIREMENTS} is replaced by the versions of uv.lock"
    if added:
        yield f"README.md is sent with these keys added to its header: {', '.join(added)}"
    if needed.missing:
        yield (
            "pip ignores [tool.uv]: the Space also installs packages that you exclude there "
            f"({', '.join(needed.missing)})"
        )


def _replaced_problems(sent: tuple[OutgoingFile, ...], needed: Requirements) -> Iterator[Problem]:
    own = next((each for each in sent if each.path == _REQUIREMENTS), None)
    if own is None or not needed.text:
        return
    if lost := requirements.replaced(own.read().decode("utf-8", "replace"), needed.text):
        yield Problem(
            f"The Space installs what is in uv.lock instead of your {_REQUIREMENTS}, which also "
            f"has {listed(lost, _MOST_NAMED)}.",
            fix=uv.typed("add", *lost),
        )


def _name_problems(request: DeployRequest, files: tuple[OutgoingFile, ...]) -> Iterator[Problem]:
    if not _NAME.fullmatch(request.options.space or space_name.default(request)):
        yield Problem(
            f'"{request.options.space}" is not a valid name for a Space.',
            fix=hackkit("deploy", "spaces", "--space", f"OWNER/{space_name.default(request)}"),
        )
    if request.options.hardware == ZERO_GPU and not readme.has_gpu_function(files):
        yield Problem(
            "ZeroGPU hardware needs a function marked @spaces.GPU, and the app has none.",
            fix=hackkit("deploy", "spaces"),
        )


def _size_problems(files: tuple[OutgoingFile, ...]) -> Iterator[Problem]:
    if sum(each.size for each in files) > _MOST:
        largest = max(files, key=lambda each: each.size)
        yield Problem(
            "All files together are over 1 GB, the limit of a Space's repository.",
            fix=line(["git", "rm", "--cached", "--", largest.path]),
        )


# The rehearsal


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Install and start the app locally as a Space does: with pip's rules, and without a key."""
    header = readme.header_of(manifest.files)
    script = str(header.get("app_file") or "app.py")
    # In this order: the app ends before its files are removed.
    with (
        outgoing.copied(manifest.files) as folder,
        rehearsal("spaces", request, progress) as workspace,
    ):
        python = _installed(request, header, workspace, folder)
        imports.check(workspace, request.context, manifest.files, python, script)
        taken = request.context.listener(PORT)
        port = free_port() if taken else PORT
        # A Space names no port. Here another one is named, if a program already listens on it.
        other = {"GRADIO_SERVER_PORT": str(port), "PORT": str(port)} if taken else {}
        space = {"SPACE_ID": space_name.offline(request, "you")}
        env = {**manifest.variables, **_ENV, **space, **other}
        status = request.context.app()  # before the app needs the processor
        app = workspace.start(str(python), script, folder=folder, env=env)
        workspace.try_app(app, port, status)
        return workspace.result()


def _installed(
    request: DeployRequest, header: Mapping[str, object], workspace: Workspace, folder: Path
) -> Path:
    """Create the environment of a Space; return its Python."""
    version = str(header.get("python_version"))
    place = workspace.folder / "environment"
    python = venv_python(place, windows=request.context.system == "windows")
    # Without --no-config, [tool.uv] would apply here, but not on the Space.
    install = (*request.context.uv, "pip", "install", "--no-config", "--python", str(python))
    # A Space installs these in addition to the requirements.
    added = (f"gradio[oauth,mcp]=={header.get('sdk_version')}", "spaces")

    def run(*words: str) -> None:
        workspace.run(*words, folder=folder, seconds=_INSTALL, explain=install_log.explain)

    with workspace.step(f"Make an environment with Python {version}"):
        create = (*request.context.uv, "venv", "--no-config", "--no-project")
        run(*create, "--python", version, str(place))
    with workspace.step(f"Install {' and '.join(added)}") as outcome:
        run(*install, *added)
        outcome.append(folder_size(place))
    with workspace.step("Install requirements.txt") as outcome:
        run(*install, *added, "--requirements", "requirements.txt")
        outcome.append(folder_size(place))
    return python


# On the hub


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Create or update the Space, and wait until it runs."""
    return deploy_to(Hub(request.context, manifest.secrets), request, manifest, progress)


def deploy_to(
    hub: Hub,
    request: DeployRequest,
    manifest: Manifest,
    progress: Progress,
    polling: Polling | None = None,
) -> Deployment:
    """Do the same with a given client of the hub."""
    name, options = space_name.online(request, hub), request.options
    planned = Upload(name, manifest, options.hardware, public=options.public)
    try:
        deployment = upload_and_wait(hub, planned, request.context, progress, polling)
    except RefusedError as error:
        if error.status == 402:  # noqa: PLR2004 - "Payment Required"
            raise _payment_required(manifest) from None
        raise
    except HackkitError:  # the Space exists, but does not run yet
        space_name.remember(request, name)
        raise
    space_name.remember(request, name)
    return deployment


def _payment_required(manifest: Manifest) -> HackkitError:
    """Return what costs money, and what is free."""
    problem = "Hugging Face creates Gradio Spaces only for PRO accounts and paying teams (402)."
    if readme.has_gpu_function(manifest.files):
        return HackkitError(
            f"{problem} Your app has a @spaces.GPU function: with ZeroGPU hardware a Space is free "
            "for accounts older than 30 days.",
            fix=hackkit("deploy", "spaces", "--hardware", ZERO_GPU),
        )
    return HackkitError(
        f"{problem} PRO: https://huggingface.co/pro. Without it: your own machine or server with "
        f"`{hackkit('deploy', 'docker')}`, or a free service:",
        fix=hackkit("deploy", "render"),
    )


def _find(request: DeployRequest) -> tuple[Hub, Space]:
    hub = Hub(request.context)
    name = space_name.online(request, hub)
    found = hub.find(name)
    if found is None:
        problem = f"There is no Space {name}, or the token may not see it."
        raise HackkitError(problem, fix=hackkit("deploy", "spaces"))
    return hub, found


def status(request: DeployRequest) -> DeploymentStatus:
    """Return the Space's state."""
    hub, found = _find(request)
    state = hub.state(found.name)
    error = f": {state.error}" if state.error else ""
    ok = state.stage not in FAILED
    return DeploymentStatus(f"{describe(state)}{error}", found.address, ok)


def logs(request: DeployRequest) -> str:
    """Return the last lines of the build's log and of the app's."""
    hub, found = _find(request)
    parts = []
    for title, build in (("Build", True), ("App", False)):
        lines = clean_log(hub.log(found.name, build=build)).splitlines()[-_LOG_LINES:]
        parts.append("\n".join([f"{title}:", *(lines or ["(nothing)"])]))
    return "\n\n".join(parts)


def down(request: DeployRequest) -> str:
    """Delete the Space."""
    hub, found = _find(request)
    if ANSWERS not in found.files:
        raise HackkitError(
            f"{found.name} was not created by hackkit, so it is not deleted.",
            fix=f"open {found.page}/settings",
        )
    hub.delete(found.name)
    space_name.remember(request)
    return f"the Space {found.name}"
