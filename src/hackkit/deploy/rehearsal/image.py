"""Builds the project's Dockerfile here; rehearses a platform that does: builds, runs, asks it."""

import contextlib
import time
from collections.abc import Iterator

from hackkit.deploy import outgoing
from hackkit.deploy.explain import build_log
from hackkit.deploy.manifest import Manifest, Order, Rehearsed, Watch
from hackkit.deploy.rehearsal.stage import Stage, free_port, rehearsal
from hackkit.errors import HackkitError
from hackkit.services import containers
from hackkit.services.containers import Engine, Image

_BUILDING = 1800.0  # seconds: the first time all packages come over the venue's network
_STOPPING = 60.0  # seconds
_AT_ONCE = 2.0  # seconds: what feels so
_NAME = "Dockerfile"


def rehearse(order: Order, planned: Manifest, watch: Watch, name: str) -> Rehearsed:
    """Do here what the platform does: build the image, start it with a PORT, ask it a question.

    Nothing of it stays. Raises HackkitError when something is wrong with it.
    """
    engine = containers.find(order.context)
    tag = f"{name}-{planned.target}-rehearsal"
    with _cleared(engine, tag), rehearsal(planned.target, order, watch) as stage:
        image = build(stage, engine, planned, tag)
        port = free_port()
        if words := engine.preparing(tag, tag):
            stage.run(*words, folder=stage.folder, seconds=_BUILDING, env=engine.env)
        words = engine.starting(tag, image, tag, port)
        stage.start(*words, folder=stage.folder, env=engine.env)
        stage.try_app(port, order.context.app().question)
        if words := engine.stopping(tag):
            with stage.step("Stop the app") as note:
                began = time.monotonic()
                stage.run(*words, folder=stage.folder, seconds=_STOPPING, env=engine.env)
                note.outcome = _manner(time.monotonic() - began)
        return stage.done()


def build(stage: Stage, engine: Engine, planned: Manifest, tag: str, owner: str = "") -> Image:
    """Build the image from the files that leave, and from no others; mark it as the owner's."""
    found = (each.read() for each in planned.files if each.path == _NAME)
    text = next(found, b"").decode("utf-8", "replace")
    with stage.step("Build the image") as note, outgoing.staged(planned.files) as folder:
        stage.run(
            *engine.building(tag, str(folder), owner),
            folder=folder,
            seconds=_BUILDING,
            explain=lambda said: build_log.why(said, text, engine.name),
            env=engine.env,
        )
        image = engine.look(tag)
        if image is None:
            raise HackkitError(f"{engine.name} built no image {tag}.", fix=f"{engine.name} images")
        note.outcome = f"{image.size}, runs as {image.user or 'root'}"
    return image


@contextlib.contextmanager
def _cleared(engine: Engine, tag: str) -> Iterator[None]:
    """Take the container and the image of a rehearsal away, before and after it."""
    engine.remove_container(tag)
    try:
        yield
    finally:
        engine.remove_container(tag)
        engine.remove_image(tag)


def _manner(seconds: float) -> str:
    return "at once" if seconds < _AT_ONCE else f"after {seconds:.0f} s"
