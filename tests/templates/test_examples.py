"""`hackkit new --example`: the template with its answers, and the team's files over it."""

import difflib
from pathlib import Path

import pytest
import yaml
from conftest import Run, files, git, write

from hackkit.project.catalog import Catalog, Example

FEW = 200  # changed lines of code

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


@pytest.mark.parametrize("example", Catalog.here().examples, ids=lambda item: item.name)
def test_an_example_holds_only_what_differs(hackkit: Run, tmp_path: Path, example: Example) -> None:
    answers = [word for pair in example.answers.items() for word in ("--set", "=".join(pair))]
    words = [example.template, tmp_path / "plain", *answers, "--defaults"]
    assert hackkit("new", *words, "--no-install", "--no-git").returncode == 0
    rendered = tmp_path / "plain"
    for name in set(files(example.folder)) & set(files(rendered)):
        assert (example.folder / name).read_bytes() != (rendered / name).read_bytes(), name
    assert not [path for path in example.remove if not (rendered / path).is_file()]
    # Also the guard against drift: a file that no longer follows its template differs in more.
    assert sum(_changed_lines(example.folder, rendered, name) for name in _code(example)) < FEW


def _code(example: Example) -> list[str]:
    python = (name for name in files(example.folder) if str(name).endswith(".py"))
    return [str(name) for name in python if not str(name).startswith("tests")]


def _changed_lines(folder: Path, rendered: Path, name: str) -> int:
    before, after = (_lines(root / name) for root in (rendered, folder))
    return sum(line[0] in "+-" for line in difflib.ndiff(before, after))


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.is_file() else []
