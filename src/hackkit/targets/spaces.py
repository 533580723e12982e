"""A Hugging Face Space that runs the app, private unless you say otherwise.

The first one needs a PRO account, or ZeroGPU hardware and an app that has a function for it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit import delivery, manifest, requirements, space, uv
from hackkit.delivery import FAILED, Pace, Wish, deliver, tidy
from hackkit.errors import HackkitError
from hackkit.hub import MARK, Hub, Space, token
from hackkit.names import slug
from hackkit.orders import Order
from hackkit.refusals import TOKENS, RefusedError
from hackkit.rehearsal import Stage, free_port, rehearsal, weight
from hackkit.requirements import Requirements
from hackkit.shell import hackkit, line
from hackkit.shipping import (
    Condition,
    Live,
    Manifest,
    Objection,
    Outgoing,
    Rehearsed,
    Watch,
)

TITLE = "Hugging Face Spaces"
OPTIONS = ("space", "hardware", "public")

ZERO_GPU = "zero-a10g"
_FREE = "cpu-basic"
_LARGE = 10_000_000  # bytes; above it, the hub's large file storage takes a file
_LARGEST_MB = 100.0  # of one file
_MOST = 1_000_000_000  # bytes of all files: a Space's repository holds no more
_HOMELESS = "your account"  # whose name is known only online
_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9](?!.*(?:--|\.\.))[\w.-]{0,95}")
_PORT = 7860  # where a Space is listened to
_ENV = {"GRADIO_SERVER_NAME": "0.0.0.0"}  # noqa: S104 - a Space's own setting
_INSTALL = 900.0  # seconds
_LOG_LINES = 60


# What would leave


def plan(order: Order) -> Manifest:
    """Say what would leave, from the project's files alone."""
    context = order.context
    sent, kept = _sendable(manifest.files(context))
    page, header, added = _page(order, sent)
    needed = requirements.exported(context)
    made = [page, *([manifest.made("requirements.txt", needed.text)] if needed.text else [])]
    files = manifest.together(sent, made)
    secrets, variables = manifest.variables(context)
    return Manifest(
        target="spaces",
        files=files,
        secrets=secrets,
        variables=variables,
        changes=(_change(order),),
        needs=tuple(_needs(order, files)),
        notes=(
            *_notes(order, files, kept),
            *_about_made(added, needed),
            *manifest.variable_notes(variables),
        ),
        objections=(
            *_about_name(order),
            *_about_header(order, header, files),
            *needed.objections,
            *_about_size(files),
            *manifest.objections(files, context, _LARGEST_MB),
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


def _page(order: Order, sent: tuple[Outgoing, ...]) -> tuple[Outgoing, space.Header, list[str]]:
    """Return the README with a complete header, that header, and the keys that were added."""
    text = next((each.read() for each in sent if each.path == "README.md"), b"")
    readme = text.decode("utf-8", "replace")
    header = space.parse_header(readme)
    if header.trouble and readme.lstrip("\ufeff").startswith("---"):
        return manifest.made("README.md", readme), header, []
    whole, added = space.complete(readme, _defaults(order, sent))
    return manifest.made("README.md", whole), space.parse_header(whole), list(added)


def _defaults(order: Order, sent: tuple[Outgoing, ...]) -> Mapping[str, object]:
    folder, answers = order.context.folder, order.project.answers
    paths = {each.path for each in sent}
    return {
        "title": str(answers.get("project_name") or folder.name),
        "emoji": "📚",
        "colorFrom": "yellow",
        "colorTo": "red",
        "sdk": "gradio",
        "sdk_version": space.locked_version(folder, "gradio"),
        "python_version": space.least_python(folder) or "3.11",
        "app_file": "app.py" if "app.py" in paths else "",
        "tags": ["mistral", *filter(None, [order.project.template])],
    }


def _change(order: Order) -> str:
    kind = "public" if order.options.public else "private"
    return f"make the {kind} Space {_place(order)}, or update it"


def _place(order: Order, account: str = _HOMELESS) -> str:
    """Return the Space's name, "owner/name"."""
    name = order.options.space or _slug(order)
    return name if "/" in name else f"{account}/{name}"


def _slug(order: Order) -> str:
    given = str(order.project.answers.get("project_slug") or order.context.folder.name)
    return slug(given)[:96].strip("-")


def _needs(order: Order, files: tuple[Outgoing, ...]) -> Iterator[str]:
    hardware = order.options.hardware
    if hardware == ZERO_GPU:
        yield "an account over 30 days old: a free one may have two Spaces with ZeroGPU"
    elif hardware and hardware != _FREE:
        yield f"a payment method: {hardware} costs by the hour, see https://huggingface.co/pricing"
    else:
        free = f"; free with --hardware {ZERO_GPU}" if _has_gpu_function(files) else ""
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
    if stays := manifest.untracked(order.context):
        more = f" and {len(stays) - 5} more" if len(stays) > 5 else ""  # noqa: PLR2004 - a line's worth
        yield f"git does not track, so it stays here: {', '.join(stays[:5])}{more}"


def _about_made(added: list[str], needed: Requirements) -> Iterator[str]:
    if added:
        yield f"README.md goes with these keys added to its header: {', '.join(added)}"
    if needed.missing:
        yield (
            "pip knows nothing of [tool.uv]: the Space will also install what you leave out "
            f"({', '.join(needed.missing)})"
        )


def _about_name(order: Order) -> Iterator[Objection]:
    if not _NAME.fullmatch(order.options.space or _slug(order)):
        yield Objection(
            f'"{order.options.space}" is no name for a Space.',
            fix=hackkit("deploy", "spaces", "--space", f"OWNER/{_slug(order)}"),
        )
    if order.options.hardware == ZERO_GPU and not _has_gpu_function(manifest.files(order.context)):
        yield Objection(
            "ZeroGPU hardware wants a function marked @spaces.GPU, and the app has none.",
            fix=hackkit("deploy", "spaces"),
        )


def _about_header(
    order: Order, header: space.Header, files: tuple[Outgoing, ...]
) -> Iterator[Objection]:
    if header.trouble:
        page = "open https://huggingface.co/docs/hub/spaces-config-reference"
        yield Objection(f"README.md {header.trouble}.", fix=page)
        return
    gradio = space.locked_version(order.context.folder, "gradio")
    if not gradio:
        words = "gradio, with which a Space starts the app, is not in uv.lock."
        yield Objection(words, fix=uv.typed("add", "gradio"))
    if header.values.get("sdk") in {"docker", "static"}:
        words = f"README.md says sdk: {header.values['sdk']}; hackkit sends Gradio Spaces."
        yield Objection(words, fix="edit README.md: sdk must be gradio")
        return
    for each in space.problems(header.values, gradio, order.context.folder):
        yield Objection(
            f"README.md: {each}.", fix=f"edit README.md: {each.key} must be {each.wanted}"
        )
    app = str(header.values.get("app_file") or "app.py")
    if (order.context.folder / app).is_file() and app not in {each.path for each in files}:
        yield Objection(
            f"{app} is not tracked by git, so it stays here.", line(["git", "add", app])
        )


def _about_size(files: tuple[Outgoing, ...]) -> Iterator[Objection]:
    if sum(each.size for each in files) > _MOST:
        largest = max(files, key=lambda each: each.size)
        yield Objection(
            "All files together are over 1 GB, which a Space's repository does not hold.",
            fix=line(["git", "rm", "--cached", "--", largest.path]),
        )


def _has_gpu_function(files: tuple[Outgoing, ...]) -> bool:
    """Tell whether a function is marked @spaces.GPU, which ZeroGPU hardware wants."""
    return any(each.path.endswith(".py") and _marks_gpu(each.read()) for each in files)


def _marks_gpu(source: bytes) -> bool:
    if b"GPU" not in source:
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a rehearsal tells
        return False
    marks = (
        mark.func if isinstance(mark, ast.Call) else mark
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for mark in node.decorator_list
    )
    return any(ast.unparse(mark) in {"spaces.GPU", "GPU"} for mark in marks)


# The rehearsal


def rehearse(order: Order, planned: Manifest, watch: Watch) -> Rehearsed:
    """Install and start the app here as a Space does: with pip's rules, and without a key."""
    page = next(each.read() for each in planned.files if each.path == "README.md")
    header = space.parse_header(page.decode("utf-8")).values
    # In this order: the app has ended before its files are cleared away.
    with manifest.staged(planned.files) as app, rehearsal("spaces", order, watch) as stage:
        python = _installed(order, header, stage, app)
        port = _PORT if not order.context.listener(_PORT) else free_port()
        stage.start(
            str(python),
            str(header.get("app_file") or "app.py"),
            folder=app,
            env={**planned.variables, **_ENV, "GRADIO_SERVER_PORT": str(port), "PORT": str(port)},
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
    gradio = f"gradio=={header.get('sdk_version')}"

    def run(*words: str) -> None:
        stage.run(*words, folder=app, seconds=_INSTALL, explain=requirements.trouble)

    with stage.step(f"Make an environment with Python {version}"):
        run(
            *order.context.uv,
            "venv",
            "--no-config",
            "--no-project",
            "--python",
            version,
            str(place),
        )
    with stage.step(f"Install {gradio}") as note:
        run(*install, gradio)
        note.outcome = weight(place)
    with stage.step("Install requirements.txt") as note:
        run(*install, gradio, "--requirements", "requirements.txt")
        note.outcome = weight(place)
    return python


# On the hub


def ship(order: Order, planned: Manifest, watch: Watch) -> Live:
    """Make or update the Space, and wait until it runs."""
    return send(Hub(order.context, planned.secrets), order, planned, watch)


def send(hub: Hub, order: Order, planned: Manifest, watch: Watch, pace: Pace | None = None) -> Live:
    """Do the same with a hub that is known already."""
    wish = Wish(
        _place(order, hub.account()), planned, order.options.hardware, public=order.options.public
    )
    try:
        return deliver(hub, wish, order.context, watch, pace)
    except RefusedError as error:
        if error.status == 402:  # noqa: PLR2004 - "Payment Required"
            raise _price(planned) from None
        raise


def _price(planned: Manifest) -> HackkitError:
    """Say what costs something, and what does not."""
    words = "Hugging Face makes Gradio Spaces for PRO accounts and paying organisations only (402)."
    if _has_gpu_function(planned.files):
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
    name = _place(order, hub.account())
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
    return Condition(f"{delivery.words(state)}{complaint}", found.address, well)


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
    return f"The Space {found.name} was deleted."
