"""The oldest packages that are allowed, and the newest Python at hand: each installs and works."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment

from hackkit.project.catalog import Catalog
from hackkit.system import uv

pytestmark = pytest.mark.slow

SCRIPTS = "Scripts" if os.name == "nt" else "bin"
TEMPLATES = [template.name for template in Catalog.here().templates]
LATER = [f"3.{minor}" for minor in range(19, 11, -1)]  # than 3.11, which runs all other tests


@dataclass(frozen=True)
class Ground:
    """What something is installed on: a Python, and the oldest or the newest packages."""

    python: str
    resolution: str

    @property
    def variables(self) -> dict[str, str]:
        """Return an environment in which uv takes these, and fetches no Python."""
        return {
            **uv.outer_environment(clean_environment()),
            "UV_PYTHON": self.python,
            "UV_RESOLUTION": self.resolution,
            "UV_PYTHON_DOWNLOADS": "never",
        }


def newest_python() -> str:
    """Return the newest Python above 3.11 on this machine; empty when there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [str(folder) for folder in pyenv.glob("versions/*/bin")]
    env = clean_environment() | {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}
    for version in LATER:
        words = [*uv.command(), "python", "find", "--no-python-downloads", "--no-project", version]
        found = subprocess.run(words, env=env, capture_output=True, encoding="utf-8", check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    return ""


@pytest.fixture(scope="module", params=["oldest packages", "newest Python"])
def ground(request: pytest.FixtureRequest) -> Ground:
    if request.param == "oldest packages":
        return Ground(sys.executable, "lowest-direct")
    python = newest_python()
    if not python:
        pytest.skip("there is no Python above 3.11 on this machine")
    return Ground(python, "highest")


def run(words: list[str], folder: Path, env: Mapping[str, str], code: int = 0) -> str:
    """Run a command that must end with this exit code; return all that it printed."""
    done = subprocess.run(
        words,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=900,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install hackkit's wheel into an environment of its own; return its command."""
    folder = tmp_path_factory.mktemp("installed")
    build = ("build", "--quiet", "--wheel", "--out-dir", str(folder))
    run([*uv.command(), *build, str(ROOT)], folder, uv.outer_environment(clean_environment()))
    [wheel] = folder.glob("*.whl")
    run([*uv.command(), "venv", "--quiet", "env"], folder, ground.variables)
    install = ("pip", "install", "--quiet", "--python", "env", str(wheel))
    run([*uv.command(), *install], folder, ground.variables)
    return folder / "env" / SCRIPTS / "hackkit"


def test_an_installed_hackkit_works(installed: Path, ground: Ground, tmp_path: Path) -> None:
    def hackkit(*words: str, code: int = 0) -> str:
        return run([str(installed), *words], tmp_path, ground.variables, code)

    assert "doctor" in hackkit("--help")
    hackkit("new", "rag-app", "x", "--defaults", "--no-install")
    assert (tmp_path / "x" / "app.py").is_file()
    assert 'There is no template and no folder "nope"' in hackkit("new", "nope", "y", code=2)
    checks = json.loads(hackkit("doctor", "--offline", "--json", "--only", "git", "--only", "disk"))
    assert len(checks["checks"]) == 2
    assert "spaces" in hackkit("deploy", "--list")


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_installs_and_passes_its_tests(
    ground: Ground, template: str, tmp_path: Path
) -> None:
    made = ("new", template, "x", "--defaults", "--no-install", "--no-git")
    run([sys.executable, "-m", "hackkit", *made], tmp_path, clean_environment())
    run([*uv.command(), "sync", "--quiet"], tmp_path / "x", ground.variables)
    said = run([*uv.command(), "run", "--no-sync", "pytest"], tmp_path / "x", ground.variables)
    assert " passed" in said
