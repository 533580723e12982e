"""`hackkit new --example`: the template with its answers, and the team's files over it."""

import difflib
from pathlib import Path

import pytest
import yaml
from combinations import covering, values_of
from conftest import Run, files, git, write

from hackkit import Plan, new_project
from hackkit.new.examples import settings_path
from hackkit.new.settings_file import defaults
from hackkit.project.catalog import Catalog, Example

EXAMPLES = Catalog.here().examples

ALIKE = 0.5  # the share of lines that a file of an example may have from the template's file

ABOUT = """\
summary = "A tutor."
template = "rag-app"
remove = ["docs/models.csv"]

[answers]
store = "qdrant"
"""


@pytest.fixture
def env(checkout: Path) -> dict[str, str]:
    """Put an example of three files into a copy of hackkit."""
    example = checkout / "examples" / "tutor"
    write(example / "example.toml", ABOUT)
    write(example / "README.md", "# Ours\n")
    write(example / "docs" / "new.md", "# New\n")
    write(example / "rag" / "__pycache__" / "left.pyc", "left over")
    return {"PYTHONPATH": str(checkout / "src")}


def test_an_example_is_its_template_with_the_team_s_files(
    hackkit: Run, tmp_path: Path, env: dict[str, str]
) -> None:
    result = hackkit("new", "--example", "tutor", "x", "--no-install", env=env)
    assert result.returncode == 0, result.stderr
    project = tmp_path / "x"
    assert (project / "README.md").read_text("utf-8") == "# Ours\n"
    assert (project / "docs" / "new.md").is_file()
    assert not (project / "docs" / "models.csv").exists()
    assert "qdrant" in (project / "pyproject.toml").read_text("utf-8")
    assert not {"example.toml", "rag/__pycache__/left.pyc"} & set(files(project))


def test_the_team_s_files_are_a_commit_of_their_own(
    hackkit: Run, tmp_path: Path, env: dict[str, str]
) -> None:
    hackkit("new", "--example", "tutor", "x", "--no-install", env=env)
    project = tmp_path / "x"
    assert len(git(project, "log", "--format=%s").splitlines()) == 2
    changed = set(git(project, "show", "--format=", "--name-only").splitlines())
    assert changed == {"README.md", "docs/new.md", "docs/models.csv"}
    assert git(project, "status", "--porcelain") == ""


def test_an_answer_by_flag_wins_over_the_example_s(
    hackkit: Run, tmp_path: Path, env: dict[str, str]
) -> None:
    words = ("--example", "tutor", "x", "--set", "store=chroma", "--no-install")
    assert hackkit("new", *words, env=env).returncode == 0
    answers = yaml.safe_load((tmp_path / "x" / ".hackkit.yml").read_text("utf-8"))
    assert answers["store"] == "chroma"


def test_an_example_without_a_folder_takes_its_own_name(
    hackkit: Run, tmp_path: Path, env: dict[str, str]
) -> None:
    assert hackkit("new", "--example", "tutor", "--no-install", env=env).returncode == 0
    assert (tmp_path / "tutor").is_dir()


def test_a_template_beside_an_example_is_wrong_use(hackkit: Run, env: dict[str, str]) -> None:
    result = hackkit("new", "rag-app", "x", "--example", "tutor", env=env)
    assert result.returncode == 2
    assert "Fix: hackkit new --example tutor x" in result.stderr


def test_the_list_shows_examples(hackkit: Run, env: dict[str, str]) -> None:
    assert "A tutor." in hackkit("list", env=env).stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda item: item.name)
def test_an_example_fits_todays_template_with_any_values_of_its_slots(
    tmp_path: Path, example: Example
) -> None:
    [template] = (each for each in Catalog.here().templates if each.name == example.template)
    slots = {slot.name: values_of(slot) for slot in template.slots if slot.name != "license"}
    for number, answers in enumerate(covering(slots)):
        folder = tmp_path / str(number) / "x"
        plan = Plan(folder, example=example.name, answers=answers, install=False, git=False)
        settings = (new_project(plan).directory / settings_path(folder)).read_text("utf-8")
        written = defaults(settings)
        assert {key: written.get(key) for key in example.settings} == example.settings


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda item: item.name)
def test_an_example_holds_only_what_differs(tmp_path: Path, example: Example) -> None:
    plan = Plan(tmp_path / "x", example.template, answers=example.answers, install=False, git=False)
    rendered = new_project(plan).directory
    shared = set(files(example.folder)) & set(files(rendered))
    # Data is kept whole: a patch of its figures would say nothing.
    for name in (name for name in shared if not name.startswith("data/")):
        before, after = ((folder / name).read_bytes() for folder in (rendered, example.folder))
        matcher = difflib.SequenceMatcher(None, before.split(b"\n"), after.split(b"\n"))
        assert matcher.ratio() < ALIKE, f"{name}: write its changes as a patch"
    assert not [path for path in example.remove if not (rendered / path).is_file()]
