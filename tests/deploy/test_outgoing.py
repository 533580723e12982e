"""What a deployment sends: tracked files, none of them secret, generated or too large."""

import os
import zipfile
from pathlib import Path

import pytest
from conftest import clean_environment, git, write
from fake_platform import project, requested
from made_up_keys import made_up
from planted import planted

from hackkit.deploy import outgoing
from hackkit.deploy.manifest import OutgoingFile
from hackkit.deploy.targets import Target, all_targets
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.screens.deploy import show_outcome
from hackkit.system.processes import runner

# Made up, and put together here so that no scan of this repository finds it.
KEY = "aB3dE6gH" * 4
PASSWORD = made_up("database", 16)
# Secret by the value, or by a name without "key" or "token"; each with what nothing may show.
SECRET = {
    "DATABASE_URL": ("postgresql" + f"://ada:{PASSWORD}@db.example.net/app", PASSWORD),
    "LOCAL_URL": ("redis" + f"://:{PASSWORD}@localhost:6379", PASSWORD),
    "MY_VALUE": (value := "gh" + "p_" + made_up("variable", 36), value),
    "ALERTS": (value := "s" + "k-" + made_up("alerts", 40), value),
    "GREETING": (value := f"hello, api key {KEY}", KEY),
    **{
        name: (value := made_up(name, 14), value)
        for name in ("DB_PWD", "DB_PASS", "AZURE_PAT", "SITE_COOKIE", "BASIC_AUTH")
    },
    "KEYRING_PASSPHRASE": (value := "horse-battery-9", value),
    "SENTRY_DSN": (value := f"https://{made_up('sentry', 20)}@o1.example.net/4", value),
    "ALERT_WEBHOOK_URL": (value := f"https://example.net/h/{made_up('hook', 20)}", value),
}
VALUES = {name: value for name, (value, _) in SECRET.items()}


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


def test_a_variable_is_secret_by_its_name_or_its_value(folder: Path) -> None:
    harmless = {"CHAT_MODEL": "mistral-small-latest", "LLM_BASE_URL": "https://api.example.net/v1"}
    harmless |= {
        "COMPASS": "north",
        "PATTERN": "a|b",
        "AUTHOR": "Ada Lovelace",
        "BY_PASSENGER": "1",
    }
    write(folder / ".env.example", "".join(f"{name}=\n" for name in (*VALUES, *harmless)))
    assert outgoing.variables(context(folder, **VALUES, **harmless)) == (VALUES, harmless)


@pytest.mark.parametrize("target", all_targets(), ids=lambda target: target.name)
def test_no_target_shows_or_writes_a_secret_variable(
    target: Target, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path / "app")
    write(folder / ".env.example", "".join(f"{name}=\n" for name in (*VALUES, "CHAT_MODEL")))
    made = target.plan(requested(folder, env=VALUES))
    for as_json in (True, False):
        show_outcome(made, as_json=as_json)
    shown = capsys.readouterr().out + "".join(each.read().decode() for each in made.files)
    assert "mistral-small-latest" in shown
    assert [name for name, (_, hidden) in SECRET.items() if hidden in shown] == []


@pytest.mark.parametrize("name", sorted(SECRET.keys() - {"LOCAL_URL"}))
def test_a_value_of_a_secret_variable_is_found_in_any_file(folder: Path, name: str) -> None:
    write(folder / "notes.bin", f"\0binary\n<{VALUES[name]}>")
    commit(folder)
    known = "notes.bin:2 contains a secret of this machine. Nothing was sent."
    assert known in problems(folder, **{name: VALUES[name]})


def test_the_password_of_an_address_is_found_without_the_address(folder: Path) -> None:
    write(folder / "notes.txt", f"the database: {PASSWORD}\n")
    commit(folder)
    [problem] = problems(folder, DATABASE_URL=VALUES["DATABASE_URL"])
    assert problem.startswith("notes.txt:1 contains a secret of this machine")


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
