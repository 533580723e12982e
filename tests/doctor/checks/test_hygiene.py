"""The project's hygiene: where it came from, its variables, its `.env`, its work, its README."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from facts import HANGS, commands
from projects import MISTRAL_KEY, commit, context, git, new_project, write

from hackkit.doctor.checks import (
    env_file,
    git_work,
    hackkit_project,
    large_files,
    readme,
    variables,
)
from hackkit.doctor.diagnose import diagnose
from hackkit.doctor.findings import Category, Finding, Status
from hackkit.errors import HackkitError
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.command_line import Start
from hackkit.system.processes import Ran
from hackkit.version import VERSION

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
CHECKS = [env_file, git_work, hackkit_project, large_files, readme, variables]
SETTINGS = '''
"""Settings."""
from pydantic import Field
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    model_config = {}
    mistral_api_key: str = ""
    max_tokens: int = Field(default=900, ge=1)
    port: int = Field(0, ge=0)
'''
README = """# Tutor

An app that asks you questions about what you have read, until you know it.

```
uv sync
uv run app.py
uv run pytest
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_project(tmp_path / "app")


def lines(finding: Finding) -> str:
    """Return all that a finding says."""
    return "\n".join([finding.message, *finding.details])


@pytest.mark.parametrize("module", CHECKS)
def test_each_is_about_the_project(module: object) -> None:
    assert module.CATEGORY is Category.PROJECT  # type: ignore[attr-defined]
    assert len(module.TITLE) <= 18  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", [env_file, hackkit_project, readme, variables])
def test_outside_a_project_nothing_is_looked_at(module: object, tmp_path: Path) -> None:
    finding = module.check(Context(folder=tmp_path))  # type: ignore[attr-defined]
    assert finding.status is Status.SKIP


def test_what_may_not_be_looked_at_breaks_no_check(folder: Path) -> None:
    """Another user made the environment, or closed a file."""
    closed = [folder / name for name in (".venv", "README.md", "pyproject.toml", ".env.example")]
    closed[0].mkdir()
    write(folder, {"README.md": README, "pyproject.toml": "", ".env.example": ""})
    for path in closed:
        path.chmod(0)
    if os.access(closed[0], os.R_OK):
        pytest.skip("every file is open here, to an administrator or on Windows")
    report = diagnose(context(folder))
    assert [each.id for each in report.results if each.broken] == []
    said = {each.id: each.finding.fix for each in report.results}
    assert said["readme"] == "chmod u+rw README.md"
    closed[0].chmod(0o700)


# Where it came from


def made_by(folder: Path, answers: str) -> Finding:
    """Look at a project with these answers."""
    write(folder, {".hackkit.yml": answers})
    return hackkit_project.check(context(folder))


def test_a_project_of_this_version_is_well(folder: Path) -> None:
    finding = made_by(folder, f"_commit: v{VERSION}\ntemplate: rag-app\n")
    assert (finding.status, finding.message) == (Status.OK, f"rag-app of version {VERSION}")


def test_a_project_of_a_newer_hackkit_asks_for_an_upgrade(folder: Path) -> None:
    finding = made_by(folder, "_commit: v99.1.0\ntemplate: future-app\n")
    assert (finding.status, finding.message) == (
        Status.WARN,
        f"made by the newer hackkit 99.1.0, this is {VERSION}",
    )
    assert finding.fix == "python3 -m pip install --upgrade hackkit-starter"


_UVX = Path("/cache/uv/archive-v0/x")
_PIPX_RUN = Path("/home/me/.cache/pipx/x")
_SOURCE = "git+https://example.org/hackkit"


@pytest.mark.parametrize(
    ("start", "fix"),
    [
        (Start(prefix=_UVX), "uvx hackkit-starter@latest doctor"),
        (
            Start(prefix=_UVX, source=_SOURCE),
            f"uvx --refresh --from {_SOURCE} hackkit-starter doctor",
        ),
        (Start(prefix=_PIPX_RUN), "pipx run --no-cache hackkit-starter doctor"),
        (
            Start(prefix=_PIPX_RUN, source=_SOURCE),
            f"pipx run --no-cache --spec {_SOURCE} hackkit-starter doctor",
        ),
        (Start(by_uv_run=True, checkout=Path("hack kit")), "git -C 'hack kit' pull"),
        (Start(prefix=Path("venv")), "python3 -m pip install --upgrade hackkit-starter"),
    ],
    ids=["uvx", "uvx from a source", "pipx run", "pipx run from a source", "a checkout", "pip"],
)
def test_an_upgrade_is_typed_the_way_hackkit_was_started(
    folder: Path, start: Start, fix: str
) -> None:
    write(folder, {".hackkit.yml": "_commit: v99.1.0\ntemplate: rag-app\n"})
    facts = Context(folder=folder, project=ProjectFiles(folder), start=start)
    assert hackkit_project.check(facts).fix == fix


def test_a_uv_tool_is_upgraded_by_uv(folder: Path, tmp_path: Path) -> None:
    write(folder, {".hackkit.yml": "_commit: v99.1.0\ntemplate: rag-app\n"})
    write(tmp_path / "tools", {"uv-receipt.toml": ""})
    start = Start(prefix=tmp_path / "tools")
    facts = Context(folder=folder, project=ProjectFiles(folder), start=start)
    assert hackkit_project.check(facts).fix.endswith("tool upgrade hackkit-starter")


def test_a_project_of_an_older_hackkit_names_the_one_that_fits(folder: Path) -> None:
    finding = made_by(folder, "_commit: v0.0.3\ntemplate: rag-app\n")
    assert finding.status is Status.WARN
    assert "hackkit-starter==0.0.3" in finding.fix


def test_an_unknown_template_is_answered_with_the_known_ones(folder: Path) -> None:
    finding = made_by(folder, f"_commit: v{VERSION}\ntemplate: rag-ap\n")
    assert (finding.status, finding.message) == (
        Status.WARN,
        'this hackkit has no template "rag-ap"',
    )
    assert "rag-app" in finding.fix


def test_a_third_partys_template_is_well(folder: Path) -> None:
    finding = made_by(folder, "_commit: v7.0\n_src_path: gh:team/template\n")
    assert (finding.status, finding.message) == (
        Status.OK,
        "made from gh:team/template of version 7.0",
    )


@pytest.mark.parametrize("answers", ["", "[", "just words", "template: rag-app\n", "_commit: v1\n"])
def test_answers_that_say_nothing_are_brought_back(folder: Path, answers: str) -> None:
    finding = made_by(folder, answers)
    assert finding.status is Status.WARN
    git(folder, *finding.fix.split()[1:])
    assert hackkit_project.check(context(folder)).status is Status.OK


# Variables


def test_variables_are_counted(folder: Path) -> None:
    write(folder, {".env": f"MISTRAL_API_KEY={MISTRAL_KEY}\nPORT=\n"})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message) == (Status.OK, "3 variables, 1 set")


def test_a_variable_of_the_environment_counts_as_set(folder: Path) -> None:
    finding = variables.check(context(folder, {"PORT": "8000"}))
    assert finding.message == "3 variables, 1 set"


def test_without_a_list_of_variables_there_is_nothing_to_look_at(folder: Path) -> None:
    (folder / ".env.example").unlink()
    assert variables.check(context(folder)).status is Status.SKIP


@pytest.mark.parametrize("name", ["MISTRAL_KEY", "MISTRAL_APIKEY", "MISTRAL_API_KEYS"])
def test_a_typo_is_answered_with_the_right_name(folder: Path, name: str) -> None:
    write(folder, {".env": f"{name}={MISTRAL_KEY}\n"})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message) == (
        Status.WARN,
        f".env sets {name}, which nothing reads",
    )
    assert finding.fix == "edit .env: rename it to MISTRAL_API_KEY"
    assert MISTRAL_KEY not in repr(finding)


@pytest.mark.parametrize("name", ["MAX_TOKENS", "max_tokens", "OPENAI_API_KEY", "MY_OWN", "port"])
def test_other_names_are_allowed(folder: Path, name: str) -> None:
    write(folder, {".env": f"{name}=1\n", "rag/settings.py": SETTINGS})
    assert variables.check(context(folder)).status is Status.OK


def test_a_second_spelling_of_a_name_that_is_set_is_allowed(folder: Path) -> None:
    write(folder, {".env": "MISTRAL_API_KEY=aaaaaaaa\nMISTRAL_KEY=bbbbbbbb\n"})
    assert variables.check(context(folder)).status is Status.OK


@pytest.mark.parametrize("default", ["", " = Field(ge=1)", " = Field(..., ge=1)"])
def test_a_variable_without_a_default_must_be_set(folder: Path, default: str) -> None:
    write(folder, {"rag/settings.py": f"{SETTINGS}    team: str{default}\n"})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message, finding.fix) == (
        Status.FAIL,
        "TEAM is not set and has no default",
        "edit .env: set TEAM",
    )
    assert variables.check(context(folder, {"TEAM": "us"})).status is Status.OK


def test_settings_that_are_no_python_are_left_to_another_check(folder: Path) -> None:
    write(folder, {"rag/settings.py": "class Settings(\n"})
    assert variables.check(context(folder)).status is Status.OK


def test_a_value_that_the_app_cannot_use_fails(folder: Path) -> None:
    write(folder, {".env": "PORT=many\n"})
    said = "PORT: Input should be a valid integer. Fix: correct it in .env (.env.example shows how)"
    finding = variables.check(context(folder, app=AppStatus(problem=said)))
    assert (finding.status, finding.message, finding.fix) == (
        Status.FAIL,
        "PORT: Input should be a valid integer",
        "edit .env: give PORT another value",
    )


def test_a_list_that_is_no_list_is_named(folder: Path) -> None:
    said = 'error parsing value for field "examples" from source "X". Fix: correct it in .env'
    finding = variables.check(context(folder, app=AppStatus(problem=said)))
    assert (finding.status, finding.fix) == (
        Status.FAIL,
        "edit .env: give EXAMPLES another value",
    )


@pytest.mark.parametrize("said", ["SSL: no certificate", "NameError: name 'x' is not defined"])
def test_another_problem_of_the_app_is_left_to_another_check(folder: Path, said: str) -> None:
    finding = variables.check(context(folder, app=AppStatus(problem=said)))
    assert finding.status is Status.OK


def test_such_a_value_of_the_environment_is_unset(folder: Path) -> None:
    said = "PORT: Input should be a valid integer. Fix: correct it in .env"
    facts = context(folder, {"PORT": "many"}, AppStatus(problem=said))
    assert variables.check(facts).fix == "unset PORT"


def test_an_app_that_is_not_installed_is_left_to_another_check(folder: Path) -> None:
    status = AppStatus(problem="the project's environment is not installed")
    assert variables.check(context(folder, app=status)).status is Status.OK


def test_a_line_that_is_no_variable_is_named(folder: Path) -> None:
    write(folder, {".env": "# mine\n\nMISTRAL_API_KEY abc\nPORT=1\n=2\n"})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message) == (Status.WARN, ".env: lines 3, 5 cannot be read")


def test_a_file_that_is_not_utf8_fails_with_its_line(folder: Path) -> None:
    write(folder, {".env": b"PORT=1\n# caf\xe9\n"})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message) == (Status.FAIL, ".env is not UTF-8 (line 2)")


@pytest.mark.parametrize(
    "data",
    [
        "PORT=1\r\n# é\r\n".encode("utf-16"),
        b"PORT=1\r\n" + "# é\r\n".encode("utf-16-le"),
        "PORT=1\r\n".encode("utf-16") + b"# \xc3\xa9\r\n",
        b"PORT=1\r\n# \xe9\r\n",
    ],
    ids=["UTF-16", "UTF-8 then UTF-16", "UTF-16 then UTF-8", "Latin-1"],
)
def test_a_file_as_windows_writes_it_is_read_and_repaired(folder: Path, data: bytes) -> None:
    write(folder, {".env": data})
    assert context(folder).value("PORT") == "1"
    finding = variables.check(context(folder))
    assert finding.status is Status.FAIL
    assert finding.fix.endswith("doctor --fix --only variables")
    assert finding.repair
    finding.repair.run()
    assert (folder / ".env").read_text("utf-8") == "PORT=1\n# é\n"
    assert variables.check(context(folder)).status is Status.OK


def test_a_file_in_utf_16_keeps_its_chinese_values(folder: Path) -> None:
    write(folder, {".env": "TITLE=你好 🎉\r\nPORT=1\r\n".encode("utf-16")})
    assert context(folder).value("TITLE") == "你好 🎉"
    finding = variables.check(context(folder))
    assert finding.repair
    finding.repair.run()
    assert (folder / ".env").read_text("utf-8") == "TITLE=你好 🎉\nPORT=1\n"


def test_a_variable_that_overrides_another_value_is_named_without_both(folder: Path) -> None:
    write(folder, {".env": f"MISTRAL_API_KEY={MISTRAL_KEY}\nPORT=1\n"})
    finding = variables.check(context(folder, {"MISTRAL_API_KEY": "another-one", "PORT": "1"}))
    assert (finding.status, finding.message, finding.fix) == (
        Status.WARN,
        "the environment overrides the value of MISTRAL_API_KEY in .env",
        "unset MISTRAL_API_KEY",
    )
    assert MISTRAL_KEY not in repr(finding)
    assert "another-one" not in repr(finding)


def test_windows_unsets_a_variable_with_its_own_command(folder: Path) -> None:
    write(folder, {".env": "PORT=1\n"})
    facts = context(folder, {"PORT": "2"}, system="windows")
    assert variables.check(facts).fix == "Remove-Item Env:PORT -ErrorAction Ignore"


def test_the_worst_of_several_is_the_message(folder: Path) -> None:
    write(
        folder, {".env": "MISTRAL_KEY=abcdefgh\n", "rag/settings.py": f"{SETTINGS}    team: str\n"}
    )
    finding = variables.check(context(folder))
    assert finding.status is Status.FAIL
    assert finding.message.startswith("TEAM ")
    assert "MISTRAL_KEY" in finding.details[0]


# The file .env


def test_an_env_file_of_ones_own_is_well(folder: Path) -> None:
    write(folder, {".env": f"MISTRAL_API_KEY={MISTRAL_KEY}\n"})
    (folder / ".env").chmod(0o600)
    finding = env_file.check(context(folder))
    assert (finding.status, finding.message) == (Status.OK, "exists, and git ignores it")


def test_a_missing_env_file_is_created(folder: Path) -> None:
    finding = env_file.check(context(folder))
    assert (finding.status, finding.message) == (Status.WARN, "there is no .env")
    assert finding.repair
    assert finding.repair.action == "create .env from .env.example, readable only by its owner"
    finding.repair.run()
    assert (folder / ".env").read_bytes() == (folder / ".env.example").read_bytes()
    assert os.name == "nt" or stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600
    assert env_file.check(context(folder)).status is Status.OK


def test_a_project_without_variables_needs_no_env_file(folder: Path) -> None:
    (folder / ".env.example").unlink()
    assert env_file.check(context(folder)).status is Status.SKIP


@posix_only
def test_a_secret_that_others_can_read_is_made_private(folder: Path) -> None:
    write(folder, {".env": f"MISTRAL_API_KEY={MISTRAL_KEY}\n"})
    (folder / ".env").chmod(0o644)
    finding = env_file.check(context(folder))
    assert (finding.status, finding.fix) == (Status.WARN, "chmod 600 .env")
    assert finding.message == "other users of this machine can read the secrets in .env (mode 644)"
    assert finding.repair
    finding.repair.run()
    assert env_file.check(context(folder)).status is Status.OK


@posix_only
def test_without_a_secret_others_may_read_it(folder: Path) -> None:
    write(folder, {".env": "PORT=8000\n"})
    (folder / ".env").chmod(0o644)
    assert env_file.check(context(folder)).status is Status.OK


@posix_only
def test_modes_are_not_looked_at_on_windows(folder: Path) -> None:
    write(folder, {".env": f"MISTRAL_API_KEY={MISTRAL_KEY}\n"})
    (folder / ".env").chmod(0o644)
    assert env_file.check(context(folder, system="windows")).status is Status.OK


@pytest.mark.parametrize("rules", ["", ".venv/", ".env\n!.env\n"], ids=["none", "other", "negated"])
def test_an_env_file_that_git_would_take_in_fails(folder: Path, rules: str) -> None:
    write(folder, {".gitignore": rules, ".env": ""})
    finding = env_file.check(context(folder))
    assert finding.status is Status.FAIL
    assert finding.message == "git does not ignore .env: a commit could contain the keys"
    assert finding.repair
    assert finding.repair.action == "add .env to .gitignore"
    finding.repair.run()
    assert env_file.check(context(folder)).status is Status.OK
    assert (folder / ".gitignore").read_text("utf-8").startswith(rules)


@posix_only
def test_the_command_that_ignores_it_works(folder: Path) -> None:
    write(folder, {".gitignore": "no line end", ".env": ""})
    os.system(f"cd '{folder}' && {env_file.check(context(folder)).fix}")  # noqa: S605 - a test's
    assert env_file.check(context(folder)).status is Status.OK


def test_one_repair_fixes_all_that_is_wrong(folder: Path) -> None:
    (folder / ".gitignore").unlink()
    finding = env_file.check(context(folder))
    assert finding.status is Status.FAIL
    assert "there is no .env" in finding.details[0]
    assert finding.repair
    assert finding.repair.action == (
        "add .env to .gitignore and create .env from .env.example, readable only by its owner"
    )
    finding.repair.run()
    assert env_file.check(context(folder)).status is Status.OK


def test_a_rule_of_this_machine_alone_does_not_protect_other_clones(folder: Path) -> None:
    write(folder, {".gitignore": "", ".env": "", ".git/info/exclude": ".env\n"})
    finding = env_file.check(context(folder))
    assert finding.status is Status.WARN
    assert "on this machine only" in finding.message
    assert finding.repair
    finding.repair.run()
    assert env_file.check(context(folder)).status is Status.OK


def test_a_tracked_env_file_is_left_to_another_check(folder: Path) -> None:
    commit(folder, {".env": ""})
    assert env_file.check(context(folder)).status is Status.OK


def test_without_a_repository_the_rules_count(tmp_path: Path) -> None:
    write(tmp_path, {".hackkit.yml": "", ".env": "", ".gitignore": "/.env\n"})
    assert env_file.check(context(tmp_path)).status is Status.OK
    write(tmp_path, {".gitignore": ""})
    finding = env_file.check(context(tmp_path))
    assert (finding.status, finding.message) == (Status.WARN, ".gitignore does not list .env")


def test_a_file_that_cannot_be_created_is_an_error(folder: Path) -> None:
    finding = env_file.check(context(folder))
    (folder / ".gitignore").unlink()
    assert finding.repair
    with pytest.raises(HackkitError, match=r"does not list it"):
        finding.repair.run()


# Work in git


def push(folder: Path) -> Path:
    """Give the project a remote of its own, and push to it."""
    remote = folder.with_name("remote.git")
    git(folder, "init", "--quiet", "--bare", str(remote))
    git(folder, "remote", "add", "origin", str(remote))
    git(folder, "push", "--quiet", "--set-upstream", "origin", "main")
    return remote


def test_work_that_is_pushed_is_well(folder: Path) -> None:
    push(folder)
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message) == (Status.OK, "everything is committed and pushed")


def test_a_few_changed_files_are_well(folder: Path) -> None:
    push(folder)
    write(folder, {"app.py": "", "new.py": ""})
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message) == (
        Status.OK,
        "2 files not committed, the rest is pushed",
    )


def test_many_changed_files_are_warned_about(folder: Path) -> None:
    push(folder)
    write(folder, {f"{number}.py": "" for number in range(21)})
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message) == (Status.WARN, "21 files are not committed")


def test_work_that_is_only_here_is_warned_about(folder: Path) -> None:
    finding = git_work.check(context(folder))
    assert finding.status is Status.WARN
    assert finding.message == "no remote: the work is on this machine only"


def test_commits_that_are_not_pushed_are_counted(folder: Path) -> None:
    push(folder)
    commit(folder, {"a": "1"})
    commit(folder, {"a": "2"})
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message, finding.fix) == (
        Status.WARN,
        "2 commits not pushed",
        "git push",
    )


def test_a_branch_that_was_never_pushed_is_named(folder: Path) -> None:
    push(folder)
    git(folder, "switch", "--quiet", "--create", "idea")
    assert git_work.check(context(folder)).status is Status.OK
    commit(folder, {"a": "1"})
    finding = git_work.check(context(folder))
    assert finding.message == "the branch idea is not pushed (1 commit)"
    git(folder, *finding.fix.split()[1:])
    assert git_work.check(context(folder)).status is Status.OK


def test_a_head_on_no_branch_is_warned_about(folder: Path) -> None:
    push(folder)
    git(folder, "switch", "--quiet", "--detach")
    finding = git_work.check(context(folder))
    assert (finding.status, finding.fix) == (Status.WARN, "git switch -c work")


def test_no_repository_is_warned_about(tmp_path: Path) -> None:
    finding = git_work.check(context(tmp_path))
    assert (finding.status, finding.fix) == (Status.WARN, "git init")


def test_no_commit_yet_is_warned_about(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    finding = git_work.check(context(tmp_path))
    assert (finding.status, finding.message) == (Status.WARN, "nothing is committed yet")


def test_without_git_its_work_is_not_looked_at(folder: Path) -> None:
    assert git_work.check(Context(folder=folder)).status is Status.SKIP


def test_a_repository_that_git_refuses_fails(folder: Path) -> None:
    refused = Ran(128, err="fatal: detected dubious ownership\nTo add an exception, call: …")
    finding = git_work.check(Context(folder=folder, run=commands({"git": refused})))
    assert (finding.status, finding.message) == (
        Status.FAIL,
        "detected dubious ownership",
    )
    assert finding.fix == f"git config --global --add safe.directory {folder}"


def test_a_damaged_git_folder_is_renamed_not_deleted(folder: Path) -> None:
    write(folder, {".git/HEAD": "nothing of use"})
    finding = git_work.check(context(folder))
    assert finding.message.startswith(".git is damaged: not a git repository")
    subprocess.run(finding.fix, shell=True, cwd=folder, check=True)  # noqa: S602 - as it is typed
    assert (folder / "git.old" / "HEAD").is_file()
    assert git_work.check(context(folder)).status is Status.WARN


def test_a_git_that_hangs_is_not_the_works_fault(folder: Path) -> None:
    finding = git_work.check(Context(folder=folder, run=commands({"git": HANGS})))
    assert finding.status is Status.SKIP


def conflict(folder: Path, action: str) -> None:
    """Let a merge or a rebase stop at a conflict."""
    push(folder)
    git(folder, "switch", "--quiet", "--create", "idea")
    commit(folder, {"app.py": "theirs\n"})
    git(folder, "switch", "--quiet", "main")
    commit(folder, {"app.py": "ours\n"})
    with pytest.raises(Exception, match="git"):
        git(folder, action, "idea")


@pytest.mark.parametrize("action", ["merge", "rebase"])
def test_conflicts_fail(folder: Path, action: str) -> None:
    conflict(folder, action)
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message) == (Status.FAIL, "conflict markers in app.py")
    assert finding.fix == (
        f"edit app.py: keep one of the two versions, then run git {action} --continue"
    )


def test_a_merge_that_is_not_finished_is_warned_about(folder: Path) -> None:
    conflict(folder, "merge")
    write(folder, {"app.py": "both\n"})
    git(folder, "add", "app.py")
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message, finding.fix) == (
        Status.WARN,
        "a merge is not finished",
        "git merge --continue",
    )


def test_committed_conflict_markers_fail(folder: Path) -> None:
    commit(folder, {"app.py": "<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n"})
    finding = git_work.check(context(folder))
    assert (finding.status, finding.message) == (Status.FAIL, "conflict markers in app.py")


def test_an_underlined_heading_is_no_conflict(folder: Path) -> None:
    push(folder)
    commit(folder, {"a.rst": "Heading\n=======\n"})
    git(folder, "push", "--quiet")
    assert git_work.check(context(folder)).status is Status.OK


def test_a_worktree_has_its_own_merge(folder: Path, tmp_path: Path) -> None:
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    conflict(folder, "merge")
    assert "merge" not in git_work.check(context(tmp_path / "tree")).fix


def test_a_renamed_file_with_spaces_counts_once(folder: Path) -> None:
    push(folder)
    git(folder, "mv", "app.py", "my app é.py")
    assert git_work.check(context(folder)).message.startswith("1 file not committed")


# Large files


def grow(path: Path, size: int) -> None:
    """Make a file that is so large without filling the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


def test_small_files_are_well(folder: Path) -> None:
    finding = large_files.check(context(folder))
    assert (finding.status, finding.message) == (Status.OK, "none over 10 MB in 4 files")


def test_a_large_file_is_named_with_its_size(folder: Path) -> None:
    grow(folder / "data" / "my film.mp4", 12_000_000)
    finding = large_files.check(context(folder))
    assert (finding.status, finding.message) == (Status.WARN, "data/my film.mp4 (12 MB)")
    assert finding.fix.startswith(("git lfs track ", "open https://git-lfs.com"))
    assert "my film.mp4" in finding.details[0]


def test_a_file_that_hosts_refuse_fails_and_comes_first(folder: Path) -> None:
    grow(folder / "a.bin", 12_000_000)
    grow(folder / "b.bin", 101_000_000)
    finding = large_files.check(context(folder))
    assert (finding.status, finding.message) == (Status.FAIL, "b.bin (101 MB), a.bin (12 MB)")


def test_a_large_file_that_git_leaves_out_is_well(folder: Path) -> None:
    grow(folder / ".venv" / "lib.so", 200_000_000)
    assert large_files.check(context(folder)).status is Status.OK


def test_a_large_file_in_lfs_is_well(folder: Path) -> None:
    write(folder, {".gitattributes": "*.mp4 filter=lfs diff=lfs merge=lfs -text\n"})
    grow(folder / "film.mp4", 200_000_000)
    assert large_files.check(context(folder)).status is Status.OK


def test_without_a_repository_sizes_are_not_looked_at(tmp_path: Path) -> None:
    assert large_files.check(context(tmp_path)).status is Status.SKIP


# README


def test_a_readme_with_all_its_parts_is_well(folder: Path) -> None:
    commit(folder, {"README.md": README})
    assert readme.check(context(folder)).status is Status.OK


def test_a_readme_in_another_language_is_well(folder: Path) -> None:
    french = README.replace("An app that asks you questions", "Une appli qui pose des questions")
    write(folder, {"README.md": f"---\ntitle: x\n---\n{french}"})
    assert readme.check(context(folder)).status is Status.OK


@pytest.mark.parametrize(
    ("part", "lacks"),
    [
        ("# Tutor", "a title"),
        ("An app that asks you questions about what you have read, until you know it.", "what it"),
        ("uv sync", "how to install it"),
        ("uv run pytest", "how to test it"),
        ("uv run app.py", "how to start it"),
    ],
)
def test_a_part_that_is_missing_is_named(folder: Path, part: str, lacks: str) -> None:
    write(folder, {"README.md": README.replace(part, "")})
    finding = readme.check(context(folder))
    assert finding.status is Status.WARN
    assert finding.message.startswith(f"README.md lacks {lacks}")
    assert finding.fix.startswith("edit README.md: add ")


def test_a_comment_in_a_block_is_no_title(folder: Path) -> None:
    text = README.replace("# Tutor", "").replace("uv sync", "# first\nuv sync")
    write(folder, {"README.md": text})
    assert "a title" in readme.check(context(folder)).message


def test_a_deleted_readme_is_brought_back_by_a_command(folder: Path) -> None:
    commit(folder, {"README.md": README})
    (folder / "README.md").unlink()
    finding = readme.check(context(folder))
    assert (finding.status, finding.message) == (Status.WARN, "there is no README.md")
    git(folder, *finding.fix.split()[1:])
    assert readme.check(context(folder)).status is Status.OK


def test_a_readme_that_is_not_text_is_warned_about(folder: Path) -> None:
    write(folder, {"README.md": b"\xff\xff"})
    assert readme.check(context(folder)).status is Status.WARN


def test_a_readme_that_never_changed_is_warned_about_in_time(folder: Path) -> None:
    commit(folder, {"README.md": README})
    for number in range(8):
        commit(folder, {"a": f"{number}"})
    finding = readme.check(context(folder))
    assert (finding.status, finding.message) == (
        Status.WARN,
        "README.md is still the template's after 10 commits",
    )
    write(folder, {"README.md": README + "More.\n"})
    assert readme.check(context(folder)).status is Status.OK


def test_an_env_that_is_a_folder_fails(folder: Path) -> None:
    (folder / ".env").unlink(missing_ok=True)
    (folder / ".env").mkdir()
    finding = env_file.check(context(folder))
    assert (finding.status, finding.fix) == (Status.FAIL, "mv .env env.old")
    assert finding.message == ".env is a folder: the app needs a file of that name"


def test_an_env_too_large_to_be_a_list_of_variables_is_not_read(folder: Path) -> None:
    write(folder, {".env": "NAME=value\n" * 20_000})
    finding = variables.check(context(folder))
    assert (finding.status, finding.message) == (
        Status.WARN,
        ".env has 220 kB: too large to be read",
    )
    assert ProjectFiles(folder).dotenv == {}
