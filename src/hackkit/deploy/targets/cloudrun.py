"""A container on Google Cloud Run, built there from the project's Dockerfile."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hackkit.deploy import outgoing, platform_cli, platform_config
from hackkit.deploy.manifest import Condition, Live, Manifest, Order, Outgoing, Rehearsed, Watch
from hackkit.deploy.platform_cli import Cli, Command, Tool, Trouble
from hackkit.deploy.platform_config import PORT, Wishes
from hackkit.deploy.rehearsal import image
from hackkit.errors import HackkitError
from hackkit.system.command_line import hackkit

TITLE = "Google Cloud Run"
OPTIONS = ("name", "region", "public")
FILE = "cloudrun.yaml"
_REGION = "europe-west1"
_REPOSITORY = "hackkit"
_IMAGE = "IMAGE"  # stands in the file until the image is built
_OUR_LINE = re.compile(rb"\n\nLive demo: [^\n]*")  # as deploy puts it into the README
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
    who=("auth", "list", "--filter=status:ACTIVE", "--format=value(account)"),
    troubles=(
        Trouble(
            r"(?i)billing",
            "Google Cloud wants a billing account for this project.",
            "open https://console.cloud.google.com/billing/projects",
        ),
        Trouble(
            r"(?i)reauthentication|credentials.*(?:invalid|expired)|gcloud auth login",
            "Google Cloud does not know you, or not any more.",
            "gcloud auth login",
        ),
        Trouble(
            r"(?i)quota|RESOURCE_EXHAUSTED",
            "The project's quota is used up.",
            "open https://console.cloud.google.com/iam-admin/quotas",
        ),
        Trouble(
            r"(?i)failed to start and listen|startup probe|container failed",
            "The image was built, and then the app did not answer in time.",
            hackkit("deploy", "cloudrun", "--logs"),
        ),
        Trouble(
            r"(?i)PERMISSION_DENIED|does not have permission|allUsers|violates? .*polic",
            "Your account may not do this in this project.",
            "open https://console.cloud.google.com/iam-admin/iam",
        ),
        Trouble(
            r"(?i)build .*(?:failed|failure)|BUILD FAILURE|non-zero status",
            "The image could not be built.",
            hackkit("deploy", "cloudrun", "--rehearse"),
        ),
    ),
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
        autoscaling.knative.dev/maxScale: "1"  # one only: the index lies in it
        run.googleapis.com/startup-cpu-boost: "true"
    spec:
      containerConcurrency: $visitors  # visitors at the same time
      timeoutSeconds: 3600  # that one visit may take
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
    """Where the app goes: its name and region, the project and the image's whole name in it."""

    name: str
    region: str
    project: str
    number: str
    image: str


def plan(order: Order) -> Manifest:
    """Say what would be written, sent and set."""
    name, region = _name(order), _region(order)
    secrets, variables = outgoing.variables(order.context)
    written = outgoing.made(FILE, _config(order, secrets, variables))
    changes = [
        f"make or update the service {name} on Cloud Run in {region}: one instance",
        f"put its image into the Artifact Registry repository {_REPOSITORY}",
        *(f"make or update the secret {_secret(name, each)}" for each in secrets),
    ]
    if order.options.public:
        changes.append("let everybody see it")
    else:
        changes.append("let nobody else see it: judges need --public")
    wishes = Wishes(
        changes=tuple(changes),
        needs=(
            "a Google Cloud project with a billing account",
            f"the program gcloud ({_TOOL.install[_system(order)]})",
            "what it costs: by the second of use, see https://cloud.google.com/run/pricing",
        ),
        objections=platform_config.needs_dockerfile(order),
    )
    return platform_config.planned("cloudrun", order, written, wishes)


def rehearse(order: Order, manifest: Manifest, watch: Watch) -> Rehearsed:
    """Build the image here, and start the app in it as the platform does."""
    return image.rehearse(order, manifest, watch, _name(order))


def ship(order: Order, manifest: Manifest, watch: Watch) -> Live:
    """Run gcloud, or say what is left to type."""
    cli = Cli(_TOOL, order, manifest.secrets)
    if not (order.options.yes and cli.there):
        return _left_to_type(cli, order, manifest)
    cli.ready()
    place = _place(cli, order, manifest)
    with outgoing.staged(manifest.files) as folder:
        platform_cli.run_all(cli, _building(place), folder, watch)
        platform_cli.run_all(cli, _setting(order, manifest.secrets, place), folder, watch)
        config = folder / FILE
        config.write_text(_complete(cli, config.read_text("utf-8"), manifest, place), "utf-8")
        platform_cli.run_all(cli, _starting(order, place), folder, watch)
    return _live(cli, order, place)


def status(order: Order) -> Condition:
    """Ask Cloud Run how the service is."""
    cli = Cli(_TOOL, order)
    cli.ready()
    name, region = _name(order), _region(order)
    ran = cli.ask("run", "services", "describe", name, "--region", region, "--format=json")
    if not ran.ok:
        return Condition(f"there is no service {name} in {region}", well=False)
    try:
        said = json.loads(ran.out)["status"]
        ready = {each["type"]: each for each in said["conditions"]}["Ready"]
    except (ValueError, TypeError, KeyError):
        return Condition("gcloud said what hackkit does not understand", well=False)
    well = ready.get("status") == "True"
    words = "running" if well else str(ready.get("message") or "starting")
    return Condition(words, str(said.get("url") or ""), well=well)


def logs(order: Order) -> str:
    """Return the last lines that the app said."""
    cli = Cli(_TOOL, order)
    cli.ready()
    words = ("run", "services", "logs", "read", _name(order), "--region", _region(order))
    ran = cli.ask(*words, "--limit=200")
    if not ran.ok:
        raise HackkitError(
            f"gcloud gave no log: {ran.err or ran.out}", fix="gcloud run services list"
        )
    return ran.out


def down(order: Order) -> str:
    """Take the service away; its images and secrets stay."""
    name, region = _name(order), _region(order)
    cli = Cli(_TOOL, order)
    cli.ready()
    words = ("gcloud", "run", "services", "delete", name, "--region", region, "--quiet")
    cli.do(Command("Taking it away", words), order.project.folder)
    return f"the service {name} on Cloud Run (its images and secrets are still there)"


# What is run, or typed


def _building(place: _Place) -> tuple[Command, ...]:
    at = (_REPOSITORY, f"--location={place.region}", f"--project={place.project}")
    repositories = ("gcloud", "artifacts", "repositories")
    project = f"--project={place.project}"
    return (
        Command(
            "Switching the needed services of the project on",
            ("gcloud", "services", "enable", *(f"{api}.googleapis.com" for api in _APIS), project),
            seconds=300,
        ),
        Command(
            "Making the repository for the image",
            (*repositories, "create", *at, "--repository-format=docker"),
            unless=(*repositories, "describe", *at),
        ),
        # The image is named after the files in it: what was built before is not built again.
        Command(
            "Building the image on Google Cloud (a few minutes)",
            ("gcloud", "builds", "submit", f"--tag={place.image}", project, "--quiet", "."),
            unless=("gcloud", "artifacts", "docker", "images", "describe", place.image, project),
            seconds=1800,
        ),
    )


def _setting(order: Order, secrets: Mapping[str, str], place: _Place) -> tuple[Command, ...]:
    account = f"serviceAccount:{place.number}-compute@developer.gserviceaccount.com"
    project = f"--project={place.project}"
    commands = []
    for each, value in secrets.items():
        name = _secret(place.name, each)
        adding = ("gcloud", "secrets", "versions", "add", name, "--data-file=-", project)
        commands += [
            Command(
                f"Making the secret {name}",
                ("gcloud", "secrets", "create", name, "--replication-policy=automatic", project),
                unless=("gcloud", "secrets", "describe", name, project),
            ),
            Command(
                f"Setting {each}",
                adding,
                given=value,
                typed=platform_cli.piped(order.context, each, adding, whole=False),
                unless=("gcloud", *_version("access", name), project),
                same=value,
            ),
            Command(
                f"Letting the app read {each}",
                (
                    *("gcloud", "secrets", "add-iam-policy-binding", name, f"--member={account}"),
                    *("--role=roles/secretmanager.secretAccessor", project),
                ),
            ),
        ]
    return tuple(commands)


def _starting(order: Order, place: _Place) -> tuple[Command, ...]:
    at = (f"--region={place.region}", f"--project={place.project}")
    services = ("gcloud", "run", "services")
    starting = Command(
        "Starting the app on Cloud Run", (*services, "replace", FILE, *at, "--quiet"), seconds=900
    )
    everybody = ("--member=allUsers", "--role=roles/run.invoker")
    opening = Command(
        "Letting everybody see it",
        (*services, "add-iam-policy-binding", place.name, *everybody, *at),
    )
    return (starting, opening) if order.options.public else (starting,)


def _left_to_type(cli: Cli, order: Order, manifest: Manifest) -> Live:
    first = cli.first()
    place = _Place(_name(order), _region(order), "PROJECT", "PROJECT-NUMBER", "")
    if not first:
        place = _place(cli, order, manifest)
    else:
        first = (*first, "gcloud config set project PROJECT")
        place = replace(place, image=_image(place, manifest))
    naming = Command("Naming the image", (), typed=f"edit {FILE}: put {place.image} for {_IMAGE}")
    commands = (
        *_building(place),
        *_setting(order, manifest.secrets, place),
        naming,
        *_starting(order, place),
    )
    return Live(commands=(*first, *(each.line for each in commands)))


# What Google Cloud knows


def _place(cli: Cli, order: Order, manifest: Manifest) -> _Place:
    """Ask which project is meant."""
    ran = cli.ask("config", "get-value", "project")
    project = order.context.env.get("CLOUDSDK_CORE_PROJECT") or ran.out
    if project in {"", "(unset)"}:
        raise HackkitError("gcloud has no project to work in.", fix=_PROJECT_PAGE)
    ran = cli.ask("projects", "describe", project, "--format=value(projectNumber)")
    if not ran.ok or not ran.out.isdigit():
        raise HackkitError(f"gcloud does not find the project {project}.", fix=_PROJECT_PAGE)
    place = _Place(_name(order), _region(order), project, ran.out, "")
    return replace(place, image=_image(place, manifest))


def _image(place: _Place, manifest: Manifest) -> str:
    tag = _tag(manifest.files)
    repository = f"{place.region}-docker.pkg.dev/{place.project}/{_REPOSITORY}"
    return f"{repository}/{place.name}:{tag}"


def _tag(files: tuple[Outgoing, ...]) -> str:
    """Name an image after all that is in it, but for the address that hackkit itself adds."""
    digest = hashlib.sha256()
    for each in files:
        if each.path != FILE:
            content = _OUR_LINE.sub(b"", each.read())
            digest.update(f"{each.path}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _complete(cli: Cli, text: str, manifest: Manifest, place: _Place) -> str:
    """Name the image and the version of each secret: only so does a new one make a difference."""
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


def _live(cli: Cli, order: Order, place: _Place) -> Live:
    at = (place.name, f"--region={place.region}", f"--project={place.project}")
    ran = cli.ask("run", "services", "describe", *at, "--format=value(status.url)")
    if not ran.ok or not ran.out.startswith("https://"):
        raise HackkitError(
            "Cloud Run took the app and named no address.", fix="gcloud run services list"
        )
    page = "https://console.cloud.google.com/run/detail"
    token = "" if order.options.public else cli.ask("auth", "print-identity-token").out
    return Live(
        address=ran.out,
        dashboard=f"{page}/{place.region}/{place.name}?project={place.project}",
        token=token,
    )


# The file


def _config(order: Order, secrets: Mapping[str, str], variables: Mapping[str, str]) -> str:
    name, region = _name(order), _region(order)
    values = {
        "name": name,
        "region": region,
        "running": "0",
        "visitors": "80",
        "cpu": "1",
        "memory": str(platform_config.memory_mb(order)),
        "variables": platform_config.block(
            f"            - name: {each}\n              value: {_quoted(variables[each])}"
            for each in variables
        ),
        "secrets": platform_config.block(_reference(name, each) for each in secrets),
    }
    asked = {"name": name, "region": region}
    return platform_config.filled(_TEMPLATE, values, asked, order.project.folder / FILE)


def _reference(name: str, variable: str) -> str:
    return (
        f"            - name: {variable}\n              valueFrom:\n"
        f"                secretKeyRef:  # lies in Secret Manager\n"
        f"                  name: {_secret(name, variable)}\n                  key: latest"
    )


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _secret(name: str, variable: str) -> str:
    return f"{name}-{variable.lower().replace('_', '-')}"


def _name(order: Order) -> str:
    mine = platform_config.present(order.project.folder / FILE, r"^  name: ([\w-]+)")
    return platform_config.service_name(order, mine)


def _region(order: Order) -> str:
    pattern = r"^    cloud\.googleapis\.com/location: ([\w-]+)"
    mine = platform_config.present(order.project.folder / FILE, pattern)
    return order.options.region or mine or _REGION


def _system(order: Order) -> str:
    return order.context.system if order.context.system in _TOOL.install else "linux"
