"""A container on this machine, built with docker, podman or buildah."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hackkit.deploy import outgoing
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
from hackkit.deploy.rehearsal import image
from hackkit.deploy.rehearsal.stage import rehearsal
from hackkit.errors import HackkitError
from hackkit.network.urls import is_loopback
from hackkit.project.catalog import Catalog
from hackkit.project.names import slug
from hackkit.services import containers
from hackkit.services.containers import Container, Engine, Image, Running
from hackkit.system.command_line import hackkit, line

TITLE = "A container here"
OPTIONS = ("name",)
_DOCKERFILE, _IGNORED = "Dockerfile", ".dockerignore"
_MOST_MB = 500.0  # of one file: an image may be large, a mistake should be seen
_MAKING = 60.0  # seconds for a container of an image
_PORT = 7860


def plan(order: Order) -> Manifest:
    """Say which files go into the image, and what it is given when it runs."""
    context = order.context
    writes = tuple(_missing(order))
    files = outgoing.together(outgoing.files(context), [*_own(order)], writes)
    secrets, variables = outgoing.variables(context)
    needs, trouble = _engine(order)
    return Manifest(
        target="docker",
        files=files,
        secrets=secrets,
        variables=variables,
        writes=writes,
        changes=(f"build the image {_name(order)}:latest here",),
        needs=(*needs, "about 1 GB of disk space; keys are given when it runs, never built in"),
        notes=tuple(_notes(order, files, variables)),
        objections=(
            *trouble,
            *_unbuildable(files),
            *outgoing.objections(files, context, _MOST_MB),
        ),
    )


def rehearse(order: Order, manifest: Manifest, watch: Watch) -> Rehearsed:
    """Build it, run it as a platform would, ask it a question, and clear it all away."""
    return image.rehearse(order, manifest, watch, _name(order))


def ship(order: Order, manifest: Manifest, watch: Watch) -> Live:
    """Build the image in the place of an older one, and say how to run it."""
    engine, name = containers.find(order.context), _name(order)
    before = engine.look(name)
    with rehearsal("docker", order, watch) as stage:
        built = image.build(stage, engine, manifest, name, owner=name)
        if engine.is_builder:
            engine.remove_container(name)
            words = engine.preparing(name, name)
            stage.run(*words, folder=stage.folder, seconds=_MAKING, env=engine.env)
        steps = stage.done().steps
    if before and before.id != built.id:
        engine.remove_older(before.id, name)
    older = [line([engine.name, "stop", each.name]) for each in engine.containers(name)]
    run = containers.typed(engine, _running(order, manifest, built))
    return Live(commands=(*older, run), steps=steps)


def status(order: Order) -> Condition:
    """Tell whether the image is here and whether a container of it runs."""
    engine, name = containers.find(order.context), _name(order)
    for each in engine.containers(name):
        address = f"http://127.0.0.1:{each.port}" if each.port else ""
        well = "unhealthy" not in each.words
        return Condition(f"runs as {each.name}: {each.words}", address, well=well)
    image = engine.look(name)
    if image is None:
        return Condition(f"there is no image {name} here", well=False)
    words = "buildah does not tell what runs" if engine.is_builder else "no container of it runs"
    return Condition(f"the image {name} is here ({image.size}); {words}", well=engine.is_builder)


def logs(order: Order) -> str:
    """Return the last lines that the container said."""
    engine, name = containers.find(order.context), _name(order)
    if engine.is_builder:
        raise HackkitError("buildah keeps no logs: they are where you run the app.")
    found = engine.containers(name, stopped=True)
    if not found:
        raise HackkitError(
            f"No container of {name} is here.", fix=hackkit("deploy", "docker", "--status")
        )
    return engine.log(found[0].name)


def down(order: Order) -> str:
    """Stop and remove the containers, then the image; the volume with its index stays."""
    engine, name = containers.find(order.context), _name(order)
    gone = [f"the container {each.name}" for each in _removed(engine, name)]
    image = engine.look(name)
    if image and engine.remove_image(name):
        gone.append(f"the image {name} ({image.size})")
    if not gone:
        return f"nothing: there was no image {name} here"
    kept = "" if engine.is_builder else f" (a volume {name} stays: {engine.name} volume rm {name})"
    return " and ".join(gone) + kept


def _removed(engine: Engine, name: str) -> Iterator[Container]:
    for each in engine.containers(name, stopped=True):
        if engine.remove_container(each.name):
            yield each


# The plan


def _name(order: Order) -> str:
    asked = order.options.name or str(order.project.answers.get("project_name") or "")
    return slug(asked or order.project.folder.name)


def _own(order: Order) -> Iterator[Outgoing]:
    """Go through what a build needs even when git does not track it (yet)."""
    for name in (_DOCKERFILE, _IGNORED, "uv.lock"):
        path = order.project.folder / name
        if path.is_file():
            yield Outgoing(name, path, path.stat().st_size)


def _missing(order: Order) -> Iterator[Outgoing]:
    """Go through the template's files that the project lacks."""
    for name in (_DOCKERFILE, _IGNORED):
        source = _template(order, name)
        if source and not (order.project.folder / name).is_file():
            yield Outgoing(name, source.read_bytes(), source.stat().st_size)


def _template(order: Order, name: str) -> Path | None:
    """Return a file of the project's template, if that has it as it stands."""
    path = Catalog.here().templates_folder / order.project.template / "project" / name
    return path if order.project.template and path.is_file() else None


def _engine(order: Order) -> tuple[tuple[str, ...], tuple[Objection, ...]]:
    try:
        return (f"{containers.find(order.context).name}, which works here",), ()
    except HackkitError as error:
        return (), (Objection(error.problem, error.fix),)


def _unbuildable(files: Sequence[Outgoing]) -> Iterator[Objection]:
    if _text(files) is None:
        yield Objection(
            "This project has no Dockerfile, and its template has none.",
            fix="edit Dockerfile: say how the app is built and started",
        )


def _text(files: Sequence[Outgoing]) -> str | None:
    found = next((each for each in files if each.path == _DOCKERFILE), None)
    return found.read().decode("utf-8", "replace") if found else None


def _notes(order: Order, files: Sequence[Outgoing], variables: dict[str, str]) -> Iterator[str]:
    dockerfile, template = _text(files), _template(order, _DOCKERFILE)
    if dockerfile and template and dockerfile != template.read_text("utf-8"):
        yield "the Dockerfile is your own: it differs from the template's"
    if dockerfile and not re.search(r"(?m)^USER\s+(?!root\b|0\b)", dockerfile):
        yield "the Dockerfile names no USER: the app would run as root"
    for name, value in variables.items():
        if "://" in value and is_loopback(value):
            yield f"{name} leads to the container itself: write {containers.HERE} there"
    quoted = ", ".join(_quoted(order))
    if quoted:
        yield f"engines read .env word for word: take the quotes away from {quoted}"
    left = [
        each for each in outgoing.untracked(order.context) if each not in {f.path for f in files}
    ]
    if left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""  # noqa: PLR2004 - as many as shown
        yield f"not built in, because git does not track it: {', '.join(left[:5])}{more}"


def _quoted(order: Order) -> Iterator[str]:
    """Go through the variables whose quotes in `.env` an engine would take for a part of them."""
    path = order.project.folder / ".env"
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    for match in re.finditer(r"(?m)^(?:export\s+)?(\w+)=(['\"]).*\2\s*$", text):
        yield match[1]


# The work


def _running(order: Order, planned: Manifest, image: Image) -> Running:
    """Say how a user starts it: with `.env` where there is one, by name what is set elsewhere."""
    context, dotenv = order.context, order.project.dotenv
    port = dotenv.get("PORT", "")
    host = dotenv.get("HOST", "0.0.0.0")  # noqa: S104 - inside a container that is the way
    given = [*planned.secrets, *planned.variables]
    return Running(
        tag=_name(order),
        image=image,
        port=int(port) if port.isdigit() and int(port) else _PORT,
        env_file=(order.project.folder / ".env").is_file(),
        names=tuple(name for name in given if context.origin(name) == "the environment"),
        outward=any(containers.HERE in value for value in planned.variables.values()),
        fixed={} if host == "0.0.0.0" else {"HOST": "0.0.0.0"},  # noqa: S104 - the same
    )
