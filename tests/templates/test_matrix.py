"""Every template with any two values of its slots, and every example, is made and used.

What there is to make is read from the folders. Projects are made outside the repository.
"""

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import project_docs
import pytest
from combinations import NAMES, covering, is_plain, values_of
from conftest import clean_environment, git, write

from hackkit.project.catalog import Catalog, Template
from hackkit.project.files import ProjectFiles
from hackkit.system import uv

pytestmark = pytest.mark.slow

# Made here, so that no scanner, ours included, takes this file for a leak.
KEY = "aB3" * 10 + "xY"


@dataclass(frozen=True)
class Case:
    """One project to make, and the steps that it cannot take."""

    title: str
    words: tuple[str, ...]
    name: str
    lacks: tuple[str, ...] = field(default=())


def cases() -> Iterator[Case]:
    """Read the folders: any two values of two slots meet in a case of their template."""
    catalog, names = Catalog.here(), itertools.cycle(NAMES)
    for template in catalog.templates:
        for answers in combinations_of(template):
            settings = [f"{key}={value}" for key, value in answers.items()]
            name = next(names)
            words = (template.name, name, *(f"--set={setting}" for setting in settings))
            yield Case("-".join([template.name, *settings]), words, name, template.lacks)
    for example in catalog.examples:
        base = next(item for item in catalog.templates if item.name == example.template)
        words = ("--example", example.name, example.name)
        yield Case(f"example-{example.name}", words, example.name, base.lacks)


def combinations_of(template: Template) -> list[dict[str, str]]:
    """Return the answers to make projects of; test_rendered.py renders the values of plain slots."""
    return covering({slot.name: values_of(slot) for slot in template.slots if not is_plain(slot)})


@dataclass(frozen=True)
class Made:
    """A project on disk."""

    case: Case
    folder: Path

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's environment."""
        return subprocess.run(
            [*uv.command(), "run", "--no-sync", *words],
            cwd=self.folder,
            env=offline(variables),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=900,
        )

    def must(self, step: str, *words: str) -> str:
        """Run a command that must succeed, unless the template says that it lacks the step."""
        if step in self.case.lacks:
            pytest.skip(f"the template lacks {step}")
        result = self.run(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout


def offline(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with no key and no model server in it."""
    return {**uv.outer_environment(clean_environment()), **variables}


@pytest.fixture(scope="module", params=list(cases()), ids=lambda case: case.title)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make and install one project, once for all its steps."""
    case: Case = request.param
    parent = tmp_path_factory.mktemp("matrix")
    result = subprocess.run(
        [sys.executable, "-m", "hackkit", "new", *case.words, "--defaults"],
        cwd=parent,
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=900,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return Made(case, parent / case.name)


def test_it_installs_and_its_lock_is_committed(made: Made) -> None:
    assert (made.folder / ".venv").is_dir()
    assert "uv.lock" in git(made.folder, "ls-files").splitlines()
    assert git(made.folder, "status", "--porcelain") == ""


def test_it_lints_clean(made: Made) -> None:
    made.must("lint", "ruff", "check", ".")


def test_it_is_formatted(made: Made) -> None:
    made.must("format", "ruff", "format", "--check", ".")


@pytest.fixture(scope="session")
def types_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy has learned of the libraries, which takes longest: the next project reads it."""
    return tmp_path_factory.mktemp("types")


def test_its_types_hold(made: Made, types_cache: Path) -> None:
    settings = tomllib.loads((made.folder / "pyproject.toml").read_text("utf-8"))
    if "mypy" not in settings.get("tool", {}):
        pytest.skip("it configures no type checker")
    made.must("types", "mypy", "--cache-dir", str(types_cache))


def test_its_own_tests_pass_offline(made: Made) -> None:
    made.must("tests", "pytest", "-q")


def test_it_starts_and_answers_a_question(made: Made) -> None:
    if "app" in made.case.lacks:
        pytest.skip("the template lacks an app")
    with started(made) as address:
        code = (
            "import json, sys; from gradio_client import Client\n"
            "client = Client(sys.argv[1], verbose=False)\n"
            "print('ANSWER', json.dumps(client.predict(sys.argv[2], api_name='/ask')))"
        )
        result = made.run("python", "-c", code, address, question(made))
        assert result.returncode == 0, result.stdout + result.stderr
        answer = result.stdout.split("ANSWER")[1]
        assert len(json.dumps(json.loads(answer))) > 20, answer


def question(made: Made) -> str:
    """Return the question that the project itself would ask."""
    package = ProjectFiles(made.folder).package
    return str(json.loads(made.run("python", "-m", package, "status", "--json").stdout)["question"])


def test_hackkit_doctor_finds_nothing_broken(made: Made) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "hackkit", "doctor", "--offline", "--json"],
        cwd=made.folder,
        env=offline({}),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    checks = [each for each in json.loads(result.stdout)["checks"] if each["category"] == "project"]
    assert len(checks) > 10
    assert [each for each in checks if each["status"] == "fail"] == []


@pytest.fixture
def tried(made: Made) -> Iterator[Made]:
    """Take a project to try its documents in; leave it as it was."""
    yield made
    git(made.folder, "reset", "--quiet", "--hard")
    git(made.folder, "clean", "--quiet", "--force", "-d")


def test_what_its_documents_show_works_in_their_order(tried: Made) -> None:
    for name, text in project_docs.texts(tried.folder).items():
        for number, block in enumerate(project_docs.blocks(text)):
            if block.kind == "python":
                run_file(tried, block.path or f"block_{number}.py", block.text)
            for words in block.commands:
                if not project_docs.reason_not_to_run(words):
                    run_command(tried, name, words)


def run_file(made: Made, path: str, text: str) -> None:
    """Write a Python block to its file, as its reader would, and run it."""
    assert not (made.folder / path).exists()
    write(made.folder / path, text)
    made.must("docs", "python", "-m", path.removesuffix(".py").replace("/", "."))
    made.must("lint", "ruff", "check", path)
    made.must("format", "ruff", "format", "--check", path)
    if Path(path).parent.name == "tools":
        status = made.must("docs", "python", "-m", Path(path).parts[0], "status", "--json")
        for function in re.findall(r"^@tool\ndef (\w+)", text, re.MULTILINE):
            assert function in json.loads(status)["tools"]


def run_command(made: Made, document: str, words: list[str]) -> None:
    """Run a command of a shell block, unless it needs what this project has not installed."""
    if project_docs.needs_training(words):
        return
    result = subprocess.run(
        [*(uv.command() if words[0] == "uv" else words[:1]), *words[1:]],
        cwd=made.folder,
        env=offline({}),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, f"{document}: {words}\n{result.stdout}{result.stderr}"


def test_every_command_that_its_documents_name_has_help(made: Made) -> None:
    text = "\n".join(project_docs.texts(made.folder).values())
    for module, command in sorted(project_docs.modules(text)):
        made.must("docs", "python", "-m", module, *([command] if command else []), "--help")


@contextmanager
def started(made: Made) -> Iterator[str]:
    """Start the project's app on a free port as the printed step does; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = made.folder.parent / "app.log"
    with log.open("wb") as file:
        app = subprocess.Popen(
            [*uv.command(), "run", "app.py"],
            cwd=made.folder,
            env=offline({"PORT": str(port)}),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            _until_it_listens(app, port, log)
            yield f"http://127.0.0.1:{port}/"
        finally:
            app.terminate()
            app.wait(60)


def _until_it_listens(app: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + 120
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        running = app.poll() is None and time.monotonic() < end
        assert running, log.read_text("utf-8", errors="replace")
        time.sleep(0.2)


# Each leaks a key in its own way.
LEAKS = {
    "app_key.py": f'client = Mistral(api_key="{KEY}")\n',
    "config.yaml": f"mistral:\n  api_key: {KEY}\n",
    "settings.yml": f"MISTRAL_API_KEY: '{KEY}'\n",
    "note.ipynb": json.dumps(
        {"cells": [{"source": [f'os.environ["MISTRAL_API_KEY"] = "{KEY}"\n']}]}
    ),
    "call.sh": f'curl -H "Authorization: Bearer {KEY}" https://api.mistral.ai/v1/models\n',
    "call.py": f'headers = {{"Authorization": "Bearer {KEY}"}}\n',
    "lines.py": f'client = Mistral(\n    api_key="{KEY}",\n)\n',
}
HARMLESS = {
    "use.py": 'client = Mistral(api_key=os.environ["MISTRAL_API_KEY"])\n',
    "digest.txt": f"sha256 {'0a1b2c3d' * 8}\n",
    "example.env": "MISTRAL_API_KEY=\n",
}


@pytest.fixture
def hooked(made: Made) -> Iterator[Made]:
    """Take a project with its hook in place; leave it as it was."""
    if not (made.folder / ".git" / "hooks" / "pre-commit").is_file():
        pytest.skip("the template has no secret scan")
    yield made
    git(made.folder, "reset", "--quiet", "--hard")
    git(made.folder, "clean", "--quiet", "--force", "-d")


def commit(made: Made, texts: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Write files and try to commit them, as a member of the team would."""
    for name, text in texts.items():
        write(made.folder / name, text)
    git(made.folder, "add", *texts)
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", *author, "commit", "--quiet", "--message", "Add files"],
        cwd=made.folder,
        env=offline({}),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=300,
    )


@pytest.mark.skipif(os.name == "nt", reason="hooks are run by git's own shell there")
def test_a_commit_with_a_key_in_it_is_refused(hooked: Made) -> None:
    assert all(KEY in text for text in LEAKS.values())
    result = commit(hooked, LEAKS)
    assert result.returncode != 0
    printed = result.stdout + result.stderr
    assert [name for name in LEAKS if name not in printed] == [], printed


@pytest.mark.skipif(os.name == "nt", reason="hooks are run by git's own shell there")
def test_a_harmless_commit_goes_through(hooked: Made) -> None:
    result = commit(hooked, HARMLESS)
    assert result.returncode == 0, result.stdout + result.stderr


def test_its_own_files_pass_the_secret_scan(hooked: Made) -> None:
    hooked.must("hook", "pre-commit", "run", "--all-files")
