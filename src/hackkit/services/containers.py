"""The container engines of this machine: finds docker, podman or buildah, and drives it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.layout import PORT
from hackkit.system.command_line import line
from hackkit.system.processes import Ran

ENGINES = ("docker", "podman", "buildah")
CHOICE = "CONTAINER_ENGINE"  # a variable with the name of the one to use
DATA = "hackkit.data"  # a label of an image: the one folder that its app writes to
HERE = "host.docker.internal"  # what a container calls the machine that it runs on
OWNER = "hackkit.name"  # a label of an image and its containers: whose they are
_PATIENCE = 6.0  # seconds for a look; a stopped virtual machine answers late
_REMOVING = 60.0  # seconds; an image has many files
_GRACE = 10  # seconds for an app to end when it is told to
_MB = 1_000_000
# Each asks what is behind the command: docker's daemon, podman's machine, the images' store.
_QUESTIONS = {
    "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
    "podman": ("podman", "ps", "--quiet", "--last", "1"),
    "buildah": ("buildah", "images", "--quiet"),
}
_INSTALL = {
    "linux": "sudo apt-get install podman",
    "darwin": "brew install --cask docker-desktop",
    "windows": "winget install Docker.DockerDesktop",
}
_START = {
    ("docker", "darwin"): "open -a Docker",
    ("docker", "windows"): "docker desktop start",
    ("docker", "linux"): "sudo systemctl start docker",
    ("podman", "darwin"): "podman machine start",
    ("podman", "windows"): "podman machine start",
}
# Where an engine finds its daemon, its images and the user's log-ins.
_ENGINES_OWN = re.compile(
    r"HOME|USERPROFILE|APPDATA|LOCALAPPDATA|XDG_\w+|SSH_AUTH_SOCK|DBUS_SESSION_BUS_ADDRESS|"
    r"(?:DOCKER|BUILDKIT|BUILDX|CONTAINERS?|PODMAN|BUILDAH|STORAGE|REGISTRY|COLIMA|LIMA)_\w+"
)


@dataclass(frozen=True)
class Image:
    """A built image. size: in words. user: empty means root. data: see the label DATA."""

    id: str
    size: str = ""
    user: str = ""
    command: tuple[str, ...] = ()
    data: str = ""

    @property
    def is_roots(self) -> bool:
        return self.user.partition(":")[0] in {"", "0", "root"}


@dataclass(frozen=True)
class Container:
    """A container: its name, its state in the engine's words, and the port of this machine."""

    name: str
    words: str = ""
    port: int = 0


@dataclass(frozen=True)
class Engine:
    """One container engine, which works. Methods that return words run nothing."""

    name: str
    context: Context

    @property
    def env(self) -> Mapping[str, str]:
        """The user's own variables that the engine needs to find its images."""
        every = self.context.env.items()
        return {key: value for key, value in every if _ENGINES_OWN.fullmatch(key)}

    @property
    def is_builder(self) -> bool:
        """Whether it knows no running containers, only images and folders made from them."""
        return self.name == "buildah"

    def building(self, tag: str, folder: str, owner: str = "") -> tuple[str, ...]:
        """Return the words that build the Dockerfile of a folder."""
        own = () if self.name == "docker" else ("--format", "docker")  # else no health check
        cached = ("--layers", "--force-rm", *self._host) if self.is_builder else ()
        label = ("--label", f"{OWNER}={owner}") if owner else ()
        return (self.name, "build", *own, *cached, *label, "--tag", tag, folder)

    def preparing(self, tag: str, container: str) -> tuple[str, ...]:
        """Return the words that are needed before a container is started, if any."""
        return ("buildah", "from", "--name", container, tag) if self.is_builder else ()

    def starting(self, tag: str, image: Image, container: str, port: int) -> tuple[str, ...]:
        """Return the words that run an image as a platform would: without keys, with few rights.

        The container goes away when it ends.
        """
        if self.is_builder:
            told = ("--env", f"PORT={port}")
            return ("buildah", "run", *self._host, *told, container, "--", *image.command)
        closed: tuple[str, ...] = ()
        if image.data:  # it was made to be locked in; another image may need more
            closed = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only")
            closed += ("--tmpfs", "/tmp", "--volume", image.data)  # noqa: S108 - its own /tmp
        at = ("--publish", f"127.0.0.1:{port}:{port}", "--env", f"PORT={port}")
        return (self.name, "run", "--rm", "--name", container, *closed, *at, tag)

    def stopping(self, container: str) -> tuple[str, ...]:
        """Return the words that let an app end, if the engine can."""
        if self.is_builder:
            return ()
        return (self.name, "stop", "-t", str(_GRACE), container)

    @property
    def _host(self) -> tuple[str, ...]:
        return ("--network", "host")

    # What is there

    def look(self, tag: str) -> Image | None:
        """Return what is known of an image; None when there is none."""
        kind = ("inspect", "--type", "image") if self.is_builder else ("image", "inspect")
        ran = self._ask(*kind, tag)
        if ran is None or not ran.ok:
            return None
        try:
            said = json.loads(ran.out)
            return self._image(tag, said[0] if isinstance(said, list) else said)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Image(tag)

    def _image(self, tag: str, said: dict[str, Any]) -> Image:
        config = (said.get("Docker") or {}).get("config") or said.get("Config") or {}
        size = self._builders_size(tag) if self.is_builder else _in_mb(said.get("Size"))
        return Image(
            id=str(said.get("FromImageID") or said.get("Id")),
            size=size,
            user=str(config.get("User") or ""),
            command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
            data=str((config.get("Labels") or {}).get(DATA) or ""),
        )

    def _builders_size(self, tag: str) -> str:
        ran = self._ask("images", "--noheading", "--format", "{{.Size}}", tag)
        return ran.out.splitlines()[0].strip() if ran and ran.ok and ran.out else ""

    def containers(self, owner: str, *, stopped: bool = False) -> tuple[Container, ...]:
        """Return the containers of an owner that run here; with `stopped` the others too."""
        if self.is_builder:
            return self._made_from(owner) if stopped else ()
        every = ("--all",) if stopped else ()
        shown = "{{.Names}}\t{{.Status}}\t{{.Ports}}"
        ran = self._ask("ps", *every, "--filter", f"label={OWNER}={owner}", "--format", shown)
        rows = [row.split("\t") for row in ran.out.splitlines()] if ran and ran.ok else []
        return tuple(_container(*row[:3]) for row in rows if len(row) > 1)

    def _made_from(self, owner: str) -> tuple[Container, ...]:
        ran = self._ask("containers", "--noheading", "--format", "{{.ContainerName}}")
        names = ran.out.split() if ran and ran.ok else []
        return tuple(Container(name) for name in names if name == owner)

    def log(self, container: str, lines: int = 200) -> str:
        """Return the last lines that a container said."""
        ran = self._ask("logs", "--tail", str(lines), container)
        return "\n".join(filter(None, [ran.out, ran.err])) if ran else ""

    # What goes away

    def remove_container(self, container: str) -> bool:
        """End and remove a container with its unnamed volumes; tell whether there was one."""
        words = ("rm",) if self.is_builder else ("rm", "--force", "--volumes")
        ran = self._ask(*words, container, seconds=_REMOVING)
        return bool(ran and ran.ok)

    def remove_image(self, image: str) -> bool:
        """Remove an image, unless a container uses it; tell whether it is gone."""
        ran = self._ask("rmi", image, seconds=_REMOVING)
        return bool(ran and ran.ok)

    def remove_older(self, image: str, owner: str) -> None:
        """Remove an image that another has replaced, and those that a container had kept."""
        if self.is_builder:
            self.remove_image(image)
        else:
            kept = ("--filter", f"label={OWNER}={owner}")
            self._ask("image", "prune", "--force", *kept, seconds=_REMOVING)

    def _ask(self, *words: str, seconds: float = _PATIENCE) -> Ran | None:
        return self.context.run(self.name, *words, seconds=seconds)


def find(context: Context) -> Engine:
    """Return the first engine that works, or the one that the user chose.

    Raises HackkitError, with what starts or installs one, when none does.
    """
    chosen = context.env.get(CHOICE, "")
    broken: list[tuple[str, Ran]] = []
    for each in [chosen] if chosen in ENGINES else ENGINES:
        asked = context.run(*_QUESTIONS[each], seconds=_PATIENCE)
        if asked is None or (each == "docker" and "Emulate Docker CLI" in asked.err):
            continue  # not there, or podman under docker's name
        if asked.ok:
            return Engine(each, context)
        broken.append((each, asked))
    if broken:
        name, ran = broken[0]
        raise HackkitError(
            f"{name} is installed, but {trouble(ran)}.", fix=mend(name, ran, context)
        )
    raise HackkitError(
        f"No container engine was found: {chosen or 'docker, podman or buildah'} is needed.",
        fix=_INSTALL.get(context.system, _INSTALL["linux"]),
    )


def trouble(ran: Ran) -> str:
    """Say why an engine that is installed does not work, from how it answered."""
    if ran.timed_out:
        return "it does not answer"
    if "permission denied" in ran.err.lower():
        return "you may not use its engine"
    return "its engine is not running"


def mend(name: str, ran: Ran, context: Context) -> str:
    """Return the command that makes such an engine work."""
    if name == "docker" and context.env.get("DOCKER_HOST"):
        return "set DOCKER_HOST=" if context.system == "windows" else "unset DOCKER_HOST"
    if name == "docker" and context.system == "linux" and "permission denied" in ran.err.lower():
        return "sudo usermod -aG docker $USER && newgrp docker"
    return _START.get((name, context.system), f"{name} info")


def _container(name: str, words: str, ports: str = "") -> Container:
    published = re.search(r":(\d+)->", ports)
    return Container(name, words.lower(), int(published[1]) if published else 0)


def _in_mb(size: object) -> str:
    return f"{size / _MB:.0f} MB" if isinstance(size, int) else ""


# How a user runs it


@dataclass(frozen=True)
class Running:
    """How a user starts an image: where it is seen, and what it is given, by name.

    outward: it calls a server on this machine by the name HERE.
    """

    tag: str
    image: Image
    port: int = PORT
    env_file: bool = False
    names: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    outward: bool = False


def typed(engine: Engine, running: Running) -> str:
    """Write the command that runs an image here, with the keys that stay on this machine."""
    if engine.is_builder:
        return _typed_builder(running)
    words = [engine.name, "run", "--rm", "-p", f"{running.port}:{running.port}"]
    if running.image.data:
        words += ["-v", f"{running.tag}:{running.image.data}"]
    if running.outward and engine.name == "docker":  # podman does so by itself
        words += ["--add-host", f"{HERE}:host-gateway"]
    if running.env_file:
        words += ["--env-file", ".env"]
    for name, value in running.fixed.items():
        words += ["-e", f"{name}={value}"]
    for name in running.names:
        words += ["-e", name]
    return line([*words, running.tag])


def _typed_builder(running: Running) -> str:
    """Write it for buildah, which takes no file of variables: a shell inside reads it."""
    words = ["buildah", "run", "--network", "host"]
    for name, value in running.fixed.items():
        words += ["--env", f"{name}={value}"]
    words += [running.tag, "--"]
    if not running.env_file:
        return line([*words, *running.image.command])
    reading = ["sh", "-c", 'set -a && . /dev/stdin && exec "$@"', "sh"]
    return line([*words, *reading, *running.image.command]) + " < .env"
