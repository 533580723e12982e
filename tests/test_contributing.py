"""CONTRIBUTING.md says how to add things: here each is added as it says, in a copy."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, clean_environment, files, git, write

GUIDE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
ROOMS = re.findall(r"^\| (`[^|]+`) \|", GUIDE, re.MULTILINE)


def add(checkout: Path, heading: str) -> list[Path]:
    """Write the files of a section into the copy, each with the path in its first line."""
    section = GUIDE.split(f"### {heading}\n", 1)[1].split("\n###", 1)[0].split("\n## ", 1)[0]
    blocks = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert blocks, f"{heading} shows no file"
    for name, text in blocks:
        assert not (checkout / name).exists()
        write(checkout / name, text)
    return [checkout / name for name, _ in blocks]


def run(checkout: Path, *words: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Run the copy's hackkit, which must succeed (or warn); return what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "hackkit", *words],
        env={**clean_environment(), "PYTHONPATH": str(checkout / "src"), **(env or {})},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_check_is_one_new_file(checkout: Path, tmp_path: Path) -> None:
    add(checkout, "A check")
    words = ("doctor", "--only", "coffee", "--json")
    [found] = json.loads(run(checkout, *words, folder=tmp_path))["checks"]
    assert (found["status"], found["message"]) == ("warn", "none left")
    (tmp_path / "coffee.txt").touch()
    [found] = json.loads(run(checkout, *words, folder=tmp_path))["checks"]
    assert found["status"] == "ok"


def test_a_target_is_one_new_file(checkout: Path, tmp_path: Path) -> None:
    add(checkout, "A target")
    project = tmp_path / "tea"
    run(checkout, "new", "rag-app", "tea", "--defaults", "--no-install", folder=tmp_path)
    listed = json.loads(run(checkout, "deploy", "--list", "--json", folder=tmp_path))
    assert "A folder in the attic of this machine." in [each["summary"] for each in listed]
    planned = json.loads(run(checkout, "deploy", "attic", "--dry-run", "--json", folder=project))
    assert "app.py" in [each["path"] for each in planned["files"]]
    run(checkout, "deploy", "attic", "--rehearse", folder=project)
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    shown = run(checkout, "deploy", "attic", "--yes", folder=project, env=home)
    assert "app.py" in files(tmp_path / "attic" / "tea")
    assert "uv run --directory" in shown


def test_a_value_of_a_slot_is_one_new_file(checkout: Path, tmp_path: Path) -> None:
    add(checkout, "A value of a slot")
    words = ("new", "rag-app", "x", "--set", "store=memory", "--defaults", "--no-install")
    run(checkout, *words, folder=tmp_path)
    texts = {path: path.read_text("utf-8") for path in (tmp_path / "x" / "rag").glob("*.py")}
    assert [path for path, text in texts.items() if "Keeps the vectors in memory." in text]
    assert "numpy>=2" in (tmp_path / "x" / "pyproject.toml").read_text("utf-8")


def test_a_template_is_one_new_folder(checkout: Path, tmp_path: Path) -> None:
    add(checkout, "A template")
    run(checkout, "new", "hello", "x", "--defaults", folder=tmp_path)
    assert "app.py" in files(tmp_path / "x")
    said = subprocess.run(
        [sys.executable, "app.py"], cwd=tmp_path / "x", capture_output=True, check=True
    )
    assert said.stdout.strip() == b"Hello"


def test_an_example_is_one_new_folder(checkout: Path, tmp_path: Path) -> None:
    add(checkout, "An example")
    words = ("new", "--example", "hello-rag", "--defaults", "--no-install")
    run(checkout, *words, folder=tmp_path)
    assert len(git(tmp_path / "hello-rag", "log", "--format=%s").splitlines()) == 2
    listed: dict[str, Any] = json.loads(run(checkout, "list", "--json", folder=tmp_path))
    assert "hello-rag" in [each["name"] for each in listed["examples"]]


def test_an_example_is_made_edited_and_saved_by_two_commands(
    checkout: Path, tmp_path: Path
) -> None:
    add(checkout, "An example")
    make, save = re.findall(r"^uv run python -m (hackkit\.new\.rework .+)$", GUIDE, re.MULTILINE)
    folder, app = tmp_path / "here", tmp_path / "hello" / "app.py"
    folder.mkdir()
    run_module(checkout, make, folder)
    write(app, f"{app.read_text('utf-8')}\n# Ours.\n")
    run_module(checkout, save, folder)
    example = checkout / "examples" / "hello-rag"
    assert files(example) == ["changes.patch", "docs/greetings.md", "example.toml"]
    run(checkout, "new", "--example", "hello-rag", "--no-install", folder=folder)
    assert (folder / "hello-rag" / "app.py").read_bytes() == app.read_bytes()


def run_module(checkout: Path, words: str, folder: Path) -> None:
    """Run a module of the copy as a maintainer would."""
    subprocess.run(
        [sys.executable, "-m", *words.split()],
        env={**clean_environment(), "PYTHONPATH": str(checkout / "src")},
        cwd=folder,
        check=True,
    )


def test_the_map_has_every_room_and_no_other() -> None:
    source = ROOT / "src" / "hackkit"
    named = {name.rstrip("/") for row in ROOMS for name in re.findall(r"`([^`]+)`", row)}
    assert len(named) > 10
    assert [name for name in named if not (source / name).exists()] == []
    folders = {path.parent for path in source.rglob("*.py")} - {source}
    rooms = {folder.relative_to(source).as_posix() for folder in folders}
    below = {room for room in rooms if room.rpartition("/")[0] == "deploy/targets"}
    assert rooms - below <= named


@pytest.mark.parametrize("name", ["AGENTS.md", "CONTRIBUTING.md", "README.md", "CHANGELOG.md"])
def test_every_path_in_a_guide_exists(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    own = r"`((?:tests|templates|examples|docs|benchmarks|src)/[\w./-]+)`|\]\((?!http)([\w./-]+)\)"
    paths = [first or second for first, second in re.findall(own, text)]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_notes_for_assistants_are_short() -> None:
    assert len((ROOT / "AGENTS.md").read_text("utf-8").splitlines()) <= 60
