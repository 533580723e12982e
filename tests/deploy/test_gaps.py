"""What a platform lacks is said before anything is sent."""

import json
from pathlib import Path

import pytest
from conftest import git, write
from fake_platform import project, requested

from hackkit.deploy import gaps
from hackkit.deploy.manifest import Manifest, OutgoingFile
from hackkit.deploy.targets import find_target
from hackkit.project.catalog import Catalog

WITH_DOCKERFILE = ("docker", "render", "fly", "cloudrun")


def sent(**texts: str) -> list[OutgoingFile]:
    """Make files of the texts; `__` in a name is a dot."""
    named = {name.replace("__", "."): text.encode() for name, text in texts.items()}
    return [OutgoingFile(name, data, len(data)) for name, data in named.items()]


def plan(folder: Path, target: str) -> Manifest:
    return find_target(target).plan(requested(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.mark.parametrize("target", [*WITH_DOCKERFILE, "modal"])
def test_a_renamed_start_file_stops_it_by_name(folder: Path, target: str) -> None:
    git(folder, "mv", "app.py", "main.py")
    [problem] = [each for each in plan(folder, target).problems if "starts" in each.problem]
    recipe = "modal_app.py" if target == "modal" else "Dockerfile"
    assert problem.problem == f"{recipe} starts app.py, which is not among the files."
    assert problem.fix == f"edit {recipe}: name the file that starts the app"


@pytest.mark.parametrize("target", [*WITH_DOCKERFILE, "modal"])
def test_a_start_file_that_is_there_is_no_problem(folder: Path, target: str) -> None:
    assert not any("starts" in each.problem for each in plan(folder, target).problems)


def test_the_last_command_of_the_templates_dockerfile_is_understood(tmp_path: Path) -> None:
    for template in Catalog.here().templates:
        path = Catalog.here().templates_folder / template.name / "project" / "Dockerfile"
        files = sent(Dockerfile=path.read_text("utf-8"))
        context = requested(project(tmp_path / template.name)).context
        [problem] = gaps.problems(context, files, "Dockerfile")
        assert problem.problem.startswith("Dockerfile starts app.py")


def test_the_files_of_a_submodule_are_said_to_be_left_out(folder: Path, tmp_path: Path) -> None:
    other = project(tmp_path / "other")
    allow = ("-c", "protocol.file.allow=always")
    git(folder, *allow, "submodule", "--quiet", "add", str(other), "vendor/other")
    notes = " ".join(plan(folder, "docker").notes)
    assert "vendor/other is a submodule, whose files are in another repository" in notes


def test_a_link_out_of_the_project_is_said_to_be_left_out(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "data.csv", "x")
    try:
        (folder / "data.csv").symlink_to(tmp_path / "data.csv")
    except OSError:
        pytest.skip("links need a privilege here")
    git(folder, "add", "data.csv")
    notes = " ".join(plan(folder, "docker").notes)
    assert "data.csv is a link to a file outside the project" in notes


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("${GITHUB_TOKEN}", 1),
        ("Bearer ${env:GITHUB_TOKEN}", 1),
        ("${GITHUB_TOKEN:-none}", 0),
        ("${workspaceFolder}", 0),
        ("a fixed value", 0),
    ],
)
def test_a_variable_that_a_tool_needs_is_named(written: str, count: int) -> None:
    text = json.dumps({"mcpServers": {"x": {"command": "x", "env": {"TOKEN": written}}}})
    notes = list(gaps.notes(sent(mcp__json=text), []))
    assert ["needs GITHUB_TOKEN" in note for note in notes] == [True] * count
    assert list(gaps.notes(sent(mcp__json=text), ["GITHUB_TOKEN"])) == []


@pytest.mark.parametrize("text", ["", "[", '{"mcpServers": []}', '{"mcpServers": {"x": null}}'])
def test_a_file_without_servers_needs_nothing(text: str) -> None:
    assert list(gaps.notes(sent(mcp__json=text), [])) == []


@pytest.mark.parametrize(
    ("command", "dockerfile", "missing"),
    [
        ("npx", "FROM python:3.11-slim\nCOPY . .\n", "Node.js"),
        ("npx", "FROM python:3.11-slim\nRUN apt-get install -y nodejs npm\n", ""),
        ("uvx", "FROM python:3.11 AS build\nRUN pip install uv\nFROM python:3.11\n", "uv"),
        ("uvx", "FROM python:3.11\nRUN pip install uv\n", ""),
        ("docker", "FROM python:3.11\n", "Docker"),
        ("npx -y a-server", "FROM python:3.11\n", "Node.js"),
        ("python", "FROM python:3.11\n", ""),
    ],
)
def test_a_program_that_the_image_lacks_is_named(
    command: str, dockerfile: str, missing: str
) -> None:
    text = json.dumps({"mcpServers": {"x": {"command": command}}})
    notes = list(gaps.notes(sent(mcp__json=text, Dockerfile=dockerfile), [], "Dockerfile"))
    program = command.partition(" ")[0]
    wanted = f"mcp.json starts {program}, but Dockerfile does not install {missing}"
    assert notes == ([wanted] if missing else [])
