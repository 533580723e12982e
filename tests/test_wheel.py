"""The built package works in an empty environment, from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, clean_environment, files

from hackkit.system import uv
from hackkit.version import VERSION

pytestmark = pytest.mark.slow


def call(*words: str | Path, cwd: Path) -> str:
    """Run a command that must succeed, with no hackkit of ours in sight; return what it printed."""
    result = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=uv.environment(clean_environment()),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package as a release would, by way of the source archive."""
    out = tmp_path_factory.mktemp("dist")
    call(*uv.command(), "build", "--quiet", "--out-dir", out, cwd=ROOT)
    return out / f"hackkit_starter-{VERSION}-py3-none-any.whl"


def test_an_installed_hackkit_lists_and_makes_projects(wheel: Path, tmp_path: Path) -> None:
    environment, elsewhere = tmp_path / "env", tmp_path / "else where"
    elsewhere.mkdir()
    call(*uv.command(), "venv", "--quiet", "--python", sys.executable, environment, cwd=tmp_path)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    install = ("pip", "install", "--quiet", "--python", environment, wheel)
    call(*uv.command(), *install, cwd=tmp_path)
    assert "rag-app" in call(scripts / "hackkit", "list", cwd=elsewhere)
    call(scripts / "hackkit", "new", "rag-app", "x", "--defaults", "--no-install", cwd=elsewhere)
    installed, ours = elsewhere / "x", tmp_path / "ours"
    words = ("new", "rag-app", ours / "x", "--defaults", "--no-install", "--no-git")
    call(sys.executable, "-m", "hackkit", *words, cwd=tmp_path)
    assert files(installed) == files(ours / "x")


def test_the_wheel_holds_the_tracked_files_and_no_others(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    for source, place in (("templates", "_templates"), ("examples", "_examples")):
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", source],
            cwd=ROOT,
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout.split("\0")
        expected = {
            name.replace(source, f"hackkit/{place}", 1)
            for name in listed
            if name and (ROOT / name).is_file()
        }
        assert {name for name in packed if name.startswith(f"hackkit/{place}/")} == expected
