"""A machine on Fly.io, built there from the project's Dockerfile."""

import json
import re
from collections.abc import Mapping

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
from hackkit.deploy.rehearsal import image
from hackkit.errors import HackkitError, Problem
from hackkit.project.layout import PORT
from hackkit.system.command_line import hackkit

TITLE = "Fly.io"
OPTIONS = ("name", "region", "hardware")
FILE = "fly.toml"
_REGION = "cdg"  # Paris
_HARDWARE = "shared-cpu-1x"
_TOOL = Tool(
    program="fly",
    title=TITLE,
    install={
        "linux": "curl -L https://fly.io/install.sh | sh",
        "darwin": "brew install flyctl",
        "windows": 'powershell -Command "iwr https://fly.io/install.ps1 -useb | iex"',
    },
    login="fly auth login",
    login_check=("auth", "whoami"),
    known_errors={
        r"(?i)name (?:has already been|is already) taken|already been taken": Problem(
            "The name is taken: an app's name is unique on all of Fly.io.",
            hackkit("deploy", "fly", "--name", "ANOTHER-NAME"),
        ),
        r"(?i)payment|billing|credit card|past due|high risk": Problem(
            "Fly.io needs a payment method before it runs an app.",
            "open https://fly.io/dashboard/personal/billing",
        ),
        r"(?i)not logged in|unauthori[sz]ed|no access token|authenticate": Problem(
            "You are not logged in to Fly.io, or the login has expired.", "fly auth login"
        ),
        r"(?i)region .*(?:not found|not valid|invalid)|no capacity|insufficient resources": Problem(
            "The region does not exist, or has no capacity at the moment.",
            "fly platform regions",
        ),
        r"(?i)health ?checks? .*fail|smoke checks.*failed|not listening on the expected": Problem(
            "The app was built, but did not answer in time.",
            hackkit("deploy", "fly", "--logs"),
        ),
    },
)
_TEMPLATE = f"""\
# What Fly.io runs, and how: https://fly.io/docs/reference/configuration/
app = "$name"  # its address is https://$name.fly.dev
primary_region = "$region"  # `fly platform regions` lists them all

[build]
dockerfile = "Dockerfile"

[env]  # without keys: those are set with `fly secrets`
HOST = "0.0.0.0"
PORT = "{PORT}"
$variables
[http_service]
internal_port = {PORT}  # the app's PORT
force_https = true
auto_stop_machines = "stop"
auto_start_machines = true
min_machines_running = $running  # 0: stops without visitors; the next one waits for its start

[[http_service.checks]]
method = "GET"
path = "/"
grace_period = "60s"
interval = "30s"
timeout = "10s"

[[vm]]  # only one machine: each would have its own index
size = "$hardware"  # `fly platform vm-sizes` lists them all
memory = "${{memory}}mb"  # a multiple of 256
"""


def plan(request: DeployRequest) -> Manifest:
    """Return what would be written, sent and set."""
    name = _name(request)
    _, variables = outgoing.variables(request.context)
    written = outgoing.generated(FILE, _config(request, name, variables))
    parts = ManifestParts(
        changes=(f"create or update the app {name} on Fly.io: one machine, at {_address(name)}",),
        needs=(
            "an account on Fly.io with a payment method",
            f"the program fly ({_TOOL.install_command(request.context.system)})",
            "payment: see https://fly.io/docs/about/pricing/",
        ),
        problems=platform_config.dockerfile_problems(request),
    )
    return platform_config.manifest_of("fly", request, written, parts)


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Build the image locally, and start the app in it as the platform does."""
    return image.rehearse(request, manifest, progress, _name(request))


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Run fly, or return the commands for the user; fly waits for the health check."""
    name = _name(request)
    commands = _commands(request, manifest, name)
    dashboard = f"https://fly.io/apps/{name}"
    cli = Cli(_TOOL, request, manifest.secrets)
    if not (request.options.yes and cli.installed):
        return Deployment(dashboard=dashboard, commands=cli.manual_commands(commands))
    cli.require_login()
    with outgoing.copied(manifest.files) as folder:
        platform_cli.run_all(cli, commands, folder, progress)
    return Deployment(address=_address(name), dashboard=dashboard)


def status(request: DeployRequest) -> DeploymentStatus:
    """Ask Fly.io for the state of the app's machine."""
    name = _name(request)
    cli = Cli(_TOOL, request)
    cli.require_login()
    ran = cli.ask("status", "--app", name, "--json")
    if not ran.ok:
        return DeploymentStatus(f"your account has no app {name}", ok=False)
    try:
        states = [str(each["state"]) for each in json.loads(ran.out).get("Machines") or []]
    except (ValueError, TypeError, KeyError, AttributeError):
        return DeploymentStatus("fly's answer could not be parsed", _address(name), ok=False)
    text = ", ".join(states) or "no machine"
    return DeploymentStatus(text, _address(name), ok="started" in states)


def logs(request: DeployRequest) -> str:
    """Return the last lines of the app's log."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    ran = cli.ask("logs", "--app", _name(request), "--no-tail")
    if not ran.ok:
        raise HackkitError(f"fly returned no log: {ran.err or ran.out}", fix="fly apps list")
    return ran.out


def down(request: DeployRequest) -> str:
    """Remove the app and its machine."""
    name = _name(request)
    cli = Cli(_TOOL, request)
    cli.require_login()
    command = Command("Removing the app", ("fly", "apps", "destroy", name, "--yes"))
    cli.run(command, request.project.folder)
    return f"the app {name} on Fly.io"


def _commands(request: DeployRequest, manifest: Manifest, name: str) -> tuple[Command, ...]:
    create = Command(
        "Creating the app on Fly.io",
        ("fly", "apps", "create", name, "--org", request.context.env.get("FLY_ORG") or "personal"),
        unless=("fly", "status", "--app", name),
    )
    # --ha=false: without it, fly starts a second machine, with an index of its own.
    words = ("fly", "deploy", "--app", name, "--config", FILE, "--remote-only", "--ha=false")
    deploy = Command(
        "Building and starting the app on Fly.io (a few minutes)",
        (*words, "--yes"),
        seconds=1800,
    )
    return (create, *_secrets(request, manifest.secrets, name), deploy)


def _secrets(request: DeployRequest, secrets: Mapping[str, str], name: str) -> tuple[Command, ...]:
    """Return one command for each secret, so that the user's commands are the same as ours."""
    words = ("fly", "secrets", "import", "--app", name, "--stage")
    return tuple(
        Command(
            f"Setting {each}",
            words,
            given=f"{each}={_escaped(each, value, name)}\n",
            typed=platform_cli.piped(request.context, each, words, whole=True),
        )
        for each, value in secrets.items()
    )


def _escaped(variable: str, value: str, name: str) -> str:
    """Quote a value for `fly secrets import`, which drops comments and outer quotes."""
    if any(char in value for char in '"\r\n'):
        raise HackkitError(
            f"{variable} has a character that `fly secrets import` cannot read.",
            fix=f"open https://fly.io/apps/{name}/secrets",
        )
    return value if re.fullmatch(r"[^\s#']+", value) else f'"{value}"'


def _config(request: DeployRequest, name: str, variables: Mapping[str, str]) -> str:
    values = {
        "name": name,
        "region": _REGION,
        "hardware": _HARDWARE,
        "memory": str(platform_config.memory_mb(request)),
        "running": "1",
        "variables": platform_config.block(
            f"{key} = {_quoted(variables[key])}" for key in variables
        ),
    }
    options = request.options
    asked = {"name": name, "region": options.region, "hardware": options.hardware}
    return platform_config.filled(_TEMPLATE, values, asked, request.project.folder / FILE)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(request: DeployRequest) -> str:
    mine = platform_config.current_value(request.project.folder / FILE, r'^app = ["\']([\w-]+)')
    return platform_config.service_name(request, mine)


def _address(name: str) -> str:
    return f"https://{name}.fly.dev"
