"""Finds and runs a container engine of this machine: docker, podman or buildah."""

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
DATA = "hackkit.data"  # a label of an image: the only folder that its app writes to
HOST_NAME = "host.docker.internal"  # this machine's name inside a container
OWNER = "hackkit.name"  # a label of an image and its containers: their app
_TIMEOUT = 6.0  # seconds for a query; a stopped virtual machine answers late
_REMOVING = 60.0  # seconds; an image has many files
_GRACE = 10  # seconds that an app has to stop
_MB = 1_000_000
# Each queries more than the command: docker's daemon, podman's machine, the image store.
_QUERIES = {
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
# Variables with which an engine finds its daemon, its images and the user's logins.
_ENGINE_VARIABLES = re.compile(
    r"HOME|USERPROFILE|APPDATA|LOCALAPPDATA|XDG_\w+|SSH_AUTH_SOCK|DBUS_SESSION_BUS_ADDRESS|"
    r"(?:DOCKER|BUILDKIT|BUILDX|CONTAINERS?|PODMAN|BUILDAH|STORAGE|REGISTRY|COLIMA|LIMA)_\w+"
)


@dataclass(frozen=True)
class Image:
    """A built image. size: as text ("412 MB"). user: empty means root. data: the label DATA."""

    id: str
    size: str = ""
    user: str = ""
    command: tuple[str, ...] = ()
    data: str = ""

    @property
    def runs_as_root(self) -> bool:
        """Whether the app in it runs as root."""
        return self.user.partition(":")[0] in {"", "0", "root"}


@dataclass(frozen=True)
class Container:
    """A container: its name, its status in the engine's words, and its port on this machine."""

    name: str
    status: str = ""
    port: int = 0


@dataclass(frozen=True)
class Engine:
    """A working container engine. Methods named `*_command` return a command and run nothing."""

    name: str
    context: Context

    @property
    def env(self) -> Mapping[str, str]:
        """The user's variables that the engine needs to find its images."""
        every = self.context.env.items()
        return {key: value for key, value in every if _ENGINE_VARIABLES.fullmatch(key)}

    @property
    def is_builder(self) -> bool:
        """Whether it only builds images, and cannot list running containers."""
        return self.name == "buildah"

    def build_command(self, tag: str, folder: str, owner: str = "") -> tuple[str, ...]:
        """Return the command that builds the Dockerfile of a folder."""
        form = () if self.name == "docker" else ("--format", "docker")  # for the health check
        cached = ("--layers", "--force-rm", *self._host) if self.is_builder else ()
        label = ("--label", f"{OWNER}={owner}") if owner else ()
        return (self.name, "build", *form, *cached, *label, "--tag", tag, folder)

    def prepare_command(self, tag: str, container: str) -> tuple[str, ...]:
        """Return the command that must run before a container is started, if any."""
        return ("buildah", "from", "--name", container, tag) if self.is_builder else ()

    def run_command(self, tag: str, image: Image, container: str, port: int) -> tuple[str, ...]:
        """Return the command that runs an image as a platform would: no keys, few permissions.

        The container is removed when it ends.
        """
        if self.is_builder:
            env = ("--env", f"PORT={port}")
            return ("buildah", "run", *self._host, *env, container, "--", *image.command)
        limits: tuple[str, ...] = ()
        if image.data:  # our images need no more; others may
            limits = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only")
            limits += ("--tmpfs", "/tmp", "--volume", image.data)  # noqa: S108 - its own /tmp
        at = ("--publish", f"127.0.0.1:{port}:{port}", "--env", f"PORT={port}")
        return (self.name, "run", "--rm", "--name", container, *limits, *at, tag)

    def stop_command(self, container: str) -> tuple[str, ...]:
        """Return the command that stops an app, if the engine has one."""
        if self.is_builder:
            return ()
        return (self.name, "stop", "-t", str(_GRACE), container)

    @property
    def _host(self) -> tuple[str, ...]:
        return ("--network", "host")

    # Queries

    def find_image(self, tag: str) -> Image | None:
        """Return an image; None when it does not exist."""
        kind = ("inspect", "--type", "image") if self.is_builder else ("image", "inspect")
        ran = self._ask(*kind, tag)
        if ran is None or not ran.ok:
            return None
        try:
            data = json.loads(ran.out)
            return self._image(tag, data[0] if isinstance(data, list) else data)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Image(tag)

    def _image(self, tag: str, data: dict[str, Any]) -> Image:
        config = (data.get("Docker") or {}).get("config") or data.get("Config") or {}
        size = self._buildah_size(tag) if self.is_builder else _in_mb(data.get("Size"))
        return Image(
            id=str(data.get("FromImageID") or data.get("Id")),
            size=size,
            user=str(config.get("User") or ""),
            command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
            data=str((config.get("Labels") or {}).get(DATA) or ""),
        )

    def _buildah_size(self, tag: str) -> str:
        ran = self._ask("images", "--noheading", "--format", "{{.Size}}", tag)
        return ran.out.splitlines()[0].strip() if ran and ran.ok and ran.out else ""

    def containers(self, owner: str, *, stopped: bool = False) -> tuple[Container, ...]:
        """Return an owner's running containers; with `stopped` the stopped ones too."""
        if self.is_builder:
            return self._buildah_containers(owner) if stopped else ()
        every = ("--all",) if stopped else ()
        shown = "{{.Names}}\t{{.Status}}\t{{.Ports}}"
        ran = self._ask("ps", *every, "--filter", f"label={OWNER}={owner}", "--format", shown)
        rows = [row.split("\t") for row in ran.out.splitlines()] if ran and ran.ok else []
        return tuple(_container(*row[:3]) for row in rows if len(row) > 1)

    def _buildah_containers(self, owner: str) -> tuple[Container, ...]:
        ran = self._ask("containers", "--noheading", "--format", "{{.ContainerName}}")
        names = ran.out.split() if ran and ran.ok else []
        return tuple(Container(name) for name in names if name == owner)

    def log(self, container: str, lines: int = 200) -> str:
        """Return the last lines of a container's log."""
        ran = self._ask("logs", "--tail", str(lines), container)
        return "\n".join(filter(None, [ran.out, ran.err])) if ran else ""

    # Removing

    def remove_container(self, container: str) -> bool:
        """Stop and remove a container with its unnamed volumes; return whether it existed."""
        words = ("rm",) if self.is_builder else ("rm", "--force", "--volumes")
        ran = self._ask(*words, container, seconds=_REMOVING)
        return bool(ran and ran.ok)

    def remove_image(self, image: str) -> bool:
        """Remove an image, unless a container uses it; return whether it was removed."""
        ran = self._ask("rmi", image, seconds=_REMOVING)
        return bool(ran and ran.ok)

    def remove_older(self, image: str, owner: str) -> None:
        """Remove an owner's replaced image, and older ones that a container still used then."""
        if self.is_builder:
            self.remove_image(image)
        else:
            kept = ("--filter", f"label={OWNER}={owner}")
            self._ask("image", "prune", "--force", *kept, seconds=_REMOVING)

    def _ask(self, *words: str, seconds: float = _TIMEOUT) -> Ran | None:
        return self.context.run(self.name, *words, seconds=seconds)


def find(context: Context) -> Engine:
    """Return the first engine that works, or the one that the user chose.

    Raises HackkitError, with the command that starts or installs one, when none works.
    """
    chosen = context.env.get(CHOICE, "")
    broken: list[tuple[str, Ran]] = []
    for each in [chosen] if chosen in ENGINES else ENGINES:
        asked = context.run(*_QUERIES[each], seconds=_TIMEOUT)
        if asked is None or (each == "docker" and "Emulate Docker CLI" in asked.err):
            continue  # not installed, or podman with docker's name
        if asked.ok:
            return Engine(each, context)
        broken.append((each, asked))
    if broken:
        name, ran = broken[0]
        raise HackkitError(
            f"{name} is installed, but {why_unavailable(ran)}.", fix=fix_for(name, ran, context)
        )
    raise HackkitError(
        f"No container engine was found: {chosen or 'docker, podman or buildah'} is needed.",
        fix=_INSTALL.get(context.system, _INSTALL["linux"]),
    )


def why_unavailable(ran: Ran) -> str:
    """Return why an installed engine does not work, from its answer to a query."""
    if ran.timed_out:
        return "it does not answer"
    if "permission denied" in ran.err.lower():
        return "you have no permission to use its engine"
    return "its engine is not running"


def fix_for(name: str, ran: Ran, context: Context) -> str:
    """Return the command that starts such an engine, or gives the user access."""
    if name == "docker" and context.env.get("DOCKER_HOST"):
        return context.shell.unset("DOCKER_HOST")
    if name == "docker" and context.system == "linux" and "permission denied" in ran.err.lower():
        return context.shell.then("sudo usermod -aG docker $USER", "newgrp docker")
    return _START.get((name, context.system), f"{name} info")


def _container(name: str, status: str, ports: str = "") -> Container:
    published = re.search(r":(\d+)->", ports)
    return Container(name, status.lower(), int(published[1]) if published else 0)


def _in_mb(size: object) -> str:
    return f"{size / _MB:.0f} MB" if isinstance(size, int) else ""


# The command for the user


@dataclass(frozen=True)
class RunSettings:
    """How the user starts an image: its port, and its variables by name.

    calls_host: it calls a server on this machine, by the name HOST_NAME.
    """

    tag: str
    image: Image
    port: int = PORT
    env_file: bool = False
    names: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    calls_host: bool = False


def typed_command(engine: Engine, settings: RunSettings) -> str:
    """Write the command with which the user runs an image, without any key in it."""
    if engine.is_builder:
        return _typed_buildah(settings)
    words = [engine.name, "run", "--rm", "-p", f"{settings.port}:{settings.port}"]
    if settings.image.data:
        words += ["-v", f"{settings.tag}:{settings.image.data}"]
    if settings.calls_host and engine.name == "docker":  # podman adds the name itself
        words += ["--add-host", f"{HOST_NAME}:host-gateway"]
    if settings.env_file:
        words += ["--env-file", ".env"]
    for name, value in settings.fixed.items():
        words += ["-e", f"{name}={value}"]
    for name in settings.names:
        words += ["-e", name]
    return line([*words, settings.tag])


def _typed_buildah(settings: RunSettings) -> str:
    """Write it for buildah, which has no --env-file: a shell in the container reads it."""
    words = ["buildah", "run", "--network", "host"]
    for name, value in settings.fixed.items():
        words += ["--env", f"{name}={value}"]
    words += [settings.tag, "--"]
    if not settings.env_file:
        return line([*words, *settings.image.command])
    shell = ["sh", "-c", 'set -a && . /dev/stdin && exec "$@"', "sh"]
    return line([*words, *shell, *settings.image.command]) + " < .env"
