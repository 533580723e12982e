"""A web service on Render, built there from the Dockerfile in the project's pushed repository."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import Condition, Live, Manifest, Objection, Order, Rehearsed, Watch
from hackkit.deploy.platform_cli import Cli, Command, Tool, Trouble
from hackkit.deploy.platform_config import Wishes
from hackkit.deploy.rehearsal import image
from hackkit.errors import HackkitError
from hackkit.project.leaks import is_env_file
from hackkit.system import git
from hackkit.system.command_line import hackkit, line

TITLE = "Render"
OPTIONS = ("name", "region", "hardware")
FILE = "render.yaml"
_NEW = "https://dashboard.render.com/blueprint/new?repo="
_HOSTS = ("github.com", "gitlab.com", "bitbucket.org")
_LAST_LINES = 15
_TOOL = Tool(
    program="render",
    title=TITLE,
    install={
        "linux": "open https://render.com/docs/cli",
        "darwin": "brew install render",
        "windows": "open https://render.com/docs/cli",
    },
    login="render login",
    who=("whoami", "--output", "json"),
    troubles=(
        Trouble(
            r"(?i)unauthorized|not logged in|run `?render login",
            "Render does not know you, or not any more.",
            "render login",
        ),
        Trouble(
            r"(?i)no workspace|workspace (?:is )?not set|workspace set",
            "Render's program does not know which workspace is meant.",
            "render workspace set",
        ),
        Trouble(
            r"(?i)payment|billing",
            "Render wants a means of payment for this plan.",
            "open https://dashboard.render.com/billing",
        ),
        Trouble(
            r"(?i)build_failed|build failed",
            "Render could not build the image.",
            hackkit("deploy", "render", "--rehearse"),
        ),
    ),
)
_TEMPLATE = """\
# What Render builds and runs: https://render.com/docs/blueprint-spec
services:
  - type: web
    name: $name  # a part of the address
    runtime: docker  # builds the project's Dockerfile
    plan: $hardware  # free sleeps after 15 minutes without a visitor; starter never does
    region: $region  # or oregon, ohio, virginia, singapore
    numInstances: 1  # one only: the index lies in it
    healthCheckPath: /
    autoDeployTrigger: commit  # every push to the branch goes live
    envVars:
      - key: HOST
        value: "0.0.0.0"
$variables$secrets"""


def plan(order: Order) -> Manifest:
    """Say what would be written, pushed and set."""
    name = _name(order)
    secrets, variables = outgoing.variables(order.context)
    written = outgoing.made(FILE, _config(order, secrets, variables))
    wishes = Wishes(
        changes=(
            f"make or update the web service {name} on Render: one instance",
            *(f"have Render ask for {each} on its page" for each in secrets),
        ),
        needs=(
            "an account on Render, and the project on GitHub, GitLab or Bitbucket",
            "what it costs: nothing on the free plan, see https://render.com/pricing",
        ),
        notes=("Render builds what is pushed, not what lies here", *_unpushed_words(order)),
        objections=(*platform_config.needs_dockerfile(order), *_objections(order)),
    )
    return platform_config.planned("render", order, written, wishes)


def rehearse(order: Order, manifest: Manifest, watch: Watch) -> Rehearsed:
    """Build the image here, and start the app in it as the platform does."""
    return image.rehearse(order, manifest, watch, _name(order))


def ship(order: Order, manifest: Manifest, watch: Watch) -> Live:
    """Start a deployment of what is pushed and wait; the first one is made on Render's page."""
    steps, page = _git_steps(order), _page(order)
    if steps and not page:  # only then will we know where it lies
        return Live(commands=(*steps, hackkit("deploy", "render")))
    cli = Cli(_TOOL, order, manifest.secrets)
    service = _service(cli, order) if order.options.yes and not cli.first() else {}
    if not service:
        dashboard = "https://dashboard.render.com"
        return Live(dashboard=dashboard, commands=(*steps, f"open {page}"))
    dashboard = f"https://dashboard.render.com/web/{service['id']}"
    if steps:
        again = hackkit("deploy", "render", "--yes")
        return Live(dashboard=dashboard, commands=(*steps, again))
    commit = git.ask(order.context.run, order.project.folder, "rev-parse", "HEAD").out
    if not _is_live(cli, service["id"], commit):
        _deploy(cli, order, service["id"], commit, watch)
    return Live(address=service["url"], dashboard=dashboard)


def status(order: Order) -> Condition:
    """Ask Render how the newest deployment is."""
    cli = Cli(_TOOL, order)
    cli.ready()
    service = _service(cli, order)
    if not service:
        return Condition(f"there is no service {_name(order)} of yours", well=False)
    newest = next(_deployments(cli, service["id"]), {})
    words = str(newest.get("status") or "not deployed").replace("_", " ")
    return Condition(words, service["url"], well=words == "live")


def logs(order: Order) -> str:
    """Return the last lines that the app said."""
    cli = Cli(_TOOL, order)
    cli.ready()
    service = _service(cli, order)
    if not service:
        raise HackkitError(
            f"There is no service {_name(order)} of yours.", fix=hackkit("deploy", "render")
        )
    return _log(cli, service["id"], 200)


# What git knows


def _git_steps(order: Order) -> tuple[str, ...]:
    """Return what is left to type until all of the project is where Render can see it."""
    steps = []
    if _dirty(order):
        steps.append(line(["git", "add", *_ours(order)]))
        steps.append(line(["git", "commit", "--all", "--message", "Ship on Render"]))
    remote = _ask(order, "remote", "get-url", "origin")
    if not remote:
        address = f"https://github.com/YOU/{_name(order)}.git"
        steps += ["open https://github.com/new", f"git remote add origin {address}"]
    ahead = _ask(order, "rev-list", "--count", "@{upstream}..HEAD")
    if not ahead:  # the branch was never pushed
        steps.append("git push --set-upstream origin HEAD")
    elif steps or ahead != "0":
        steps.append("git push")
    return tuple(steps)


def _ours(order: Order) -> tuple[str, ...]:
    """Return the files without which Render can build nothing."""
    folder = order.project.folder
    return (FILE, *(name for name in platform_config.BUILT_FROM if (folder / name).is_file()))


def _dirty(order: Order) -> tuple[str, ...]:
    """Return the files that git has not in this state: changed ones, and new ones of these."""
    run, folder = order.context.run, order.project.folder
    changed = git.ask(run, folder, "diff", "--name-only", "-z", "HEAD", seconds=10).names
    known = git.ask(run, folder, "ls-files", "-z", "--", *_ours(order)).names
    return (*changed, *(name for name in _ours(order) if name not in known))


def _unpushed_words(order: Order) -> Iterator[str]:
    changed = [name for name in _dirty(order) if name != FILE]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield f"changed and not committed: {changed[0]}{more}"
    ahead = _ask(order, "rev-list", "--count", "@{upstream}..HEAD")
    if ahead not in {"", "0"}:
        yield f"{ahead} commits are not pushed"


def _objections(order: Order) -> Iterator[Objection]:
    tracked = git.ask(order.context.run, order.project.folder, "ls-files", "-z").names
    for name in filter(is_env_file, tracked):
        yield Objection(
            f"git tracks {name}: it would go out with the push.",
            line(["git", "rm", "--cached", "--", name]),
        )
    top = git.root(order.project.folder)
    if top and top != order.project.folder:
        yield Objection(
            f"The project is a part of the repository {top}; Render looks for {FILE} at its top.",
            "open https://render.com/docs/monorepo-support",
        )


def _page(order: Order) -> str:
    """Return the page on which Render makes the service, or nothing when no host has the project.

    The address of a remote may hold a password: only its host and path are taken.
    """
    remote = _ask(order, "remote", "get-url", "origin")
    found = re.search(r"(?:@|//)([\w.-]+)[:/]+(?:[0-9]+/)?([\w./~-]+?)(?:\.git)?/?$", remote)
    return f"{_NEW}https://{found[1]}/{found[2]}" if found and found[1] in _HOSTS else ""


def _ask(order: Order, *words: str) -> str:
    return git.ask(order.context.run, order.project.folder, *words).out.strip()


# What Render knows


def _service(cli: Cli, order: Order) -> dict[str, str]:
    """Return id and url of the service with the app's name, or nothing."""
    ran = cli.ask("services", "--output", "json", "--confirm")
    for each in _objects(ran.out, "service"):
        if each.get("name") == _name(order) and each.get("id"):
            details = each.get("serviceDetails") or {}
            return {"id": str(each["id"]), "url": str(details.get("url") or "")}
    return {}


def _deployments(cli: Cli, service: str) -> Iterator[dict[str, Any]]:
    ran = cli.ask("deploys", "list", service, "--output", "json", "--confirm")
    yield from _objects(ran.out, "deploy")


def _objects(text: str, kind: str) -> Iterator[dict[str, Any]]:
    """Read a list of objects, each of which may stand in one that names its kind."""
    try:
        said = json.loads(text)
    except ValueError:
        return
    for each in said if isinstance(said, list) else []:
        inner = each.get(kind, each) if isinstance(each, dict) else None
        if isinstance(inner, dict):
            yield inner


def _is_live(cli: Cli, service: str, commit: str) -> bool:
    newest = next(_deployments(cli, service), {})
    built = newest.get("commit") or {}
    return newest.get("status") == "live" and built.get("id") == commit


def _deploy(cli: Cli, order: Order, service: str, commit: str, watch: Watch) -> None:
    words = ("render", "deploys", "create", service, "--commit", commit)
    command = Command(
        "Building and starting the app on Render (a few minutes)",
        (*words, "--wait", "--confirm", "--output", "json"),
        seconds=1800,
    )
    try:
        platform_cli.run_all(cli, [command], order.project.folder, watch)
    except HackkitError as error:
        raise HackkitError(
            f"{error.problem}\n{cli.clean(_log(cli, service, _LAST_LINES))}", fix=error.fix
        ) from error


def _log(cli: Cli, service: str, lines: int) -> str:
    ran = cli.ask("logs", "--resources", service, "--limit", str(lines), "--output", "text")
    return ran.out if ran.ok else f"Render gave no log: {ran.err or ran.out}"


# The file


def _config(order: Order, secrets: Mapping[str, str], variables: Mapping[str, str]) -> str:
    values = {
        "name": _name(order),
        "hardware": "free",
        "region": "frankfurt",
        "variables": platform_config.block(
            f"      - key: {each}\n        value: {json.dumps(variables[each], ensure_ascii=False)}"
            for each in variables
        ),
        "secrets": platform_config.block(
            f"      - key: {each}\n        sync: false  # Render asks for it on its page"
            for each in secrets
        ),
    }
    options = order.options
    asked = {"name": _name(order), "region": options.region, "hardware": options.hardware}
    return platform_config.filled(_TEMPLATE, values, asked, order.project.folder / FILE)


def _name(order: Order) -> str:
    mine = platform_config.present(order.project.folder / FILE, r"^    name: ([\w-]+)")
    return platform_config.service_name(order, mine)
