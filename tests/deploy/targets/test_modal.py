"""Modal: one container built from uv.lock; its keys stay in memory where possible."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import clean_environment, git, write
from fake_platform import KEY, FakePlatform, project, requested, secretless

from hackkit.deploy.manifest import Deployment, DeployRequest, Options, RehearsalResult
from hackkit.deploy.targets import modal
from hackkit.errors import HackkitError
from hackkit.system import uv

scripts = pytest.mark.skipif(os.name == "nt", reason="the made-up programs are scripts")

YES = Options(yes=True)
ADDRESS = "https://ada--ask-paris-serve.modal.run"
DEPLOYED = f"Created web function serve => {ADDRESS}\nApp deployed in 4.2s"
# Imports the file as Modal does, and prints what Modal read from it.
_READER = """\
import json, pathlib, runpy
made = runpy.run_path("modal_app.py")
serve = made["serve"]
stays = made["modal"].FilePatternMatcher(*made["STAYS"])
paths = [".env", "sub/.env.local", "index/a.db", "docs/uploads/a.pdf", ".git/config",
         ".venv/x.py", ".ruff_cache/x", "rag/__pycache__/x.pyc", "app.py", "docs/rag.pdf",
         "rag/llm.py", "uv.lock"]
print(json.dumps({
    "app": made["app"].name,
    "functions": list(made["app"].registered_functions),
    "sent": [each for each in paths if not stays(pathlib.Path(each))],
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture
def cli(tmp_path: Path) -> FakePlatform:
    """Make a modal with a logged-in user."""
    rules = {"token info": (0, "Workspace: ada"), "deploy": (0, DEPLOYED)}
    return FakePlatform(tmp_path / "bin", "modal", rules)


def text(made: DeployRequest) -> str:
    return modal.plan(made).writes[0].read().decode()


def deploy(made: DeployRequest) -> Deployment:
    return modal.deploy(made, modal.plan(made), lambda _: None)


def keywords(source: str) -> dict[str, str]:
    """Return the arguments of Modal's `app.function` in the file, as written."""
    tree = ast.parse(source)
    serve = next(each for each in tree.body if isinstance(each, ast.FunctionDef))
    call = serve.decorator_list[0]
    assert isinstance(call, ast.Call)
    return {str(each.arg): ast.unparse(each.value) for each in call.keywords}


def test_the_file_asks_for_one_container_on_the_apps_port(folder: Path) -> None:
    source = text(requested(folder))
    asked = keywords(source)
    assert asked["max_containers"] == "1"
    assert asked["secrets"] == "[modal.Secret.from_name('ask-paris-keys')]"
    assert "PORT = 7860" in source
    assert '"HOST": "0.0.0.0"' in source
    assert '"CHAT_MODEL": "mistral-small-latest"' in source
    assert 'python_version="3.12"' in source
    assert KEY not in source


def test_without_a_key_no_secret_is_asked_for(tmp_path: Path) -> None:
    assert keywords(text(requested(project(tmp_path / "bare", key=False))))["secrets"] == "[]"


def test_a_key_that_comes_later_is_asked_for_then(tmp_path: Path) -> None:
    folder = project(tmp_path / "bare", key=False)
    write(folder / "modal_app.py", text(requested(folder)))
    write(folder / ".env", f"MISTRAL_API_KEY={KEY}\n")
    assert "ask-paris-keys" in keywords(text(requested(folder)))["secrets"]


def test_a_gpu_and_a_region_are_named_as_asked(folder: Path) -> None:
    asked = keywords(text(requested(folder, options=Options(hardware="T4", region="eu"))))
    assert (asked["gpu"], asked["region"]) == ("'T4'", "'eu'")
    assert keywords(text(requested(folder)))["gpu"] == "None"


def test_the_teams_changes_stay(folder: Path) -> None:
    changed = text(requested(folder)).replace("min_containers=0,", "min_containers=1,")
    write(folder / "modal_app.py", changed)
    assert text(requested(folder)) == changed


def test_the_file_is_formatted(folder: Path) -> None:
    source = text(requested(folder, options=Options(name="x" * 40)))
    for words in (["format", "--check"], ["check", "--select", "E,F,I,B,UP,SIM"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *words,
            "--line-length",
            "100",
            "--stdin-filename",
            "modal_app.py",
            "-",
        ]
        ran = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout


@scripts
def test_without_yes_the_exact_commands_are_written_out(folder: Path) -> None:
    assert deploy(requested(folder)).commands == (
        "uv tool install modal",
        "modal setup",
        "modal secret create ask-paris-keys MISTRAL_API_KEY=- --force",
        "modal deploy modal_app.py",
    )


@scripts
def test_with_yes_they_are_run_and_the_address_is_found(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli, options=YES, env={"MISTRAL_API_KEY": KEY})
    assert deploy(made).address == ADDRESS
    lines = [each.words[:3] for each in cli.seen if "token" not in each.words]
    assert lines == [["modal", "secret", "create"], ["modal", "deploy", "modal_app.py"]]
    assert cli.seen[-1].files == sorted(each.path for each in modal.plan(made).files)
    assert ".env" not in cli.seen[-1].files


@scripts
def test_only_the_owner_can_read_the_keys_and_only_for_a_moment(
    folder: Path, cli: FakePlatform
) -> None:
    deploy(requested(folder, cli, options=YES))
    kept = next(each.kept for each in cli.seen if "secret" in each.words)
    assert json.loads(kept["text"]) == {"MISTRAL_API_KEY": KEY}
    assert kept["mode"] == "0o600"
    assert not Path(kept["path"]).exists()
    assert secretless(cli)


@scripts
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux names a process's memory")
def test_on_linux_the_keys_are_in_no_file_at_all(folder: Path, cli: FakePlatform) -> None:
    deploy(requested(folder, cli, options=YES))
    [path] = [each.kept["path"] for each in cli.seen if "secret" in each.words]
    assert path.startswith(f"/proc/{os.getpid()}/fd/")


@scripts
def test_they_are_removed_also_when_modal_fails(folder: Path, cli: FakePlatform) -> None:
    cli.answer({"secret create": (1, f"server error near {KEY}")})
    with pytest.raises(HackkitError, match="exit code 1") as caught:
        deploy(requested(folder, cli, options=YES))
    assert KEY not in caught.value.problem
    assert not Path(cli.seen[-1].kept["path"]).exists()


@scripts
def test_a_second_time_runs_the_same_and_creates_no_second_app(
    folder: Path, cli: FakePlatform
) -> None:
    made = requested(folder, cli, options=YES)
    deploy(made)
    first = [each.config for each in cli.seen]
    cli.forget()
    deploy(made)
    assert [each.config for each in cli.seen] == first
    assert all("--force" in each.words for each in cli.seen if "secret" in each.words)


@scripts
@pytest.mark.parametrize(
    ("said", "words", "fix"),
    [
        ("Error: Token missing. Could not authenticate client.", "not logged in to Modal", "setup"),
        ("Image build for im-1 failed with the exception", "packages", "--rehearse"),
        ("Image builder version <= 2024.10 requires modal", "too old", "images"),
        ("Workspace is over its spend limit", "spend limit is reached", "usage"),
    ],
)
def test_known_errors_of_modal_are_explained(
    folder: Path, cli: FakePlatform, said: str, words: str, fix: str
) -> None:
    cli.answer({"deploy": (1, said)})
    with pytest.raises(HackkitError, match=words) as caught:
        deploy(requested(folder, cli, options=YES))
    assert fix in caught.value.fix


@scripts
def test_an_answer_without_an_address_is_an_error(folder: Path, cli: FakePlatform) -> None:
    cli.answer({"deploy": (0, "done")})
    with pytest.raises(HackkitError, match="returned no address"):
        deploy(requested(folder, cli, options=YES))


@scripts
def test_its_status_its_log_and_its_removal(folder: Path, cli: FakePlatform) -> None:
    made = requested(folder, cli)
    cli.answer({"app info": (1, "not found"), "app logs": (0, "hello")})
    assert not modal.status(made).ok
    said = {"lifecycle": {"state": "deployed"}, "functions": {"serve": {"web_url": ADDRESS}}}
    cli.answer({"app info": (0, json.dumps(said))})
    assert modal.status(made).address == ADDRESS
    assert modal.status(made).ok
    assert modal.logs(made) == "hello"
    assert "ask-paris" in modal.down(made)
    assert cli.seen[-1].line == "modal app stop ask-paris --yes"


# An app with one page; it needs no package.
_PAGE = """\
import http.server, os

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path == "/"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html" if found else "text/plain")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Paris</title>" if found else b"no")

http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Page).serve_forever()
"""


def rehearsed(folder: Path, app: str) -> RehearsalResult:
    """Rehearse a project that needs no package, on this machine as it is."""
    write(folder / "app.py", app)
    write(
        folder / "pyproject.toml",
        '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\n',
    )
    git(folder, "add", "--all")
    made = requested(folder, env=clean_environment())
    made = replace(made, context=replace(made.context, uv=tuple(uv.command())))
    return modal.rehearse(made, modal.plan(made), lambda _: None)


def test_a_rehearsal_installs_the_packages_and_starts_the_app_on_the_given_port(
    folder: Path,
) -> None:
    steps = [each.name for each in rehearsed(folder, _PAGE).steps]
    assert steps[:4] == [
        "Install the packages of uv.lock",
        "Find what the app imports",
        "Start the app",
        "Load the page",
    ]


def test_a_rehearsal_finds_a_requirement_that_is_missing(folder: Path) -> None:
    with pytest.raises(HackkitError, match="no_such_package"):
        rehearsed(folder, "import no_such_package\n" + _PAGE)


def test_a_rehearsal_finds_what_is_imported_only_when_it_is_used(folder: Path) -> None:
    late = "def read() -> None:\n    import no_such_package\n\n\n"
    with pytest.raises(HackkitError, match="needs no_such_package, which its requirements do not"):
        rehearsed(folder, late + _PAGE)


@pytest.mark.slow
def test_the_real_modal_reads_the_file(folder: Path) -> None:
    write(folder / "modal_app.py", text(requested(folder, options=Options(hardware="T4"))))
    git(folder, "add", "--all")
    words = ["uv", "run", "--no-project", "--with", "modal", "python", "-c", _READER]
    env = {**clean_environment(), "HOME": str(folder.parent)}
    if "UV_CACHE_DIR" not in env:
        cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True)
        env["UV_CACHE_DIR"] = cache.stdout.strip()
    ran = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "app": "ask-paris",
        "functions": ["serve"],
        "sent": ["app.py", "docs/rag.pdf", "rag/llm.py", "uv.lock"],
    }
