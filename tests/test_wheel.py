"""The built package works in an empty environment, from any folder."""

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Result, clean_environment, files

from hackkit.system import uv
from hackkit.version import VERSION

pytestmark = pytest.mark.slow

QUICKLY = ("--no-install", "--no-git")


def run(*words: str | Path, cwd: Path) -> Result:
    """Run a command without this checkout's hackkit on PATH."""
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=uv.outer_environment(clean_environment()),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )


def call(*words: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; return what it printed."""
    result = run(*words, cwd=cwd)
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
    for words in (("rag-app", "--defaults"), ("--example", "course-tutor")):
        installed, ours = (parent / words[-1] for parent in (elsewhere, tmp_path / "ours"))
        call(scripts / "hackkit", "new", *words, installed, *QUICKLY, cwd=elsewhere)
        call(sys.executable, "-m", "hackkit", "new", *words, ours, *QUICKLY, cwd=tmp_path)
        assert files(installed) == files(ours)
        for name in files(ours):
            assert (installed / name).read_bytes() == (ours / name).read_bytes(), name


def test_under_uvx_a_printed_command_can_be_typed(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").touch()
    start = (*uv.command(), "tool", "run", "--from", str(wheel), "hackkit-starter")
    words = (*start, "new", "rag-app", "x", "--defaults", *QUICKLY)
    result = run(*words, cwd=tmp_path)
    assert result.returncode == 2
    fix = result.stderr.split("Fix: ")[1].strip()
    assert fix.startswith("uvx --from file://")
    # (`uvx` is `uv tool run`, which is there wherever uv is.)
    call(*uv.command(), "tool", "run", *shlex.split(fix)[1:], cwd=tmp_path)
    assert (tmp_path / "x-2" / "app.py").is_file()


def test_its_page_on_the_index_has_absolute_links_and_our_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        [name] = [each for each in packed.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = packed.read(name).decode("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", metadata)
    assert len(links) > 3
    assert all(link.startswith("https://") for link in links), links
    assert metadata.count("\nProject-URL: ") >= 3
    assert "Classifier: Programming Language :: Python :: 3.11" in metadata


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
