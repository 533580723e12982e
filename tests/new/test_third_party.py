"""A folder or any Copier source works as a template; one that runs code needs --trust."""

from pathlib import Path

import pytest
import yaml
from conftest import Run, files, git, write


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Write a third-party template with one question and an answers file."""
    folder = tmp_path / "theirs"
    write(folder / "copier.yml", "flavour:\n  type: str\n  default: plain\n")
    write(folder / "flavour.txt.jinja", "{{ flavour }}")
    write(folder / "{{ _copier_conf.answers_file }}.jinja", "{{ _copier_answers | to_nice_yaml }}")
    return folder


def test_a_folder_is_a_template(hackkit: Run, tmp_path: Path, source: Path) -> None:
    result = hackkit("new", source, "x", "--defaults")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x" / "flavour.txt").read_text() == "plain"


def test_a_git_repository_is_a_template(hackkit: Run, tmp_path: Path, source: Path) -> None:
    git(source, "init", "--quiet")
    git(source, "add", ".")
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git(source, *author, "commit", "--quiet", "--message", "One")
    git(source, "tag", "v1.0.0")
    result = hackkit("new", f"git+file://{source}", "x", "--set", "flavour=mint", "--defaults")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "x" / "flavour.txt").read_text() == "mint"
    answers = yaml.safe_load((tmp_path / "x" / ".copier-answers.yml").read_text())
    assert answers["_commit"] == "v1.0.0"


def test_an_answer_to_no_question_is_refused(hackkit: Run, tmp_path: Path, source: Path) -> None:
    result = hackkit("new", source, "x", "--set", "flavor=mint", "--defaults")
    assert result.returncode == 2
    assert "flavour" in result.stderr
    assert not (tmp_path / "x").exists()


def test_without_a_terminal_its_questions_need_the_defaults(hackkit: Run, source: Path) -> None:
    result = hackkit("new", source, "x")
    assert result.returncode == 2
    assert f"hackkit new {source} x --defaults" in result.stderr


def test_code_runs_only_with_trust(hackkit: Run, tmp_path: Path, source: Path) -> None:
    write(source / "copier.yml", "_tasks: ['touch ran']\nflavour: plain\n")
    refused = hackkit("new", source, "x", "--defaults")
    assert refused.returncode == 2
    assert "runs code" in refused.stderr
    assert not (tmp_path / "x").exists()
    fix = refused.stderr.split("Fix: hackkit ")[1].split()
    assert "--trust" in fix
    assert hackkit(*fix).returncode == 0
    assert (tmp_path / "x" / "ran").exists()


def test_a_failing_task_gets_a_message_and_leaves_nothing(
    hackkit: Run, tmp_path: Path, source: Path
) -> None:
    write(source / "copier.yml", "_tasks: ['exit 3']\n")
    result = hackkit("new", source, "x", "--defaults", "--trust")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


def test_a_source_that_cannot_be_reached_gets_a_message(hackkit: Run, tmp_path: Path) -> None:
    result = hackkit("new", f"git+file://{tmp_path}/nowhere", "x", "--defaults")
    assert result.returncode == 1
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert files(tmp_path) == []
