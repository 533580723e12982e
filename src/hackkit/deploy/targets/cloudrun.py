"""A container on Google Cloud Run, built there from the project's Dockerfile."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import (
    Deployment,
    DeploymentStatus,
    DeployRequest,
    Manifest,
    OutgoingFile,
    Progress,
    RehearsalResult,
)
from hackkit.deploy.platform_cli import Cli, Command, Tool
from hackkit.deploy.platform_config import ManifestParts
from hackkit.deploy.rehearsal import image
from hackkit.errors import HackkitError, Problem
from hackkit.project.layout import PORT
from hackkit.system.command_line import hackkit

TITLE = "Google Cloud Run"
OPTIONS = ("name", "region", "public")
FILE = "cloudrun.yaml"
_REGION = "europe-west1"
_REPOSITORY = "hackkit"
_IMAGE = "IMAGE"  # in the file until the image is built
_OUR_LINE = re.compile(rb"\n\nLive demo: [^\n]*")  # the line that deploy adds to the README
_APIS = ("run", "cloudbuild", "artifactregistry", "secretmanager")
_PROJECT_PAGE = "open https://console.cloud.google.com/projectselector2/home/dashboard"
_TOOL = Tool(
    program="gcloud",
    title=TITLE,
    install={
        "linux": "open https://cloud.google.com/sdk/docs/install",
        "darwin": "brew install --cask gcloud-cli",
        "windows": "winget install Google.CloudSDK",
    },
    login="gcloud auth login",
    login_check=("auth", "list", "--filter=status:ACTIVE", "--format=value(account)"),
    known_errors={
        r"(?i)billing": Problem(
            "Google Cloud needs a billing account for this project.",
            "open https://console.cloud.google.com/billing/projects",
        ),
        r"(?i)reauthentication|credentials.*(?:invalid|expired)|gcloud auth login": Problem(
            "You are not logged in to Google Cloud, or the login has expired.",
            "gcloud auth login",
        ),
        r"(?i)quota|RESOURCE_EXHAUSTED": Problem(
            "The project's quota is used up.",
            "open https://console.cloud.google.com/iam-admin/quotas",
        ),
        r"(?i)failed to start and listen|startup probe|container failed": Problem(
            "The image was built, but the app did not answer in time.",
            hackkit("deploy", "cloudrun", "--logs"),
        ),
        r"(?i)PERMISSION_DENIED|does not have permission|allUsers|violates? .*polic": Problem(
            "Your account has no permission for this in the project.",
            "open https://console.cloud.google.com/iam-admin/iam",
        ),
        r"(?i)build .*(?:failed|failure)|BUILD FAILURE|non-zero status": Problem(
            "The image could not be built.",
            hackkit("deploy", "cloudrun", "--rehearse"),
        ),
    },
)
_TEMPLATE = f"""\
# What Cloud Run runs, and how: https://cloud.google.com/run/docs/reference/yaml/v1
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: $name  # a part of the address
  labels:
    cloud.googleapis.com/location: $region  # `gcloud run regions list` lists them all
spec:
  template:
    metadata:
      annotations:
        autoscaling.knative.dev/minScale: "$running"  # "1": never sleeps, and costs all the time
        autoscaling.knative.dev/maxScale: "1"  # only one: each would have its own index
        run.googleapis.com/startup-cpu-boost: "true"
    spec:
      containerConcurrency: $visitors  # concurrent visitors
      timeoutSeconds: 3600  # for one visit
      containers:
        - image: {_IMAGE}  # `hackkit deploy cloudrun` fills in what was built
          ports:
            - containerPort: {PORT}
          env:
            - name: HOST
              value: "0.0.0.0"
$variables$secrets          resources:
            limits:
              cpu: "$cpu"  # cores
              memory: ${{memory}}Mi
          startupProbe:
            httpGet:
              path: /
              port: {PORT}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 24
"""


@dataclass(frozen=True)
class _Place:
    """Where the app is deployed: its name and region, the project, and the image's full name."""

    name: str
    region: str
    project: str
    number: str
    image: str


def plan(request: DeployRequest) -> Manifest:
    """Return what would be written, sent and set."""
    name, region = _name(request), _region(request)
    secrets, variables = outgoing.variables(request.context)
    written = outgoing.generated(FILE, _config(request, secrets, variables))
    changes = [
        f"create or update the service {name} on Cloud Run in {region}: one instance",
        f"push its image to the Artifact Registry repository {_REPOSITORY}",
        *(f"create or update the secret {_secret(name, each)}" for each in secrets),
    ]
    if request.options.public:
        changes.append("make it public")
    else:
        changes.append("keep it private: with --public the judges can open it")
    parts = ManifestParts(
        changes=tuple(changes),
        needs=(
            "a Google Cloud project with a billing account",
            f"the program gcloud ({_TOOL.install_command(request.context.system)})",
            "payment by the second of use: see https://cloud.google.com/run/pricing",
        ),
        problems=platform_config.dockerfile_problems(request),
    )
    return platform_config.manifest_of("cloudrun", request, written, parts)


def rehearse(request: DeployRequest, manifest: Manifest, progress: Progress) -> RehearsalResult:
    """Build the image locally, and start the app in it as the platform does."""
    return image.rehearse(request, manifest, progress, _name(request))


def deploy(request: DeployRequest, manifest: Manifest, progress: Progress) -> Deployment:
    """Run gcloud, or return the commands for the user to run."""
    cli = Cli(_TOOL, request, manifest.secrets)
    if not (request.options.yes and cli.installed):
        return _manual_deployment(cli, request, manifest)
    cli.require_login()
    place = _place(cli, request, manifest)
    with outgoing.copied(manifest.files) as folder:
        platform_cli.run_all(cli, _build_commands(place), folder, progress)
        platform_cli.run_all(
            cli, _secret_commands(request, manifest.secrets, place), folder, progress
        )
        config = folder / FILE
        config.write_text(_complete(cli, config.read_text("utf-8"), manifest, place), "utf-8")
        platform_cli.run_all(cli, _start_commands(request, place), folder, progress)
    return _deployment(cli, request, place)


def status(request: DeployRequest) -> DeploymentStatus:
    """Ask Cloud Run for the service's status."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    name, region = _name(request), _region(request)
    ran = cli.ask("run", "services", "describe", name, "--region", region, "--format=json")
    if not ran.ok:
        return DeploymentStatus(f"there is no service {name} in {region}", ok=False)
    try:
        answer = json.loads(ran.out)["status"]
        ready = {each["type"]: each for each in answer["conditions"]}["Ready"]
    except (ValueError, TypeError, KeyError):
        return DeploymentStatus("gcloud's answer could not be parsed", ok=False)
    ok = ready.get("status") == "True"
    text = "running" if ok else str(ready.get("message") or "starting")
    return DeploymentStatus(text, str(answer.get("url") or ""), ok=ok)


def logs(request: DeployRequest) -> str:
    """Return the last lines of the app's log."""
    cli = Cli(_TOOL, request)
    cli.require_login()
    words = ("run", "services", "logs", "read", _name(request), "--region", _region(request))
    ran = cli.ask(*words, "--limit=200")
    if not ran.ok:
        raise HackkitError(
            f"gcloud returned no log: {ran.err or ran.out}", fix="gcloud run services list"
        )
    return ran.out


def down(request: DeployRequest) -> str:
    """Remove the service; its images and secrets stay."""
    name, region = _name(request), _region(request)
    cli = Cli(_TOOL, request)
    cli.require_login()
    words = ("gcloud", "run", "services", "delete", name, "--region", region, "--quiet")
    cli.run(Command("Removing the service", words), request.project.folder)
    return f"the service {name} on Cloud Run (its images and secrets are still there)"


# The commands


def _build_commands(place: _Place) -> tuple[Command, ...]:
    at = (_REPOSITORY, f"--location={place.region}", f"--project={place.project}")
    repositories = ("gcloud", "artifacts", "repositories")
    project = f"--project={place.project}"
    return (
        Command(
            "Enabling the services that the project needs",
            ("gcloud", "services", "enable", *(f"{api}.googleapis.com" for api in _APIS), project),
            seconds=300,
        ),
        Command(
            "Creating the repository for the image",
            (*repositories, "create", *at, "--repository-format=docker"),
            unless=(*repositories, "describe", *at),
        ),
        # The image is named after a hash of its files: the same files are not built twice.
        Command(
            "Building the image on Google Cloud (a few minutes)",
            ("gcloud", "builds", "submit", f"--tag={place.image}", project, "--quiet", "."),
            unless=("gcloud", "artifacts", "docker", "images", "describe", place.image, project),
            seconds=1800,
        ),
    )


def _secret_commands(
    request: DeployRequest, secrets: Mapping[str, str], place: _Place
) -> tuple[Command, ...]:
    account = f"serviceAccount:{place.number}-compute@developer.gserviceaccount.com"
    project = f"--project={place.project}"
    commands = []
    for each, value in secrets.items():
        name = _secret(place.name, each)
        adding = ("gcloud", "secrets", "versions", "add", name, "--data-file=-", project)
        commands += [
            Command(
                f"Creating the secret {name}",
                ("gcloud", "secrets", "create", name, "--replication-policy=automatic", project),
                unless=("gcloud", "secrets", "describe", name, project),
            ),
            Command(
                f"Setting {each}",
                adding,
                given=value,
                typed=platform_cli.piped(request.context, each, adding, whole=False),
                unless=("gcloud", *_version("access", name), project),
                same=value,
            ),
            Command(
                f"Allowing the app to read {each}",
                (
                    *("gcloud", "secrets", "add-iam-policy-binding", name, f"--member={account}"),
                    *("--role=roles/secretmanager.secretAccessor", project),
                ),
            ),
        ]
    return tuple(commands)


def _start_commands(request: DeployRequest, place: _Place) -> tuple[Command, ...]:
    at = (f"--region={place.region}", f"--project={place.project}")
    services = ("gcloud", "run", "services")
    start = Command(
        "Starting the app on Cloud Run", (*services, "replace", FILE, *at, "--quiet"), seconds=900
    )
    public = ("--member=allUsers", "--role=roles/run.invoker")
    publish = Command(
        "Making it public",
        (*services, "add-iam-policy-binding", place.name, *public, *at),
    )
    return (start, publish) if request.options.public else (start,)


def _manual_deployment(cli: Cli, request: DeployRequest, manifest: Manifest) -> Deployment:
    first = cli.setup_commands()
    place = _Place(_name(request), _region(request), "PROJECT", "PROJECT-NUMBER", "")
    if not first:
        place = _place(cli, request, manifest)
    else:
        first = (*first, "gcloud config set project PROJECT")
        place = replace(place, image=_image(place, manifest))
    naming = Command(
        "Naming the image", (), typed=f"edit {FILE}: replace {_IMAGE} by {place.image}"
    )
    commands = (
        *_build_commands(place),
        *_secret_commands(request, manifest.secrets, place),
        naming,
        *_start_commands(request, place),
    )
    return Deployment(commands=(*first, *(each.line for each in commands)))


# Google Cloud's answers


def _place(cli: Cli, request: DeployRequest, manifest: Manifest) -> _Place:
    """Ask gcloud for the current project and its number."""
    ran = cli.ask("config", "get-value", "project")
    project = request.context.env.get("CLOUDSDK_CORE_PROJECT") or ran.out
    if project in {"", "(unset)"}:
        raise HackkitError("gcloud has no current project.", fix=_PROJECT_PAGE)
    ran = cli.ask("projects", "describe", project, "--format=value(projectNumber)")
    if not ran.ok or not ran.out.isdigit():
        raise HackkitError(f"gcloud cannot find the project {project}.", fix=_PROJECT_PAGE)
    place = _Place(_name(request), _region(request), project, ran.out, "")
    return replace(place, image=_image(place, manifest))


def _image(place: _Place, manifest: Manifest) -> str:
    tag = _tag(manifest.files)
    repository = f"{place.region}-docker.pkg.dev/{place.project}/{_REPOSITORY}"
    return f"{repository}/{place.name}:{tag}"


def _tag(files: tuple[OutgoingFile, ...]) -> str:
    """Return a hash of the image's files, without the address that hackkit adds to the README."""
    digest = hashlib.sha256()
    for each in files:
        if each.path != FILE:
            content = _OUR_LINE.sub(b"", each.read())
            digest.update(f"{each.path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _complete(cli: Cli, text: str, manifest: Manifest, place: _Place) -> str:
    """Fill in the image and each secret's version: only then does Cloud Run take a new one."""
    text = re.sub(rf"(?<=- image: ){_IMAGE}\b.*", place.image, text)
    for each in manifest.secrets:
        name = _secret(place.name, each)
        words = (*_version("describe", name), "--format=value(name)", f"--project={place.project}")
        ran = cli.ask(*words)
        number = ran.out.rpartition("/")[2]
        if ran.ok and number.isdigit():
            pattern = rf"(name: {re.escape(name)}\s+key: )latest\b"
            text = re.sub(pattern, rf'\g<1>"{number}"', text)
    return text


def _version(verb: str, name: str) -> tuple[str, ...]:
    return ("secrets", "versions", verb, "latest", f"--secret={name}")


def _deployment(cli: Cli, request: DeployRequest, place: _Place) -> Deployment:
    at = (place.name, f"--region={place.region}", f"--project={place.project}")
    ran = cli.ask("run", "services", "describe", *at, "--format=value(status.url)")
    if not ran.ok or not ran.out.startswith("https://"):
        raise HackkitError(
            "Cloud Run deployed the app, but returned no address.", fix="gcloud run services list"
        )
    page = "https://console.cloud.google.com/run/detail"
    token = "" if request.options.public else cli.ask("auth", "print-identity-token").out
    return Deployment(
        address=ran.out,
        dashboard=f"{page}/{place.region}/{place.name}?project={place.project}",
        token=token,
    )


# The file


def _config(
    request: DeployRequest, secrets: Mapping[str, str], variables: Mapping[str, str]
) -> str:
    name, region = _name(request), _region(request)
    values = {
        "name": name,
        "region": region,
        "running": "0",
        "visitors": "80",
        "cpu": "1",
        "memory": str(platform_config.memory_mb(request)),
        "variables": platform_config.block(
            f"            - name: {each}\n              value: {_quoted(variables[each])}"
            for each in variables
        ),
        "secrets": platform_config.block(_reference(name, each) for each in secrets),
    }
    asked = {"name": name, "region": region}
    return platform_config.filled(_TEMPLATE, values, asked, request.project.folder / FILE)


def _reference(name: str, variable: str) -> str:
    return (
        f"            - name: {variable}\n              valueFrom:\n"
        f"                secretKeyRef:  # in Secret Manager\n"
        f"                  name: {_secret(name, variable)}\n                  key: latest"
    )


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _secret(name: str, variable: str) -> str:
    return f"{name}-{variable.lower().replace('_', '-')}"


def _name(request: DeployRequest) -> str:
    mine = platform_config.current_value(request.project.folder / FILE, r"^  name: ([\w-]+)")
    return platform_config.service_name(request, mine)


def _region(request: DeployRequest) -> str:
    pattern = r"^    cloud\.googleapis\.com/location: ([\w-]+)"
    mine = platform_config.current_value(request.project.folder / FILE, pattern)
    return request.options.region or mine or _REGION
