"""A container on this machine, built with docker, podman or buildah."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hackkit.deploy import gaps, outgoing, platform_config
from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    OutgoingFile,
    Progress,
    RehearsalResult,
)
from hackkit.deploy.rehearsal import image
from hackkit.deploy.rehearsal.workspace import rehearsal
from hackkit.errors import HackkitError, Problem
from hackkit.network.urls import is_loopback
from hackkit.project.catalog import Catalog
from hackkit.project.layout import DOCKERFILE, PORT
from hackkit.project.names import slug
from hackkit.services import containers
from hackkit.services.containers import Container, Engine, Image, RunSettings
from hackkit.system.command_line import hackkit, line

TITLE = "Local container"
OPTIONS = ("name",)
_MOST_MB = 500.0  # of one file: an image may be large, but a mistake should be noticed
_CREATING = 60.0  # seconds to create a container


def plan(request: DeployRequest) -> Manifest:
    """Return the files that go into the image, and the variables that it gets when it runs."""
    context = request.context
    writes = tuple(_missing_files(request))
    build_files = [*platform_config.build_files(request.project.folder)]
    files = outgoing.merged(outgoing.tracked_files(context), build_files, writes)
    secrets, variables = outgoing.variables(context)
    engine, engine_problems = _engine(request)
    return Manifest(
        target="docker",
        files=files,
        secrets=secrets,
        variables=variables,
        writes=writes,
        changes=(f"build the image {_name(request)}:latest here",),
        needs=(*engine, "about 1 GB of disk space; keys are passed when it runs, never built in"),
        notes=(
            *_notes(request, files, variables),
            *gaps.notes(files, [*secrets, *variables], DOCKERFILE),
        ),
        problems=(
            *engine_problems,
            *_dockerfile_problems(files),
            *gaps.problems(context, files, DOCKERFILE),
            *outgoing.problems(files, context, _MOST_MB),
        ),
    )


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Build the image, run it as a platform would, ask the app a question, and remove it all."""
    return image.rehearse(request, manifest, progress, _name(request))


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Build the image, replace an older one, and return the command that runs it."""
    engine, name = containers.find(request.context), _name(request)
    before = engine.find_image(name)
    with rehearsal("docker", request, progress) as workspace:
        built = image.build(workspace, engine, manifest, name, owner=name)
        if engine.is_builder:
            engine.remove_container(name)
            words = engine.prepare_command(name, name)
            workspace.run(*words, folder=workspace.folder, seconds=_CREATING, env=engine.env)
        steps = workspace.result().steps
    if before and before.id != built.id:
        engine.remove_older(before.id, name)
    older = [line([engine.name, "stop", each.name]) for each in engine.containers(name)]
    run = containers.typed_command(engine, _run_settings(request, manifest, built))
    return Deployment(commands=(*older, run), steps=steps)


def status(request: DeployRequest) -> DeploymentStatus:
    """Return whether the image exists here, and whether a container of it runs."""
    engine, name = containers.find(request.context), _name(request)
    for each in engine.containers(name):
        address = f"http://127.0.0.1:{each.port}" if each.port else ""
        ok = "unhealthy" not in each.status
        return DeploymentStatus(f"runs as {each.name}: {each.status}", address, ok=ok)
    image = engine.find_image(name)
    if image is None:
        return DeploymentStatus(f"there is no image {name} here", ok=False)
    state = "buildah cannot list running apps" if engine.is_builder else "no container of it runs"
    text = f"the image {name} is here ({image.size}); {state}"
    return DeploymentStatus(text, ok=engine.is_builder)


def logs(request: DeployRequest) -> str:
    """Return the last lines of the container's log."""
    engine, name = containers.find(request.context), _name(request)
    if engine.is_builder:
        raise HackkitError("buildah keeps no logs: they are in the terminal that runs the app.")
    found = engine.containers(name, stopped=True)
    if not found:
        raise HackkitError(
            f"No container of {name} is here.", fix=hackkit("deploy", "docker", "--status")
        )
    return engine.log(found[0].name)


def down(request: DeployRequest) -> str:
    """Stop and remove the containers, then the image; the volume with its index stays."""
    engine, name = containers.find(request.context), _name(request)
    gone = [f"the container {each.name}" for each in _removed(engine, name)]
    image = engine.find_image(name)
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


def _name(request: DeployRequest) -> str:
    asked = request.options.name or str(request.project.answers.get("project_name") or "")
    return slug(asked or request.project.folder.name)


def _missing_files(request: DeployRequest) -> Iterator[OutgoingFile]:
    """Yield the template's files for containers that the project lacks."""
    for name in (DOCKERFILE, ".dockerignore"):
        source = _template_file(request, name)
        if source and not (request.project.folder / name).is_file():
            yield OutgoingFile(name, source.read_bytes(), source.stat().st_size)


def _template_file(request: DeployRequest, name: str) -> Path | None:
    """Return a file of the project's template, unless it has to be rendered."""
    path = Catalog.here().templates_folder / request.project.template / "project" / name
    return path if request.project.template and path.is_file() else None


def _engine(request: DeployRequest) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Return the container engine that the plan needs, or the problem with it."""
    try:
        return (f"{containers.find(request.context).name}, which works here",), ()
    except HackkitError as error:
        return (), (error.explanation,)


def _dockerfile_problems(files: Sequence[OutgoingFile]) -> Iterator[Problem]:
    if _dockerfile(files) is None:
        yield Problem(
            "This project has no Dockerfile, and neither has its template.",
            fix="edit Dockerfile: write how the app is built and started",
        )


def _dockerfile(files: Sequence[OutgoingFile]) -> str | None:
    found = next((each for each in files if each.path == DOCKERFILE), None)
    return found.read().decode("utf-8", "replace") if found else None


def _notes(
    request: DeployRequest, files: Sequence[OutgoingFile], variables: dict[str, str]
) -> Iterator[str]:
    dockerfile, template = _dockerfile(files), _template_file(request, DOCKERFILE)
    if dockerfile and template and dockerfile != template.read_text("utf-8"):
        yield "the Dockerfile is your own: it differs from the template's"
    if dockerfile and not re.search(r"(?m)^USER\s+(?!root\b|0\b)", dockerfile):
        yield "the Dockerfile has no USER: the app would run as root"
    for name, value in variables.items():
        if "://" in value and is_loopback(value):
            yield f"{name} points to the container itself: use {containers.HOST_NAME} instead"
    quoted = ", ".join(_quoted(request))
    if quoted:
        yield f"engines do not remove quotes in .env: remove them from {quoted}"
    yield from outgoing.left_out_notes(request.context, files)


def _quoted(request: DeployRequest) -> Iterator[str]:
    """Yield the variables whose quotes in `.env` an engine would make a part of their value."""
    path = request.project.folder / ".env"
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    for match in re.finditer(r"(?m)^(?:export\s+)?(\w+)=(['\"]).*\2\s*$", text):
        yield match[1]


def _run_settings(request: DeployRequest, manifest: Manifest, image: Image) -> RunSettings:
    """Return how the user starts it: with `.env` if there is one, other variables by name."""
    context, dotenv = request.context, request.project.dotenv
    port = dotenv.get("PORT", "")
    host = dotenv.get("HOST", "0.0.0.0")  # noqa: S104 - needed inside a container
    given = [*manifest.secrets, *manifest.variables]
    return RunSettings(
        tag=_name(request),
        image=image,
        port=int(port) if port.isdigit() and int(port) else PORT,
        env_file=(request.project.folder / ".env").is_file(),
        names=tuple(name for name in given if context.origin(name) == "the environment"),
        calls_host=any(containers.HOST_NAME in value for value in manifest.variables.values()),
        fixed={} if host == "0.0.0.0" else {"HOST": "0.0.0.0"},  # noqa: S104 - the same
    )
