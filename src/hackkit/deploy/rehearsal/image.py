"""Builds the project's Dockerfile locally, and rehearses a deployment with the image."""

import contextlib
import time
from collections.abc import Iterator

from hackkit.deploy import outgoing
from hackkit.deploy.explain import build_log
from hackkit.deploy.manifest import DeployRequest, Manifest, Progress, RehearsalResult
from hackkit.deploy.rehearsal.workspace import Workspace, free_port, rehearsal
from hackkit.errors import HackkitError
from hackkit.project.layout import DOCKERFILE
from hackkit.services import containers
from hackkit.services.containers import Engine, Image

_BUILDING = 1800.0  # seconds: the first time all packages are downloaded
_STOPPING = 60.0  # seconds
_IMMEDIATE = 2.0  # seconds: shorter waits are called immediate


def rehearse(
    request: DeployRequest, manifest: Manifest, progress: Progress, name: str
) -> RehearsalResult:
    """Do locally what the platform does: build the image, start it with a PORT, ask a question.

    Image and container are removed afterwards. Raises HackkitError when a step fails.
    """
    engine = containers.find(request.context)
    tag = f"{name}-{manifest.target}-rehearsal"
    with _removed(engine, tag), rehearsal(manifest.target, request, progress) as workspace:
        image = build(workspace, engine, manifest, tag)
        port = free_port()
        if words := engine.prepare_command(tag, tag):
            workspace.run(*words, folder=workspace.folder, seconds=_BUILDING, env=engine.env)
        status = request.context.app()  # before the app needs the processor
        words = engine.run_command(tag, image, tag, port)
        app = workspace.start(*words, folder=workspace.folder, env=engine.env)
        workspace.try_app(app, port, status)
        if words := engine.stop_command(tag):
            with workspace.step("Stop the app") as outcome:
                started = time.monotonic()
                workspace.run(*words, folder=workspace.folder, seconds=_STOPPING, env=engine.env)
                outcome.append(_duration(time.monotonic() - started))
        return workspace.result()


def build(
    workspace: Workspace, engine: Engine, manifest: Manifest, tag: str, owner: str = ""
) -> Image:
    """Build the image from the manifest's files and no others; label it with its owner."""
    found = (each.read() for each in manifest.files if each.path == DOCKERFILE)
    text = next(found, b"").decode("utf-8", "replace")
    with workspace.step("Build the image") as outcome, outgoing.copied(manifest.files) as folder:
        workspace.run(
            *engine.build_command(tag, str(folder), owner),
            folder=folder,
            seconds=_BUILDING,
            explain=lambda output: build_log.explain(output, text, engine.name),
            env=engine.env,
        )
        image = engine.find_image(tag)
        if image is None:
            raise HackkitError(f"{engine.name} built no image {tag}.", fix=f"{engine.name} images")
        outcome.append(f"{image.size}, runs as {image.user or 'root'}")
    return image


@contextlib.contextmanager
def _removed(engine: Engine, tag: str) -> Iterator[None]:
    """Remove the rehearsal's container and image, before and after."""
    engine.remove_container(tag)
    try:
        yield
    finally:
        engine.remove_container(tag)
        engine.remove_image(tag)


def _duration(seconds: float) -> str:
    return "immediately" if seconds < _IMMEDIATE else f"after {seconds:.0f} s"
