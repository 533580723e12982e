"""A container on Modal, built from uv.lock without a Dockerfile; it sleeps without visitors."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    Progress,
    RehearsalResult,
)
from hackkit.deploy.platform_cli import Cli, Command, Tool
from hackkit.deploy.platform_config import ManifestParts
from hackkit.deploy.rehearsal import imports
from hackkit.deploy.rehearsal.workspace import folder_size, free_port, rehearsal
from hackkit.errors import HackkitError, Problem
from hackkit.project.layout import PORT, venv_python
from hackkit.project.lockfile import least_python
from hackkit.system import uv
from hackkit.system.command_line import hackkit, line

TITLE = "Modal"
OPTIONS = ("name", "region", "hardware")
FILE = "modal_app.py"
_ADDRESS = re.compile(r"https://[\w.-]+\.modal\.run")
_INSTALL = uv.typed("tool", "install", "modal")
_TOOL = Tool(
    program="modal",
    title=TITLE,
    install=dict.fromkeys(("linux", "darwin", "windows"), _INSTALL),
    login="modal setup",
    login_check=("token", "info"),
    known_errors={
        r"(?i)token missing|token validation failed|not authenticate|unauthenticated": Problem(
            "You are not logged in to Modal, or the login has expired.", "modal setup"
        ),
        r"(?i)billing|spend limit|budget|payment|out of credit": Problem(
            "Modal needs a payment method, or your spend limit is reached.",
            "open https://modal.com/settings/usage",
        ),
        r"(?i)secret '?[\w-]+'? not found|secret .*does not exist": Problem(
            "The workspace does not have a secret that the file names.", "modal secret list"
        ),
        r"(?i)image builder version <=": Problem(
            "The workspace's image builder is too old to read uv.lock.",
            "open https://modal.com/docs/guide/images",
        ),
        r"(?i)image build .*failed|failed to build image|terminated with the exception": Problem(
            "Modal could not install the app's packages.",
            hackkit("deploy", "modal", "--rehearse"),
        ),
    },
)
_TEMPLATE = f'''\
"""How Modal runs the app: `modal deploy modal_app.py`. See https://modal.com/docs/guide."""

import subprocess

import modal

PORT = {PORT}
# Files that are not sent. (`hackkit deploy modal` sends only files that git tracks.)
STAYS = [
    "**/.env*",
    "**/.git",
    "**/.venv",
    "**/.*_cache",
    "**/__pycache__",
    "docs/uploads",
    "feedback.jsonl",
    "index",
]
# The app's environment variables, except the keys.
ENV = {{
    "HOST": "0.0.0.0",
    "PORT": str(PORT),
$variables}}

image = (
    modal.Image.debian_slim(python_version="$python")  # as in pyproject.toml
    .uv_sync(extra_options="--no-dev")  # the packages of uv.lock
    .add_local_dir(".", "/app", copy=True, ignore=STAYS)
)
app = modal.App("$name")  # a part of the address


@app.function(
    image=image,
    env=ENV,
    secrets=[$secrets],
    max_containers=1,  # only one: each would have its own index
    min_containers=$running,  # 1: never sleeps, and costs without visitors too
    scaledown_window=$awake,  # seconds after the last visitor until it sleeps
    memory=$memory,  # MB
    gpu=$hardware,  # "T4", "A10", ...
    region=$region,  # "eu", "us", ...: https://modal.com/docs/guide/region-selection
    timeout=3600,  # seconds for one visit
)
@modal.concurrent(max_inputs=100)  # concurrent visitors
@modal.web_server(PORT, startup_timeout=180)
def serve() -> None:
    """Start the app; Modal waits until it listens."""
    subprocess.Popen(["python", "app.py"], cwd="/app")
'''


def plan(request: DeployRequest) -> Manifest:
    """Return what would be written, sent and set."""
    name = _name(request)
    secrets, variables = outgoing.variables(request.context)
    written = outgoing.generated(FILE, _config(request, name, secrets, variables))
    changes = [f"create or update the app {name} on Modal: one container"]
    if secrets:
        changes.append(f"create or update the secret {_keys(name)} on Modal")
    parts = ManifestParts(
        changes=tuple(changes),
        needs=(
            "an account on Modal",
            f"the program modal ({_INSTALL})",
            "payment by the second while it runs: see https://modal.com/pricing",
        ),
        notes=("the app sleeps without visitors; the next visitor waits until it has started",),
    )
    return platform_config.manifest_of("modal", request, written, parts)


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Install the locked packages in a clean folder, and start the app as Modal does."""
    locked = any(each.path == "uv.lock" for each in manifest.files)
    words = ("sync", "--no-dev", *(["--frozen"] if locked else []))
    port = free_port()
    env = {**manifest.variables, "HOST": "0.0.0.0", "PORT": str(port)}  # noqa: S104 - as on Modal
    with (
        rehearsal("modal", request, progress) as workspace,
        outgoing.copied(manifest.files) as folder,
    ):
        with workspace.step("Install the packages of uv.lock") as outcome:
            workspace.run(*request.context.uv, *words, folder=folder, seconds=900)
            outcome.append(folder_size(folder / ".venv"))
        python = venv_python(folder / ".venv", windows=request.context.system == "windows")
        imports.check(workspace, request.context, manifest.files, python, "app.py")
        status = request.context.app()  # before the app needs the processor
        app = workspace.start(str(python), "app.py", folder=folder, env=env)
        workspace.try_app(app, port, status)
        return workspace.result()


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Run modal, or return the commands for the user to run."""
    name = _name(request)
    dashboard = "https://modal.com/apps"
    cli = Cli(_TOOL, request, manifest.secrets)
    if not (request.options.yes and cli.installed):
        typed = cli.manual_commands(_commands(manifest, name, Path("KEYS")))
        return Deployment(dashboard=dashboard, commands=typed)
    cli.require_login()
    with outgoing.copied(manifest.files) as folder:
        with _secrets_file(manifest.secrets) as keys:
            *settings, deploy_command = _commands(manifest, name, keys)
            platform_cli.run_all(cli, settings, folder, progress)
        outputs = platform_cli.run_all(cli, [deploy_command], folder, progress)
    address = _ADDRESS.search(outputs[-1])
    if address is None:
        raise HackkitError(
            "Modal deployed the app, but returned no address.", fix=f"modal app dashboard {name}"
        )
    return Deployment(address=address[0], dashboard=dashboard)


def status(request: DeployRequest) -> DeploymentStatus:
    """Ask Modal for the app's state."""
    name = _name(request)
    cli = Cli(_TOOL, request)
    cli.require_login()
    ran = cli.ask("app", "info", name, "--json")
    if not ran.ok:
        return DeploymentStatus(f"your account has no app {name}", ok=False)
    try:
        state = str(json.loads(ran.out)["lifecycle"]["state"])
    except (ValueError, TypeError, KeyError):
        return DeploymentStatus("modal's answer could not be parsed", ok=False)
    address = _ADDRESS.search(ran.out)
    return DeploymentStatus(state, address[0] if address else "", ok=state == "deployed")


def logs(request: DeployRequest) -> str:
    """Return the last lines of the app's log."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    ran = cli.ask("app", "logs", _name(request), "--tail", "200")
    if not ran.ok:
        raise HackkitError(f"modal returned no log: {ran.err or ran.out}", fix="modal app list")
    return ran.out


def down(request: DeployRequest) -> str:
    """Stop and remove the app; its secret stays."""
    name = _name(request)
    cli = Cli(_TOOL, request)
    cli.require_login()
    command = Command("Stopping the app", ("modal", "app", "stop", name, "--yes"))
    cli.run(command, request.project.folder)
    return f"the app {name} on Modal (its secret {_keys(name)} is still there)"


def _commands(manifest: Manifest, name: str, keys: Path) -> tuple[Command, ...]:
    create = ("modal", "secret", "create", _keys(name))
    # For the user: `NAME=-` asks for the value in an editor, so no shell's history has it.
    typed = line([*create, *(f"{each}=-" for each in manifest.secrets), "--force"])
    setting = Command("Setting the keys", (*create, "--from-json", str(keys), "--force"), "", typed)
    deploy = Command(
        "Building and starting the app on Modal (a few minutes)",
        ("modal", "deploy", FILE),
        seconds=1800,
    )
    return (setting, deploy) if manifest.secrets else (deploy,)


@contextlib.contextmanager
def _secrets_file(secrets: Mapping[str, str]) -> Iterator[Path]:
    """Yield a path from which modal reads the secrets; it cannot read its input or variables.

    On Linux the path is memory of this process: nothing is written to disk. On other systems it is
    a file that only its owner can read, removed afterwards.
    """
    text = json.dumps(dict(secrets))
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("hackkit"), "w", encoding="utf-8") as memory:
            os.fchmod(memory.fileno(), 0o600)
            memory.write(text)
            memory.flush()
            yield Path(f"/proc/{os.getpid()}/fd/{memory.fileno()}")
        return
    handle, name = tempfile.mkstemp(prefix="hackkit-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _config(
    request: DeployRequest, name: str, secrets: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    options = request.options
    lines = (f"    {_quoted(each)}: {_quoted(variables[each])}," for each in variables)
    keys = f'modal.Secret.from_name("{_keys(name)}")' if secrets else ""
    values = {
        "name": name,
        "python": ".".join((least_python(request.project.folder) or "3.11").split(".")[:2]),
        "variables": platform_config.block(lines),
        "secrets": keys,
        "running": "0",
        "awake": "600",
        "memory": str(platform_config.memory_mb(request)),
        "hardware": "None",
        "region": "None",
    }
    asked = {
        "name": name,
        "secrets": keys,
        "hardware": _quoted(options.hardware) if options.hardware else "",
        "region": _quoted(options.region) if options.region else "",
    }
    return platform_config.filled(_TEMPLATE, values, asked, request.project.folder / FILE)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(request: DeployRequest) -> str:
    mine = platform_config.current_value(
        request.project.folder / FILE, r'^app = modal\.App\(["\']([\w-]+)'
    )
    return platform_config.service_name(request, mine)


def _keys(name: str) -> str:
    return f"{name}-keys"
