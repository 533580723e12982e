"""hackkit's workflow on GitHub, and those of the templates: read, and held against the schema."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, clean_environment

from hackkit import Plan, new_project
from hackkit.project.catalog import Catalog
from hackkit.system import uv

OURS = ROOT / ".github" / "workflows" / "ci.yml"
SCHEMA = ("--builtin-schema", "vendor.github-workflows")


def jobs() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(OURS.read_text("utf-8"))
    found: dict[str, Any] = content["jobs"]
    return found


def commands(job: str) -> list[str]:
    return [step["run"] for step in jobs()[job]["steps"] if "run" in step]


def checked(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*uv.command(), "tool", "run", *map(str, words)],
        env=uv.outer_environment(clean_environment()),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def test_it_tests_three_systems_with_the_oldest_and_the_newest_python() -> None:
    matrix = jobs()["test"]["strategy"]["matrix"]
    assert matrix["system"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert matrix["python"] == ["3.11", "3.14"]


def test_it_runs_the_test_command_of_the_readme() -> None:
    [command] = commands("test")
    assert f"```\n{command}\n```" in (ROOT / "README.md").read_text("utf-8")


def test_it_checks_the_wheel_and_the_source_archive() -> None:
    words = " ".join(commands("package"))
    for expected in ("uv build", "twine check", "check-wheel-contents", "hackkit --help"):
        assert expected in words


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("check-jsonschema", *SCHEMA), ("zizmor", "--offline")], ids=lambda words: words[0]
)
def test_it_passes_the_checkers_of_workflows(words: tuple[str, ...]) -> None:
    result = checked(*words, OURS)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("template", [each.name for each in Catalog.here().templates])
def test_the_workflow_of_a_template_fits_the_schema(tmp_path: Path, template: str) -> None:
    plan = Plan(tmp_path / "x", template=template, git=False, install=False)
    workflow = new_project(plan).directory / ".github" / "workflows" / "ci.yml"
    result = checked("check-jsonschema", *SCHEMA, workflow)
    assert result.returncode == 0, result.stdout + result.stderr
