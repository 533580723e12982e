"""A Hugging Face Space that runs the app, private unless you say otherwise.

The first one needs a PRO account, or ZeroGPU hardware and an app that has a function for it.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit.deploy import outgoing, requirements
from hackkit.deploy.explain import install_log
from hackkit.deploy.manifest import (
    Condition,
    Live,
    Manifest,
    Objection,
    Order,
    Outgoing,
    Rehearsed,
    Watch,
)
from hackkit.deploy.rehearsal import imports
from hackkit.deploy.rehearsal.stage import Stage, free_port, rehearsal, weight
from hackkit.deploy.requirements import Requirements
from hackkit.deploy.targets.spaces import readme, space_name, upload
from hackkit.deploy.targets.spaces.upload import FAILED, Pace, Wish, deliver, tidy
from hackkit.errors import HackkitError
from hackkit.services.hub import MARK, Hub, Space, token
from hackkit.services.hub_errors import TOKENS, RefusedError
from hackkit.system.command_line import hackkit, line

TITLE = "Hugging Face Spaces"
OPTIONS = ("space", "hardware", "public")

ZERO_GPU = "zero-a10g"
_FREE = "cpu-basic"
_LARGE = 10_000_000  # bytes; above it, the hub's large file storage takes a file
_LARGEST_MB = 100.0  # of one file
_MOST = 1_000_000_000  # bytes of all files: a Space's repository holds no more
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9](?!.*(?:--|\.\.))[\w.-]{0,95}")
_PORT = 7860  # where a Space is listened to
_ENV = {  # what every Space sets
    "SYSTEM": "spaces",
    "GRADIO_SERVER_NAME": "0.0.0.0",  # noqa: S104 - as it is there
    "GRADIO_NUM_PORTS": "1",
}
_INSTALL = 900.0  # seconds
_LOG_LINES = 60


# What would leave


def plan(order: Order) -> Manifest:
    """Say what would leave, from the project's files alone."""
    context = order.context
    sent, kept = _sendable(outgoing.files(context))
    page = readme.completed(order.project, sent)
    needed = requirements.exported(context)
    made = [page.file, *([outgoing.made("requirements.txt", needed.text)] if needed.text else [])]
    files = outgoing.together(sent, made)
    secrets, variables = outgoing.variables(context)
    return Manifest(
        target="spaces",
        files=files,
        secrets=secrets,
        variables=variables,
        changes=(_change(order),),
        needs=tuple(_needs(order, files)),
        notes=(
            *_notes(order, files, kept),
            *_about_made(page.added, needed),
            *outgoing.variable_notes(variables),
        ),
        objections=(
            *_about_name(order, files),
            *readme.objections(page, context.folder, files),
            *needed.objections,
            *_about_size(files),
            *outgoing.objections(files, context, _LARGEST_MB),
        ),
    )


def _sendable(tracked: tuple[Outgoing, ...]) -> tuple[tuple[Outgoing, ...], tuple[str, ...]]:
    """Part the files from those that the hub keeps itself (.gitattributes) or refuses."""
    kept = tuple(
        each.path
        for each in tracked
        if each.path == ".gitattributes" or ".cache" in each.path.split("/")
    )
    return tuple(each for each in tracked if each.path not in kept), kept


def _change(order: Order) -> str:
    kind = "public" if order.options.public else "private"
    return f"make the {kind} Space {space_name.offline(order)}, or update it"


def _needs(order: Order, files: tuple[Outgoing, ...]) -> Iterator[str]:
    hardware = order.options.hardware
    if hardware == ZERO_GPU:
        yield "an account over 30 days old: a free one may have two Spaces with ZeroGPU"
    elif hardware and hardware != _FREE:
        yield f"a payment method: {hardware} costs by the hour, see https://huggingface.co/pricing"
    else:
        free = f"; free with --hardware {ZERO_GPU}" if readme.has_gpu_function(files) else ""
        yield f"a PRO account or a paying organisation, for a new Space{free}"
    secret, origin = token(order.context)
    found = f"found in {origin}" if secret else f"none is there: {TOKENS}"
    yield f"a Hugging Face token that may write ({found})"


def _notes(order: Order, files: tuple[Outgoing, ...], kept: tuple[str, ...]) -> Iterator[str]:
    if not order.options.public:
        yield "a new Space is private: --public lets the judges see it"
    if kept:
        yield f"the hub has its own: {', '.join(kept)}"
    for each in files:
        if each.size > _LARGE:
            yield f"{each.path} ({each.size / 1e6:.0f} MB) goes to the hub's large file storage"
    if stays := outgoing.untracked(order.context):
        more = f" and {len(stays) - 5} more" if len(stays) > 5 else ""  # noqa: PLR2004 - a line's worth
        yield f"git does not track, so it stays here: {', '.join(stays[:5])}{more}"


def _about_made(added: tuple[str, ...], needed: Requirements) -> Iterator[str]:
    if added:
        yield f"README.md goes with these keys added to its header: {', '.join(added)}"
    if needed.missing:
        yield (
            "pip knows nothing of [tool.uv]: the Space will also install what you leave out "
            f"({', '.join(needed.missing)})"
        )


def _about_name(order: Order, files: tuple[Outgoing, ...]) -> Iterator[Objection]:
    if not _NAME.fullmatch(order.options.space or space_name.usual(order)):
        yield Objection(
            f'"{order.options.space}" is no name for a Space.',
            fix=hackkit("deploy", "spaces", "--space", f"OWNER/{space_name.usual(order)}"),
        )
    if order.options.hardware == ZERO_GPU and not readme.has_gpu_function(files):
        yield Objection(
            "ZeroGPU hardware wants a function marked @spaces.GPU, and the app has none.",
            fix=hackkit("deploy", "spaces"),
        )


def _about_size(files: tuple[Outgoing, ...]) -> Iterator[Objection]:
    if sum(each.size for each in files) > _MOST:
        largest = max(files, key=lambda each: each.size)
        yield Objection(
            "All files together are over 1 GB, which a Space's repository does not hold.",
            fix=line(["git", "rm", "--cached", "--", largest.path]),
        )


# The rehearsal


def rehearse(order: Order, planned: Manifest, watch: Watch) -> Rehearsed:
    """Install and start the app here as a Space does: with pip's rules, and without a key."""
    header = readme.header_of(planned.files)
    # In this order: the app has ended before its files are cleared away.
    with outgoing.staged(planned.files) as app, rehearsal("spaces", order, watch) as stage:
        python = _installed(order, header, stage, app)
        script = str(header.get("app_file") or "app.py")
        imports.find(stage, order, python, planned.files, script)
        taken = order.context.listener(_PORT)
        port = free_port() if taken else _PORT
        # A Space names no port. Here it takes another only where something listens on it already.
        other = {"GRADIO_SERVER_PORT": str(port), "PORT": str(port)} if taken else {}
        stage.start(
            str(python),
            script,
            folder=app,
            env={
                **planned.variables,
                **_ENV,
                "SPACE_ID": space_name.offline(order, "you"),
                **other,
            },
        )
        stage.try_app(port, order.context.app().question)
        return stage.done()


def _installed(order: Order, header: Mapping[str, object], stage: Stage, app: Path) -> Path:
    """Make the environment of a Space; return its Python."""
    version = str(header.get("python_version"))
    place = stage.folder / "environment"
    inside = ("Scripts", "python.exe") if order.context.system == "windows" else ("bin", "python")
    python = place.joinpath(*inside)
    # Without --no-config, [tool.uv] would help here as it does not there.
    install = (*order.context.uv, "pip", "install", "--no-config", "--python", str(python))
    # What a Space installs of its own.
    given = (f"gradio[oauth,mcp]=={header.get('sdk_version')}", "spaces")

    def run(*words: str) -> None:
        stage.run(*words, folder=app, seconds=_INSTALL, explain=install_log.trouble)

    with stage.step(f"Make an environment with Python {version}"):
        make = (*order.context.uv, "venv", "--no-config", "--no-project")
        run(*make, "--python", version, str(place))
    with stage.step(f"Install {' and '.join(given)}") as note:
        run(*install, *given)
        note.outcome = weight(place)
    with stage.step("Install requirements.txt") as note:
        run(*install, *given, "--requirements", "requirements.txt")
        note.outcome = weight(place)
    return python


# On the hub


def ship(order: Order, planned: Manifest, watch: Watch) -> Live:
    """Make or update the Space, and wait until it runs."""
    return send(Hub(order.context, planned.secrets), order, planned, watch)


def send(hub: Hub, order: Order, planned: Manifest, watch: Watch, pace: Pace | None = None) -> Live:
    """Do the same with a hub that is known already."""
    name, options = space_name.online(order, hub), order.options
    wish = Wish(name, planned, options.hardware, public=options.public)
    try:
        live = deliver(hub, wish, order.context, watch, pace)
    except RefusedError as error:
        if error.status == 402:  # noqa: PLR2004 - "Payment Required"
            raise _price(planned) from None
        raise
    except HackkitError:  # it is there, and does not run yet
        space_name.remember(order, name)
        raise
    space_name.remember(order, name)
    return live


def _price(planned: Manifest) -> HackkitError:
    """Say what costs something, and what does not."""
    words = "Hugging Face makes Gradio Spaces for PRO accounts and paying organisations only (402)."
    if readme.has_gpu_function(planned.files):
        return HackkitError(
            f"{words} Your app has a @spaces.GPU function: with ZeroGPU hardware a Space is free "
            "for accounts over 30 days old.",
            fix=hackkit("deploy", "spaces", "--hardware", ZERO_GPU),
        )
    return HackkitError(
        f"{words} PRO: https://huggingface.co/pro. Without it: your own machine or server with "
        f"`{hackkit('deploy', 'docker')}`, or a free service:",
        fix=hackkit("deploy", "render"),
    )


def _found(order: Order) -> tuple[Hub, Space]:
    hub = Hub(order.context)
    name = space_name.online(order, hub)
    found = hub.find(name)
    if found is None:
        words = f"There is no Space {name}, or the token may not see it."
        raise HackkitError(words, fix=hackkit("deploy", "spaces"))
    return hub, found


def status(order: Order) -> Condition:
    """Say what the Space does."""
    hub, found = _found(order)
    state = hub.state(found.name)
    complaint = f": {state.complaint}" if state.complaint else ""
    well = state.stage not in FAILED
    return Condition(f"{upload.words(state)}{complaint}", found.address, well)


def logs(order: Order) -> str:
    """Return the last lines of what the build and the app have said."""
    hub, found = _found(order)
    parts = []
    for title, build in (("Build", True), ("App", False)):
        said = tidy(hub.log(found.name, build=build)).splitlines()[-_LOG_LINES:]
        parts.append("\n".join([f"{title}:", *(said or ["(nothing)"])]))
    return "\n\n".join(parts)


def down(order: Order) -> str:
    """Delete the Space."""
    hub, found = _found(order)
    if MARK not in found.files:
        raise HackkitError(
            f"{found.name} is not from hackkit, so it is left alone.",
            fix=f"open {found.page}/settings",
        )
    hub.delete(found.name)
    space_name.remember(order)
    return f"the Space {found.name}"
