"""Cloud Run: one instance, keys in Secret Manager, images named after their content."""

import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import clean_environment, write
from fake_platform import KEY, FakePlatform, project, requested, secretless

from hackkit.deploy.manifest import Deployment, DeployRequest, Options
from hackkit.deploy.publish import link_in_readme
from hackkit.deploy.targets import cloudrun
from hackkit.errors import HackkitError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the made-up programs are scripts")

YES = Options(yes=True)
ADDRESS = "https://ask-paris-123.europe-west1.run.app"
LOOKS = ("list", "get-value", "describe", "access", "print-identity-token")
MISSING = (1, "ERROR: NOT_FOUND")
# Checks the service against Google's own description, which is in its Python package.
_READER = """\
import json, pathlib, sys, googleapiclient
place = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache/documents/run.v1.json"
known = json.loads(place.read_text("utf-8"))["schemas"]
def unknown(value, schema, at):
    if "$ref" in schema:
        schema = known[schema["$ref"]]
    if isinstance(value, list):
        return [bad for each in value for bad in unknown(each, schema["items"], at)]
    if not isinstance(value, dict):
        kinds = {"string": str, "integer": int, "boolean": bool, "number": (int, float)}
        return [] if isinstance(value, kinds[schema["type"]]) else [at + ": " + str(value)]
    if "additionalProperties" in schema:
        inner = schema["additionalProperties"]
        return [bad for k, v in value.items() for bad in unknown(v, inner, at + "." + k)]
    mine = schema["properties"]
    bad = [at + "." + each for each in value if each not in mine]
    inside = [(key, value[key]) for key in value if key in mine]
    return bad + [each for k, v in inside for each in unknown(v, mine[k], at + "." + k)]
print(json.dumps(unknown(json.load(sys.stdin), {"$ref": "Service"}, "")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture
def cli(tmp_path: Path) -> FakePlatform:
    """Make a gcloud with a logged-in user and an empty project."""
    rules = {
        "auth list": (0, "ada@example.org"),
        "config get-value": (0, "paris-1"),
        "projects describe": (0, "4242"),
        "artifacts": MISSING,
        "artifacts repositories create": (0, ""),
        "secrets describe": MISSING,
        "secrets versions access": MISSING,
        "secrets versions describe": (0, "projects/4242/secrets/x/versions/3"),
        "run services describe": (0, ADDRESS),
        "auth print-identity-token": (0, "ey-a-token"),
    }
    return FakePlatform(tmp_path / "bin", "gcloud", rules)


def config(made: DeployRequest) -> dict[str, Any]:
    read = yaml.safe_load(cloudrun.plan(made).writes[0].read())
    assert isinstance(read, dict)
    return read


def container(service: dict[str, Any]) -> dict[str, Any]:
    (only,) = service["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def deploy(made: DeployRequest) -> Deployment:
    return cloudrun.deploy(made, cloudrun.plan(made), lambda _: None)


def test_the_file_asks_for_one_instance_on_the_apps_port(folder: Path) -> None:
    made = config(requested(folder))
    scale = made["spec"]["template"]["metadata"]["annotations"]
    assert scale["autoscaling.knative.dev/maxScale"] == "1"
    assert container(made)["ports"] == [{"containerPort": 7860}]
    assert container(made)["startupProbe"]["httpGet"] == {"path": "/", "port": 7860}


def test_a_key_is_named_and_never_written(folder: Path) -> None:
    env = {each["name"]: each for each in container(config(requested(folder)))["env"]}
    reference = {"name": "ask-paris-mistral-api-key", "key": "latest"}
    assert env["MISTRAL_API_KEY"]["valueFrom"] == {"secretKeyRef": reference}
    assert env["CHAT_MODEL"]["value"] == "mistral-small-latest"
    assert "PORT" not in env  # Cloud Run sets it
    assert not any(KEY.encode() in each.read() for each in cloudrun.plan(requested(folder)).files)


def test_without_yes_the_exact_commands_are_written_out(folder: Path) -> None:
    commands = deploy(requested(folder)).commands
    assert commands[1:3] == ("gcloud auth login", "gcloud config set project PROJECT")
    assert commands[-1].startswith("gcloud run services replace cloudrun.yaml")
    assert any(
        each.startswith("edit cloudrun.yaml: replace IMAGE by europe-west1-docker")
        for each in commands
    )
    assert not any(KEY in each for each in commands)


def test_they_name_gclouds_current_project(folder: Path, cli: FakePlatform) -> None:
    commands = deploy(requested(folder, cli)).commands
    assert commands[0].startswith("gcloud services enable")
    assert all("PROJECT" not in each for each in commands)
    assert cli.lines(*LOOKS) == []


def test_with_yes_they_are_run_in_their_order(folder: Path, cli: FakePlatform) -> None:
    live = deploy(requested(folder, cli, options=YES))
    assert [" ".join(line.split()[1:4]) for line in cli.lines(*LOOKS)] == [
        "services enable run.googleapis.com",
        "artifacts repositories create",
        "builds submit " + _tag(cli),
        "secrets create ask-paris-mistral-api-key",
        "secrets versions add",
        "secrets add-iam-policy-binding ask-paris-mistral-api-key",
        "run services replace",
    ]
    assert live.address == ADDRESS
    assert live.token == "ey-a-token"
    assert secretless(cli, "given")
    adding = next(each for each in cli.seen if "add" in each.words)
    assert adding.given == KEY


def _tag(cli: FakePlatform) -> str:
    return next(word for each in cli.seen for word in each.words if word.startswith("--tag="))


def test_the_service_gets_the_image_that_was_built_and_the_keys_version(
    folder: Path, cli: FakePlatform
) -> None:
    deploy(requested(folder, cli, options=YES))
    sent = next(each for each in cli.seen if "replace" in each.words)
    made = yaml.safe_load(sent.config["cloudrun.yaml"])
    assert container(made)["image"] == _tag(cli).removeprefix("--tag=")
    (key,) = [each for each in container(made)["env"] if "valueFrom" in each]
    assert key["valueFrom"]["secretKeyRef"]["key"] == "3"
    assert ".env" not in sent.files


def test_a_second_time_builds_and_creates_nothing_again(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=YES)
    deploy(made)
    first = next(each for each in cli.seen if "replace" in each.words).config
    cli.forget()
    cli.answer({"artifacts": (0, ""), "secrets describe": (0, "")})
    cli.answer({"secrets versions access": (0, KEY)})
    deploy(made)
    lines = cli.lines(*LOOKS)
    assert not any(word in line for line in lines for word in (" create", "submit", " add "))
    assert next(each for each in cli.seen if "replace" in each.words).config == first


def test_a_changed_file_gives_the_image_a_new_name(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=YES)
    deploy(made)
    first = _tag(cli)
    write(folder / "app.py", "print('changed')\n")
    cli.forget()
    deploy(made)
    assert _tag(cli) != first


def test_the_address_in_the_readme_is_no_reason_to_build_again(
    folder: Path, cli: FakePlatform
) -> None:
    made = requested(folder, cli, options=YES)
    deploy(made)
    first = _tag(cli)
    link_in_readme(folder, ADDRESS)
    assert ADDRESS in (folder / "README.md").read_text("utf-8")
    cli.forget()
    deploy(made)
    assert _tag(cli) == first


def test_interrupted_after_the_build_it_resumes(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=YES)
    cli.answer({"run services replace": (1, "connection reset")})
    with pytest.raises(HackkitError, match="connection reset"):
        deploy(made)
    cli.forget()
    cli.answer({"run services replace": (0, ""), "artifacts": (0, "")})
    assert deploy(made).address == ADDRESS
    assert not any("submit" in line for line in cli.lines())


def test_it_is_public_only_when_asked(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=Options(public=True, yes=True))
    assert deploy(made).token == ""
    opening = cli.lines(*LOOKS)[-1]
    assert "--member=allUsers" in opening
    assert "ask-paris" in opening


def test_without_a_project_it_fails(folder: Path, cli: FakePlatform) -> None:
    cli.answer({"config get-value": (0, "(unset)")})
    with pytest.raises(HackkitError, match="no current project"):
        deploy(requested(folder, cli, options=YES))


@pytest.mark.parametrize(
    ("step", "said", "words", "fix"),
    [
        ("services enable", "Billing account for project is not found", "billing", "billing"),
        ("builds submit", "ERROR: build 1 failed: step exited", "could not be built", "--rehearse"),
        ("builds submit", "PERMISSION_DENIED: The caller", "no permission", "iam"),
        ("run services replace", "failed to start and listen on the port", "in time", "--logs"),
    ],
)
def test_known_errors_of_gcloud_are_explained(  # noqa: PLR0913 - the case and two fixtures
    folder: Path, cli: FakePlatform, *, step: str, said: str, words: str, fix: str
) -> None:
    cli.answer({step: (1, said)})
    with pytest.raises(HackkitError, match=words) as caught:
        deploy(requested(folder, cli, options=YES))
    assert fix in caught.value.fix


def test_its_status_its_log_and_its_removal(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli)
    ready = {"type": "Ready", "status": "True"}
    said = {"status": {"url": ADDRESS, "conditions": [ready]}}
    cli.answer({"run services describe": (0, json.dumps(said))})
    assert cloudrun.status(made).address == ADDRESS
    assert cloudrun.status(made).ok
    said["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": "no image"}]
    cli.answer({"run services describe": (0, json.dumps(said))})
    assert cloudrun.status(made).text == "no image"
    cli.answer({"run services logs": (0, "hello")})
    assert cloudrun.logs(made) == "hello"
    assert "ask-paris" in cloudrun.down(made)
    line = "gcloud run services delete ask-paris --region europe-west1 --quiet"
    assert cli.seen[-1].line == line


@pytest.mark.slow
def test_googles_description_has_the_same_keys(folder: Path) -> None:
    words = ["--with", "google-api-python-client", "python", "-c", _READER]
    ran = subprocess.run(
        ["uv", "run", "--no-project", *words],
        input=json.dumps(config(requested(folder))),
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == []


@pytest.fixture
def google() -> Iterator[tuple[str, list[Any]]]:
    """Serve as gcloud's proxy to Cloud Run; keep the posted documents."""
    posted: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(404)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posted.append(json.loads(self.rfile.read(length)))
            self._reply(403)

        def _reply(self, code: int) -> None:
            body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        # A client that disconnects before it is accepted must not block the server forever.
        server.socket.settimeout(1)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="there is no gcloud here")
def test_the_real_gcloud_accepts_the_file(
    folder: Path, google: tuple[str, list[Any]], tmp_path: Path
) -> None:
    proxy, posted = google
    path = tmp_path / "cloudrun.yaml"
    path.write_bytes(cloudrun.plan(requested(folder)).writes[0].read())
    env = {
        **clean_environment(),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.test/",
        "http_proxy": proxy,
        "NO_PROXY": "",
        "no_proxy": "",
    }
    words = ["gcloud", "run", "services", "replace", str(path), "--region=europe-west1"]
    ran = subprocess.run(
        [*words, "--project=paris-1"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Failed to parse" not in ran.stderr
    assert posted, ran.stderr
    assert posted[0]["spec"] == config(requested(folder))["spec"]
