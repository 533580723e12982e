"""A web service on Render, built there from the Dockerfile in the pushed repository."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

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
from hackkit.project.leaks import is_env_file
from hackkit.system import git
from hackkit.system.command_line import hackkit, line
from hackkit.system.wording import listed

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
    login_check=("whoami", "--output", "json"),
    known_errors={
        r"(?i)unauthorized|not logged in|run `?render login": Problem(
            "You are not logged in to Render, or the login has expired.", "render login"
        ),
        r"(?i)no workspace|workspace (?:is )?not set|workspace set": Problem(
            "Render's program has no current workspace.", "render workspace set"
        ),
        r"(?i)payment|billing": Problem(
            "Render needs a payment method for this plan.",
            "open https://dashboard.render.com/billing",
        ),
        r"(?i)build_failed|build failed": Problem(
            "Render could not build the image.",
            hackkit("deploy", "render", "--rehearse"),
        ),
    },
)
_TEMPLATE = """\
# What Render builds and runs: https://render.com/docs/blueprint-spec
services:
  - type: web
    name: $name  # a part of the address
    runtime: docker  # builds the project's Dockerfile
    plan: $hardware  # free sleeps after 15 minutes without visitors; starter never does
    region: $region  # or oregon, ohio, virginia, singapore
    numInstances: 1  # only one: each would have its own index
    healthCheckPath: /
    autoDeployTrigger: commit  # every push to the branch is deployed
    envVars:
      - key: HOST
        value: "0.0.0.0"
$variables$secrets"""


def plan(request: DeployRequest) -> Manifest:
    """Return what would be written, pushed and set."""
    name = _name(request)
    secrets, variables = outgoing.variables(request.context)
    written = outgoing.generated(FILE, _config(request, secrets, variables))
    parts = ManifestParts(
        changes=(
            f"create or update the web service {name} on Render: one instance",
            *(f"have Render's page ask for {each}" for each in secrets),
        ),
        needs=(
            "an account on Render, and the project on GitHub, GitLab or Bitbucket",
            "the free plan, or a paid one: see https://render.com/pricing",
        ),
        notes=(
            "Render builds the pushed commit, not the files on this machine",
            *_unpushed_notes(request),
        ),
        problems=(*platform_config.dockerfile_problems(request), *_repository_problems(request)),
    )
    return platform_config.manifest_of("render", request, written, parts)


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Build the image locally, and start the app in it as the platform does."""
    return image.rehearse(request, manifest, progress, _name(request))


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Deploy the pushed commit and wait; the first deployment is started on Render's page."""
    steps, page = _git_steps(request), _page(request)
    if steps and not page:  # Render's page needs the address of the remote
        return Deployment(commands=(*steps, hackkit("deploy", "render")))
    cli = Cli(_TOOL, request, manifest.secrets)
    service = _service(cli, request) if request.options.yes and not cli.setup_commands() else {}
    if not service:
        dashboard = "https://dashboard.render.com"
        return Deployment(dashboard=dashboard, commands=(*steps, f"open {page}"))
    dashboard = f"https://dashboard.render.com/web/{service['id']}"
    if steps:
        repeat = hackkit("deploy", "render", "--yes")
        return Deployment(dashboard=dashboard, commands=(*steps, repeat))
    commit = git.ask(request.context.run, request.project.folder, "rev-parse", "HEAD").out
    if not _is_live(cli, service["id"], commit):
        _deploy(cli, request, service["id"], commit, progress)
    return Deployment(address=service["url"], dashboard=dashboard)


def status(request: DeployRequest) -> DeploymentStatus:
    """Ask Render for the status of the newest deployment."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    service = _service(cli, request)
    if not service:
        return DeploymentStatus(f"your account has no service {_name(request)}", ok=False)
    newest = next(_deployments(cli, service["id"]), {})
    text = str(newest.get("status") or "not deployed").replace("_", " ")
    return DeploymentStatus(text, service["url"], ok=text == "live")


def logs(request: DeployRequest) -> str:
    """Return the last lines of the app's log."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    service = _service(cli, request)
    if not service:
        raise HackkitError(
            f"Your account has no service {_name(request)}.", fix=hackkit("deploy", "render")
        )
    return _log(cli, service["id"], 200)


# The git repository


def _git_steps(request: DeployRequest) -> tuple[str, ...]:
    """Return the commands that the user has to run until Render can see the whole project."""
    steps = []
    if _dirty(request):
        steps.append(line(["git", "add", *_build_inputs(request)]))
        steps.append(line(["git", "commit", "--all", "--message", "Deploy to Render"]))
    remote = _ask(request, "remote", "get-url", "origin")
    if not remote:
        address = f"https://github.com/YOU/{_name(request)}.git"
        steps += ["open https://github.com/new", f"git remote add origin {address}"]
    ahead = _ask(request, "rev-list", "--count", "@{upstream}..HEAD")
    if not ahead:  # the branch was never pushed
        steps.append("git push --set-upstream origin HEAD")
    elif steps or ahead != "0":
        steps.append("git push")
    return tuple(steps)


def _build_inputs(request: DeployRequest) -> tuple[str, ...]:
    """Return the files that Render needs for the build."""
    folder = request.project.folder
    return (FILE, *(name for name in platform_config.BUILD_FILES if (folder / name).is_file()))


def _dirty(request: DeployRequest) -> tuple[str, ...]:
    """Return the files with uncommitted changes, and build files that git does not track."""
    run, folder = request.context.run, request.project.folder
    changed = git.ask(run, folder, "diff", "--name-only", "-z", "HEAD", seconds=10).names
    known = git.ask(run, folder, "ls-files", "-z", "--", *_build_inputs(request)).names
    return (*changed, *(name for name in _build_inputs(request) if name not in known))


def _unpushed_notes(request: DeployRequest) -> Iterator[str]:
    changed = [name for name in _dirty(request) if name != FILE]
    if changed:
        yield f"changed and not committed: {listed(changed, 1)}"
    ahead = _ask(request, "rev-list", "--count", "@{upstream}..HEAD")
    if ahead not in {"", "0"}:
        yield f"{ahead} commits are not pushed"


def _repository_problems(request: DeployRequest) -> Iterator[Problem]:
    tracked = git.ask(request.context.run, request.project.folder, "ls-files", "-z").names
    for name in filter(is_env_file, tracked):
        yield Problem(
            f"git tracks {name}: the push would send it.",
            line(["git", "rm", "--cached", "--", name]),
        )
    top = git.root(request.project.folder)
    if top and top != request.project.folder:
        yield Problem(
            f"The project is in a folder of the repository {top}; Render needs {FILE} at its top.",
            "open https://render.com/docs/monorepo-support",
        )


def _page(request: DeployRequest) -> str:
    """Return the page on which Render creates the service; nothing without a remote it can use.

    The address of a remote may contain a password: only its host and path are used.
    """
    remote = _ask(request, "remote", "get-url", "origin")
    found = re.search(r"(?:@|//)([\w.-]+)[:/]+(?:[0-9]+/)?([\w./~-]+?)(?:\.git)?/?$", remote)
    return f"{_NEW}https://{found[1]}/{found[2]}" if found and found[1] in _HOSTS else ""


def _ask(request: DeployRequest, *words: str) -> str:
    return git.ask(request.context.run, request.project.folder, *words).out.strip()


# Render's answers


def _service(cli: Cli, request: DeployRequest) -> dict[str, str]:
    """Return the id and the url of the service with the app's name, or nothing."""
    ran = cli.ask("services", "--output", "json", "--confirm")
    for each in _objects(ran.out, "service"):
        if each.get("name") == _name(request) and each.get("id"):
            details = each.get("serviceDetails") or {}
            return {"id": str(each["id"]), "url": str(details.get("url") or "")}
    return {}


def _deployments(cli: Cli, service: str) -> Iterator[dict[str, Any]]:
    ran = cli.ask("deploys", "list", service, "--output", "json", "--confirm")
    yield from _objects(ran.out, "deploy")


def _objects(text: str, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON list, each plain or wrapped: {"service": {...}}."""
    try:
        found = json.loads(text)
    except ValueError:
        return
    for each in found if isinstance(found, list) else []:
        inner = each.get(kind, each) if isinstance(each, dict) else None
        if isinstance(inner, dict):
            yield inner


def _is_live(cli: Cli, service: str, commit: str) -> bool:
    newest = next(_deployments(cli, service), {})
    built = newest.get("commit") or {}
    return newest.get("status") == "live" and built.get("id") == commit


def _deploy(
    cli: Cli, request: DeployRequest, service: str, commit: str, progress: Progress
) -> None:
    words = ("render", "deploys", "create", service, "--commit", commit)
    command = Command(
        "Building and starting the app on Render (a few minutes)",
        (*words, "--wait", "--confirm", "--output", "json"),
        seconds=1800,
    )
    try:
        platform_cli.run_all(cli, [command], request.project.folder, progress)
    except HackkitError as error:
        raise HackkitError(
            f"{error.problem}\n{cli.clean(_log(cli, service, _LAST_LINES))}", fix=error.fix
        ) from error


def _log(cli: Cli, service: str, lines: int) -> str:
    ran = cli.ask("logs", "--resources", service, "--limit", str(lines), "--output", "text")
    return ran.out if ran.ok else f"Render returned no log: {ran.err or ran.out}"


# The file


def _config(
    request: DeployRequest, secrets: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    values = {
        "name": _name(request),
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
    options = request.options
    asked = {"name": _name(request), "region": options.region, "hardware": options.hardware}
    return platform_config.filled(_TEMPLATE, values, asked, request.project.folder / FILE)


def _name(request: DeployRequest) -> str:
    mine = platform_config.current_value(request.project.folder / FILE, r"^    name: ([\w-]+)")
    return platform_config.service_name(request, mine)
