"""A machine of its own on Fly.io, built there from the project's Dockerfile."""

import json
import re
from collections.abc import Mapping

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import Condition, Live, Manifest, Order, Rehearsed, Watch
from hackkit.deploy.platform_cli import Cli, Command, Tool, Trouble
from hackkit.deploy.platform_config import PORT, Wishes
from hackkit.deploy.rehearsal import image
from hackkit.errors import HackkitError
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
        "windows": 'pwsh -Command "iwr https://fly.io/install.ps1 -useb | iex"',
    },
    login="fly auth login",
    who=("auth", "whoami"),
    troubles=(
        Trouble(
            r"(?i)name (?:has already been|is already) taken|already been taken",
            "The name is taken: an app's name is unique on all of Fly.io.",
            hackkit("deploy", "fly", "--name", "ANOTHER-NAME"),
        ),
        Trouble(
            r"(?i)payment|billing|credit card|past due|high risk",
            "Fly.io wants a means of payment before it runs an app.",
            "open https://fly.io/dashboard/personal/billing",
        ),
        Trouble(
            r"(?i)not logged in|unauthori[sz]ed|no access token|authenticate",
            "Fly.io does not know you, or not any more.",
            "fly auth login",
        ),
        Trouble(
            r"(?i)region .*(?:not found|not valid|invalid)|no capacity|insufficient resources",
            "The region does not exist, or has no room just now.",
            "fly platform regions",
        ),
        Trouble(
            r"(?i)health ?checks? .*fail|smoke checks.*failed|not listening on the expected",
            "The app was built, and then did not answer in time.",
            hackkit("deploy", "fly", "--logs"),
        ),
    ),
)
_TEMPLATE = f"""\
# What Fly.io runs, and how: https://fly.io/docs/reference/configuration/
app = "$name"  # its address is https://$name.fly.dev
primary_region = "$region"  # `fly platform regions` lists them all

[build]
dockerfile = "Dockerfile"

[env]  # keys are no part of this file: they are set with `fly secrets`
HOST = "0.0.0.0"
PORT = "{PORT}"
$variables
[http_service]
internal_port = {PORT}  # the app's PORT
force_https = true
auto_stop_machines = "stop"
auto_start_machines = true
min_machines_running = $running  # 0: stops while nobody comes; the next one waits for its start

[[http_service.checks]]
method = "GET"
path = "/"
grace_period = "60s"
interval = "30s"
timeout = "10s"

[[vm]]  # one machine only: the index lies in it
size = "$hardware"  # `fly platform vm-sizes` lists them all
memory = "${{memory}}mb"  # a multiple of 256
"""


def plan(order: Order) -> Manifest:
    """Say what would be written, sent and set."""
    name = _name(order)
    _, variables = outgoing.variables(order.context)
    written = outgoing.made(FILE, _config(order, name, variables))
    wishes = Wishes(
        changes=(f"make or update the app {name} on Fly.io: one machine, at {_address(name)}",),
        needs=(
            "an account on Fly.io with a means of payment",
            f"the program fly ({_TOOL.install[_system(order)]})",
            "what it costs: see https://fly.io/docs/about/pricing/",
        ),
        objections=platform_config.needs_dockerfile(order),
    )
    return platform_config.planned("fly", order, written, wishes)


def rehearse(order: Order, manifest: Manifest, watch: Watch) -> Rehearsed:
    """Build the image here, and start the app in it as the platform does."""
    return image.rehearse(order, manifest, watch, _name(order))


def ship(order: Order, manifest: Manifest, watch: Watch) -> Live:
    """Run fly, or say what is left to type; the machine's own check says when the app runs."""
    name = _name(order)
    commands = _commands(order, manifest, name)
    dashboard = f"https://fly.io/apps/{name}"
    cli = Cli(_TOOL, order, manifest.secrets)
    if not (order.options.yes and cli.there):
        return Live(dashboard=dashboard, commands=cli.to_type(commands))
    cli.ready()
    with outgoing.staged(manifest.files) as folder:
        platform_cli.run_all(cli, commands, folder, watch)
    return Live(address=_address(name), dashboard=dashboard)


def status(order: Order) -> Condition:
    """Ask Fly.io how the app's machine is."""
    name = _name(order)
    cli = Cli(_TOOL, order)
    cli.ready()
    ran = cli.ask("status", "--app", name, "--json")
    if not ran.ok:
        return Condition(f"there is no app {name} of yours", well=False)
    try:
        states = [str(each["state"]) for each in json.loads(ran.out).get("Machines") or []]
    except (ValueError, TypeError, KeyError, AttributeError):
        return Condition("fly said what hackkit does not understand", _address(name), well=False)
    words = ", ".join(states) or "no machine"
    return Condition(words, _address(name), well="started" in states)


def logs(order: Order) -> str:
    """Return the last lines that the app said."""
    cli = Cli(_TOOL, order)
    cli.ready()
    ran = cli.ask("logs", "--app", _name(order), "--no-tail")
    if not ran.ok:
        raise HackkitError(f"fly gave no log: {ran.err or ran.out}", fix="fly apps list")
    return ran.out


def down(order: Order) -> str:
    """Take the app and its machine away."""
    name = _name(order)
    cli = Cli(_TOOL, order)
    cli.ready()
    command = Command("Taking it away", ("fly", "apps", "destroy", name, "--yes"))
    cli.do(command, order.project.folder)
    return f"the app {name} on Fly.io"


def _commands(order: Order, manifest: Manifest, name: str) -> tuple[Command, ...]:
    making = Command(
        "Making the app on Fly.io",
        ("fly", "apps", "create", name, "--org", order.context.env.get("FLY_ORG") or "personal"),
        unless=("fly", "status", "--app", name),
    )
    # --ha=false: otherwise fly starts a second machine, with an index of its own.
    words = ("fly", "deploy", "--app", name, "--config", FILE, "--remote-only", "--ha=false")
    deploying = Command(
        "Building and starting the app on Fly.io (a few minutes)",
        (*words, "--yes"),
        seconds=1800,
    )
    return (making, *_secrets(order, manifest.secrets, name), deploying)


def _secrets(order: Order, secrets: Mapping[str, str], name: str) -> tuple[Command, ...]:
    """Set each with its own command, so that what is typed is what is run."""
    words = ("fly", "secrets", "import", "--app", name, "--stage")
    return tuple(
        Command(
            f"Setting {each}",
            words,
            given=f"{each}={_safe(each, value, name)}\n",
            typed=platform_cli.piped(order.context, each, words, whole=True),
        )
        for each, value in secrets.items()
    )


def _safe(variable: str, value: str, name: str) -> str:
    """Return a value as `fly secrets import` reads it: it drops comments and outer quotes."""
    if any(char in value for char in '"\r\n'):
        raise HackkitError(
            f"{variable} has a character that fly does not take from its input.",
            fix=f"open https://fly.io/apps/{name}/secrets",
        )
    return value if re.fullmatch(r"[^\s#']+", value) else f'"{value}"'


def _config(order: Order, name: str, variables: Mapping[str, str]) -> str:
    values = {
        "name": name,
        "region": _REGION,
        "hardware": _HARDWARE,
        "memory": str(platform_config.memory_mb(order)),
        "running": "1",
        "variables": platform_config.block(
            f"{key} = {_quoted(variables[key])}" for key in variables
        ),
    }
    options = order.options
    asked = {"name": name, "region": options.region, "hardware": options.hardware}
    return platform_config.filled(_TEMPLATE, values, asked, order.project.folder / FILE)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _name(order: Order) -> str:
    mine = platform_config.present(order.project.folder / FILE, r'^app = ["\']([\w-]+)')
    return platform_config.service_name(order, mine)


def _address(name: str) -> str:
    return f"https://{name}.fly.dev"


def _system(order: Order) -> str:
    return order.context.system if order.context.system in _TOOL.install else "linux"
