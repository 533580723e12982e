"""A container on Modal that runs while somebody visits, made from uv.lock without a Dockerfile."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import Condition, Live, Manifest, Order, Rehearsed, Watch
from hackkit.deploy.platform_cli import Cli, Command, Tool, Trouble
from hackkit.deploy.platform_config import PORT, Wishes
from hackkit.deploy.rehearsal import imports
from hackkit.deploy.rehearsal.stage import free_port, rehearsal, weight
from hackkit.errors import HackkitError
from hackkit.project.lockfile import least_python
from hackkit.system.command_line import hackkit

TITLE = "Modal"
OPTIONS = ("name", "region", "hardware")
FILE = "modal_app.py"
_ADDRESS = re.compile(r"https://[\w.-]+\.modal\.run")
_INSTALL = "uv tool install modal"
_TOOL = Tool(
    program="modal",
    title=TITLE,
    install=dict.fromkeys(("linux", "darwin", "windows"), _INSTALL),
    login="modal setup",
    who=("token", "info"),
    troubles=(
        Trouble(
            r"(?i)token missing|token validation failed|could not authenticate|unauthenticated",
            "Modal does not know you, or not any more.",
            "modal setup",
        ),
        Trouble(
            r"(?i)billing|spend limit|budget|payment|out of credit",
            "Modal wants a means of payment, or your limit is spent.",
            "open https://modal.com/settings/usage",
        ),
        Trouble(
            r"(?i)secret '?[\w-]+'? not found|secret .*does not exist",
            "The file names a secret that this workspace does not have.",
            "modal secret list",
        ),
        Trouble(
            r"(?i)image builder version <=",
            "The workspace's image builder is too old to read uv.lock.",
            "open https://modal.com/docs/guide/images",
        ),
        Trouble(
            r"(?i)image build .*failed|failed to build image|terminated with the exception",
            "Modal could not install the app's packages.",
            hackkit("deploy", "modal", "--rehearse"),
        ),
    ),
)
_TEMPLATE = f'''\
"""How Modal runs the app: `modal deploy modal_app.py`. See https://modal.com/docs/guide."""

import subprocess

import modal

PORT = {PORT}
# Files that stay here. (`hackkit deploy modal` sends what git tracks, and nothing else.)
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
# What the app finds in its environment, besides the keys.
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
    max_containers=1,  # one only: the index lies in it
    min_containers=$running,  # 1: never sleeps, and costs while nobody comes
    scaledown_window=$awake,  # seconds after the last visitor until it sleeps
    memory=$memory,  # MB
    gpu=$hardware,  # "T4", "A10", ...
    region=$region,  # "eu", "us", ...: https://modal.com/docs/guide/region-selection
    timeout=3600,  # seconds that one visit may take
)
@modal.concurrent(max_inputs=100)  # visitors at the same time
@modal.web_server(PORT, startup_timeout=180)
def serve() -> None:
    """Start the app; Modal waits until it listens."""
    subprocess.Popen(["python", "app.py"], cwd="/app")
'''


def plan(order: Order) -> Manifest:
    """Say what would be written, sent and set."""
    name = _name(order)
    secrets, variables = outgoing.variables(order.context)
    written = outgoing.made(FILE, _config(order, name, secrets, variables))
    changes = [f"make or update the app {name} on Modal: one container"]
    if secrets:
        changes.append(f"make or update the secret {_keys(name)} on Modal")
    wishes = Wishes(
        changes=tuple(changes),
        needs=(
            "an account on Modal",
            f"the program modal ({_INSTALL})",
            "what it costs: by the second while it runs, see https://modal.com/pricing",
        ),
        notes=("the app sleeps when nobody comes; the next visitor waits for its start",),
    )
    return platform_config.planned("modal", order, written, wishes)


def rehearse(order: Order, manifest: Manifest, watch: Watch) -> Rehearsed:
    """Install the locked packages into a fresh folder, and start the app as Modal does."""
    locked = any(each.path == "uv.lock" for each in manifest.files)
    words = ("sync", "--no-dev", *(["--frozen"] if locked else []))
    port = free_port()
    ours = {**manifest.variables, "HOST": "0.0.0.0", "PORT": str(port)}  # noqa: S104 - as there
    with rehearsal("modal", order, watch) as stage, outgoing.staged(manifest.files) as folder:
        with stage.step("Install the packages of uv.lock") as note:
            stage.run(*order.context.uv, *words, folder=folder, seconds=900)
            note.outcome = weight(folder / ".venv")
        inside = (
            ("Scripts", "python.exe") if order.context.system == "windows" else ("bin", "python")
        )
        python = folder.joinpath(".venv", *inside)
        imports.find(stage, order, python, manifest.files, "app.py")
        stage.start(str(python), "app.py", folder=folder, env=ours)
        stage.try_app(port, order.context.app().question)
        return stage.done()


def ship(order: Order, manifest: Manifest, watch: Watch) -> Live:
    """Run modal, or say what is left to type."""
    name = _name(order)
    dashboard = "https://modal.com/apps"
    cli = Cli(_TOOL, order, manifest.secrets)
    if not (order.options.yes and cli.there):
        typed = cli.to_type(_commands(manifest, name, Path("KEYS")))
        return Live(dashboard=dashboard, commands=typed)
    cli.ready()
    with outgoing.staged(manifest.files) as folder:
        with _kept_private(manifest.secrets) as keys:
            *setting, deploying = _commands(manifest, name, keys)
            platform_cli.run_all(cli, setting, folder, watch)
        said = platform_cli.run_all(cli, [deploying], folder, watch)
    address = _ADDRESS.search(said[-1])
    if address is None:
        raise HackkitError(
            "Modal took the app and named no address.", fix=f"modal app dashboard {name}"
        )
    return Live(address=address[0], dashboard=dashboard)


def status(order: Order) -> Condition:
    """Ask Modal how the app is."""
    name = _name(order)
    cli = Cli(_TOOL, order)
    cli.ready()
    ran = cli.ask("app", "info", name, "--json")
    if not ran.ok:
        return Condition(f"there is no app {name} of yours", well=False)
    try:
        state = str(json.loads(ran.out)["lifecycle"]["state"])
    except (ValueError, TypeError, KeyError):
        return Condition("modal said what hackkit does not understand", well=False)
    address = _ADDRESS.search(ran.out)
    return Condition(state, address[0] if address else "", well=state == "deployed")


def logs(order: Order) -> str:
    """Return the last lines that the app said."""
    cli = Cli(_TOOL, order)
    cli.ready()
    ran = cli.ask("app", "logs", _name(order), "--tail", "200")
    if not ran.ok:
        raise HackkitError(f"modal gave no log: {ran.err or ran.out}", fix="modal app list")
    return ran.out


def down(order: Order) -> str:
    """Stop the app for good; its secret stays."""
    name = _name(order)
    cli = Cli(_TOOL, order)
    cli.ready()
    command = Command("Stopping the app", ("modal", "app", "stop", name, "--yes"))
    cli.do(command, order.project.folder)
    return f"the app {name} on Modal (its secret {_keys(name)} is still there)"


def _commands(manifest: Manifest, name: str, keys: Path) -> tuple[Command, ...]:
    create = ("modal", "secret", "create", _keys(name))
    # Typed, `NAME=-` asks for the value in an editor: it shall stand in no shell's history.
    typed = " ".join([*create, *(f"{each}=-" for each in manifest.secrets), "--force"])
    setting = Command("Setting the keys", (*create, "--from-json", str(keys), "--force"), "", typed)
    deploying = Command(
        "Building and starting the app on Modal (a few minutes)",
        ("modal", "deploy", FILE),
        seconds=1800,
    )
    return (setting, deploying) if manifest.secrets else (deploying,)


@contextlib.contextmanager
def _kept_private(secrets: Mapping[str, str]) -> Iterator[Path]:
    """Give the secrets to modal, which takes them neither by its input nor by variables.

    On Linux they stay in this process's memory, which has a path there; nothing is written down.
    Elsewhere it is a file that its owner alone can read, and that is gone afterwards.
    """
    words = json.dumps(dict(secrets))
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("hackkit"), "w", encoding="utf-8") as memory:
            os.fchmod(memory.fileno(), 0o600)
            memory.write(words)
            memory.flush()
            yield Path(f"/proc/{os.getpid()}/fd/{memory.fileno()}")
        return
    handle, name = tempfile.mkstemp(prefix="hackkit-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(words)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _config(
    order: Order, name: str, secrets: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    options = order.options
    lines = (f"    {_quoted(each)}: {_quoted(variables[each])}," for each in variables)
    keys = f'modal.Secret.from_name("{_keys(name)}")' if secrets else ""
    values = {
        "name": name,
        "python": ".".join((least_python(order.project.folder) or "3.11").split(".")[:2]),
        "variables": platform_config.block(lines),
        "secrets": keys,
        "running": "0",
        "awake": "600",
        "memory": str(platform_config.memory_mb(order)),
        "hardware": "None",
        "region": "None",
    }
    asked = {
        "name": name,
        "secrets": keys,
        "hardware": _quoted(options.hardware) if options.hardware else "",
        "region": _quoted(options.region) if options.region else "",
    }
    return platform_config.filled(_TEMPLATE, values, asked, order.project.folder / FILE)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(order: Order) -> str:
    mine = platform_config.present(order.project.folder / FILE, r'^app = modal\.App\(["\']([\w-]+)')
    return platform_config.service_name(order, mine)


def _keys(name: str) -> str:
    return f"{name}-keys"
