"""What a deployment sends: tracked files, none of them secret, generated or too large."""

import os
import zipfile
from pathlib import Path

import pytest
from conftest import clean_environment, git, write
from planted import planted

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import OutgoingFile
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import runner

# Made up, and put together here so that no scan of this repository finds it.
KEY = "aB3dE6gH" * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a committed project of four files."""
    root = tmp_path / "app"
    write(root / ".hackkit.yml", "template: rag-app\n")
    write(root / ".env.example", "MISTRAL_API_KEY=\nCHAT_MODEL=\nLLM_BASE_URL=\nHOST=\nPORT=\n")
    write(root / ".gitignore", ".env\nindex/\n")
    write(root / "app.py", "print('hello')\n")
    git(root, "init", "--quiet")
    commit(root)
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all", "--force")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    git(root, *identity, "commit", "--quiet", "--message", "x")


def context(folder: Path, **env: str) -> Context:
    return Context(
        folder=folder,
        env=env,
        project=ProjectFiles(folder),
        run=runner(clean_environment()),
    )


def names(folder: Path) -> list[str]:
    return [each.path for each in outgoing.tracked_files(context(folder))]


def test_tracked_files_are_sent(folder: Path) -> None:
    assert names(folder) == [".env.example", ".gitignore", ".hackkit.yml", "app.py"]


def test_the_current_content_of_a_file_is_sent_not_the_committed_one(folder: Path) -> None:
    write(folder / "app.py", "print('new')\n")
    [app] = [each for each in outgoing.tracked_files(context(folder)) if each.path == "app.py"]
    assert app.read() == b"print('new')\n"
    assert app.size == len(app.read())


def test_an_untracked_file_is_not_sent_and_is_named(folder: Path) -> None:
    write(folder / "forgotten.py", "")
    assert "forgotten.py" not in names(folder)
    assert outgoing.untracked(context(folder)) == ("forgotten.py",)


def test_a_deleted_file_is_not_sent(folder: Path) -> None:
    (folder / "app.py").unlink()
    assert "app.py" not in names(folder)


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "deep/.env.local",
        "index/keywords/keywords.db",
        "feedback.jsonl",
        "docs/uploads/private.pdf",
        "rag/__pycache__/llm.pyc",
        ".venv/bin/python",
        "evals/report.json",
    ],
)
def test_private_files_are_not_sent_even_when_git_tracks_them(folder: Path, path: str) -> None:
    write(folder / path, "x")
    commit(folder)
    assert path not in names(folder)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_out_of_the_project_is_not_sent(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "private.txt", "x")
    (folder / "link.txt").symlink_to(tmp_path / "private.txt")
    commit(folder)
    assert "link.txt" not in names(folder)


def test_without_a_repository_nothing_is_sent_and_the_fix_is_named(tmp_path: Path) -> None:
    write(tmp_path / "app.py", "")
    with pytest.raises(HackkitError, match="git tracks none here") as caught:
        outgoing.tracked_files(context(tmp_path))
    assert caught.value.fix.startswith("git init")


def test_only_variables_of_the_example_with_a_value_are_set(folder: Path) -> None:
    write(folder / ".env", f"MISTRAL_API_KEY={KEY}\nOTHER=1\nPORT=9000\n")
    secrets, others = outgoing.variables(context(folder, CHAT_MODEL="small", HOME="/home/ada"))
    assert secrets == {"MISTRAL_API_KEY": KEY}
    assert others == {"CHAT_MODEL": "small"}


def test_a_file_of_variables_in_utf_16_is_read_and_stops_a_deployment(folder: Path) -> None:
    data = f"MISTRAL_API_KEY={KEY}\r\n".encode("utf-16")
    (folder / ".env").write_bytes(data)
    assert outgoing.variables(context(folder)) == ({"MISTRAL_API_KEY": KEY}, {})
    [problem] = outgoing.problems((), context(folder), 1)
    assert problem.problem == ".env is in UTF-16, or in part (PowerShell's >> writes it)."
    assert "doctor --fix --only variables" in problem.fix


def test_the_token_of_the_team_stays_here_and_that_is_said(folder: Path) -> None:
    write(folder / ".env.example", "HF_TOKEN=\nCHAT_MODEL=\n")
    here = context(folder, HF_TOKEN=KEY, CHAT_MODEL="small")
    assert outgoing.variables(here) == ({}, {"CHAT_MODEL": "small"})
    [note] = outgoing.left_out_notes(here, outgoing.tracked_files(here))
    assert note.startswith("HF_TOKEN is not sent: it may write to your whole account.")
    assert KEY not in note
    assert not list(outgoing.left_out_notes(context(folder), ()))


def test_a_variable_that_points_to_this_machine_is_noted() -> None:
    notes = outgoing.variable_notes({"LLM_BASE_URL": "http://localhost:11434/v1", "X": "1"})
    assert list(notes) == ["LLM_BASE_URL points to this machine, which the platform cannot reach"]


def problems(folder: Path, **env: str) -> list[str]:
    here = context(folder, **env)
    return [each.problem for each in outgoing.problems(outgoing.tracked_files(here), here, 1)]


def test_every_kind_of_planted_secret_stops_a_deployment(folder: Path) -> None:
    plants = {each.path: each for each in planted()}
    for each in plants.values():
        each.write(folder)
    commit(folder)
    found = problems(folder)
    assert len(plants) > 75
    assert [path for path in plants if not any(each.startswith(path) for each in found)] == []


def test_a_clean_project_has_no_problem(folder: Path) -> None:
    assert problems(folder) == []


def test_a_secret_stops_it_by_file_and_line_and_is_not_shown(folder: Path) -> None:
    write(folder / "app.py", f"import os\n\nMISTRAL_KEY = '{KEY}'\n")
    [problem] = problems(folder)
    assert problem.startswith("app.py:3 contains a Mistral API key")
    assert KEY not in problem


def test_a_key_of_this_machine_is_found_in_any_file(folder: Path) -> None:
    write(folder / "notes.bin", "\0binary\n" + KEY)
    commit(folder)
    [problem] = problems(folder, LLM_API_KEY=KEY)
    assert problem.startswith("notes.bin:2 contains a secret of this machine")


def test_a_key_of_this_machine_is_found_inside_a_document(folder: Path) -> None:
    with zipfile.ZipFile(folder / "notes.docx", "w", zipfile.ZIP_DEFLATED) as document:
        document.writestr("word/document.xml", f"<?xml version='1.0'?><w:t>{KEY}</w:t>")
    commit(folder)
    [problem] = problems(folder, LLM_API_KEY=KEY)
    place = "notes.docx (in word/document.xml)"
    assert problem == f"{place} contains a secret of this machine. Nothing was sent."


def test_a_file_over_the_limit_stops_it(folder: Path) -> None:
    (folder / "film.mp4").write_bytes(b"\0" * 1_500_000)
    commit(folder)
    [problem] = problems(folder)
    assert problem == "film.mp4 is 1.5 MB (limit 1 MB)."


def test_the_copied_folder_has_the_files_and_nothing_else_and_is_removed() -> None:
    two = (outgoing.generated("a/b.txt", "text"), OutgoingFile("c.py", b"x", 1))
    with outgoing.copied(two) as folder:
        found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
        assert found == ["a/b.txt", "c.py"]
        assert (folder / "a" / "b.txt").read_text("utf-8") == "text"
    assert not folder.exists()


def test_a_generated_file_replaces_the_one_of_the_project() -> None:
    both = outgoing.merged([outgoing.generated("x", "old")], [outgoing.generated("x", "new")])
    assert [each.read() for each in both] == [b"new"]
