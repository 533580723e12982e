"""`hackkit new`: what it makes, what it refuses, what is left when something fails."""

import os
import signal
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Run, add_template, clean_environment, files, git, write

from hackkit import HackkitError, Plan, new_project
from hackkit.errors import WrongUseError
from hackkit.new.placing import place
from hackkit.project.catalog import Catalog
from hackkit.version import VERSION

# Enough of git's own settings to make a commit, and nothing of this machine's.
NO_GIT_CONFIG = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
SOME_GIT_USER = {
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "user.name",
    "GIT_CONFIG_VALUE_0": "Ada",
    "GIT_CONFIG_KEY_1": "user.email",
    "GIT_CONFIG_VALUE_1": "ada@example.org",
}


def plan(directory: Path, **changes: object) -> Plan:
    """Plan a tiny project without packages or repository, but for these changes."""
    fields = {"template": "tiny", "install": False, "git": False} | changes
    return Plan(directory, **fields)  # type: ignore[arg-type]


def new(hackkit: Run, *words: str, **options: object) -> str:
    """Run `hackkit new` without installing; it must go well. Return what it printed."""
    result = hackkit("new", *words, "--no-install", **options)
    assert result.returncode == 0, result.stderr
    return str(result.stdout)


# What it makes


def test_the_defaults_need_no_terminal_and_no_answer(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "--defaults")
    assert (tmp_path / "my-app" / "app.py").is_file()


def test_all_answers_given_need_no_terminal_either(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--set", "store=qdrant")
    assert "qdrant" in (tmp_path / "x" / "pyproject.toml").read_text("utf-8")


def test_the_chosen_slot_file_arrives_byte_for_byte(tmp_path: Path, catalog: Catalog) -> None:
    new_project(plan(tmp_path / "x", answers={"colour": "blue"}), catalog=catalog)
    slot = catalog.templates_folder / "_slots" / "colour" / "blue.py"
    assert (tmp_path / "x" / "colour.py").read_bytes() == slot.read_bytes()


@pytest.mark.parametrize(
    "name", ["x", "a" * 40, "Équipe d'Étoiles", "A & B: «100 %» #1", 'Say "hi"']
)
def test_any_reasonable_name_works(hackkit: Run, tmp_path: Path, name: str) -> None:
    new(hackkit, "rag-app", name, "--defaults")
    answers = yaml.safe_load((tmp_path / name / ".hackkit.yml").read_text("utf-8"))
    assert answers["project_name"] == name
    project = tomllib.loads((tmp_path / name / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == answers["project_slug"]


def test_a_project_is_never_named_like_one_of_its_packages(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "gradio", "--defaults")
    answers = yaml.safe_load((tmp_path / "gradio" / ".hackkit.yml").read_text("utf-8"))
    assert answers["project_slug"] == "gradio-app"


def test_a_name_may_be_given_apart_from_the_folder(tmp_path: Path, catalog: Catalog) -> None:
    new_project(plan(tmp_path / "x", answers={"project_name": "Big Idea"}), catalog=catalog)
    assert (tmp_path / "x" / "README.md").read_text("utf-8") == "# Big Idea (big-idea)\n"


def test_an_empty_folder_and_the_current_one_will_do(hackkit: Run, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    new(hackkit, "rag-app", ".", "--defaults", cwd=here)
    assert (here / "app.py").is_file()


def test_the_answers_file_says_where_the_project_came_from(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--defaults")
    answers = yaml.safe_load((tmp_path / "x" / ".hackkit.yml").read_text("utf-8"))
    assert answers == {
        "_src_path": "hackkit.bundle",
        "_commit": f"v{VERSION}",
        "template": "rag-app",
        "project_name": "x",
        "project_slug": "x",
        "store": "chroma",
        "license": "mit",
    }


def test_nothing_generated_names_the_machine(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--defaults")
    assert len(files(tmp_path / "x")) > 30
    for name in files(tmp_path / "x"):
        text = (tmp_path / "x" / name).read_bytes().decode("utf-8", "replace")
        for folder in (str(ROOT), str(tmp_path), f"{Path.home()}/"):
            assert folder not in text, name


def test_copier_alone_makes_the_same_files(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--defaults", "--no-git")
    copier = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults"]
    words = ["--data", "template=rag-app", str(ROOT / "templates"), str(tmp_path / "copied" / "x")]
    subprocess.run([*copier, *words], check=True)
    assert files(tmp_path / "x") == sorted([*files(tmp_path / "copied" / "x"), ".env"])
    differing = [
        name
        for name in files(tmp_path / "copied" / "x")
        if (tmp_path / "x" / name).read_bytes() != (tmp_path / "copied/x" / name).read_bytes()
    ]
    assert differing == [".hackkit.yml"]  # Copier alone does not know hackkit's version


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_the_env_file_is_for_its_owner_only(tmp_path: Path, catalog: Catalog) -> None:
    new_project(plan(tmp_path / "x"), catalog=catalog)
    env = tmp_path / "x" / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert env.read_bytes() == (tmp_path / "x" / ".env.example").read_bytes()


def test_no_env_file_is_made_where_git_would_take_it(tmp_path: Path, catalog: Catalog) -> None:
    write(catalog.templates_folder / "tiny" / "project" / ".gitignore", ".venv/\n")
    new_project(plan(tmp_path / "x"), catalog=catalog)
    assert not (tmp_path / "x" / ".env").exists()


@pytest.mark.skipif(os.name == "nt", reason="the steps are run by bash here")
def test_the_printed_next_steps_work_as_printed(hackkit: Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(
        source / "pyproject.toml", '[project]\nname = "x"\nversion = "0"\n[tool.uv]\npackage=false'
    )
    write(source / "app.py", "print('the app runs')")
    out = new(hackkit, str(source), "it's mine/x y", "--defaults")
    steps = [line.strip() for line in out.split("Next:")[1].splitlines() if line.startswith("  ")]
    assert [step.split()[0] for step in steps] == ["cd", "uv", "uv"]
    script = "set -e\n" + "\n".join(steps)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        check=True,
    )
    assert b"the app runs" in done.stdout


def test_a_dropped_in_template_and_slot_need_no_other_edit(hackkit: Run, checkout: Path) -> None:
    templates = checkout / "templates"
    slot = '"""A store in memory."""\n\n# requires: tomli>=2\n'
    write(templates / "_slots" / "store" / "memory.py", slot)
    write(templates / "_slots" / "size" / "small.py", '"""Small."""\n')
    add_template(templates, "dropped", slots={"size": "small"})
    env = {"PYTHONPATH": str(checkout / "src")}
    listed = hackkit("list", env=env).stdout
    assert "A template named dropped." in listed
    assert "A store in memory." in listed
    new(hackkit, "dropped", "x", "--defaults", cwd=checkout, env=env)
    assert (checkout / "x" / "size.py").is_file()
    new(hackkit, "rag-app", "y", "--set", "store=memory", cwd=checkout, env=env)
    texts = [path.read_text("utf-8") for path in (checkout / "y" / "rag").glob("*.py")]
    assert slot in texts
    assert "tomli>=2" in (checkout / "y" / "pyproject.toml").read_text("utf-8")


def test_a_slot_that_hangs_on_another_is_no_answer_without_it(
    tmp_path: Path, catalog: Catalog
) -> None:
    templates = catalog.templates_folder
    write(templates / "_slots" / "store" / "chroma.py", '"""Keeps vectors."""\n')
    write(templates / "_slots" / "knowledge" / "yes.py", '"""Searches documents."""\n')
    project = add_template(templates, "asking", slots={"knowledge": "yes"})
    (project / "knowledge.py.jinja").unlink()  # nothing to take in where the answer is no
    with (project.parent / "about.toml").open("a") as about:
        about.write('\nwithout = "no"\n[slots.store]\ndefault = "chroma"\n')
    for knowledge, store in {"yes": "chroma", "no": None}.items():
        asking = plan(tmp_path / knowledge, template="asking", answers={"knowledge": knowledge})
        new_project(asking, catalog=catalog)
        answers = yaml.safe_load((tmp_path / knowledge / ".hackkit.yml").read_text("utf-8"))
        assert (answers["knowledge"], answers.get("store")) == (knowledge, store)


CLOUD = """
[slots.cloud]
default = "no"
without = "no"
summary = "Run it on a rented machine"
files = [
  "cloud",
  "docs/renting a GPU.md",
]
"""
CLOUD_QUESTION = """
cloud:
  type: str
  ask: false
  default: "no"
  when: "{{ template == 'tiny' }}"
  choices: ["no", "yes"]
"""


def add_cloud(catalog: Catalog) -> None:
    """Give the tiny template an option with a folder and a file, and no file in _slots."""
    template = catalog.templates_folder / "tiny"
    write(template / "about.toml", (template / "about.toml").read_text("utf-8") + CLOUD)
    write(template / "questions.yml", (template / "questions.yml").read_text() + CLOUD_QUESTION)
    for name in ("cloud/job.yaml", "docs/renting a GPU.md.jinja", "docs/cloud/index.md"):
        write(template / "project" / name, "text")


@pytest.mark.parametrize("by", ["hackkit", "copier"])
def test_an_option_brings_its_files_or_leaves_nothing_behind(
    tmp_path: Path, catalog: Catalog, by: str
) -> None:
    add_cloud(catalog)
    for cloud in ("no", "yes"):
        folder = tmp_path / cloud
        if by == "hackkit":
            new_project(plan(folder, answers={"cloud": cloud}), catalog=catalog)
        else:
            words = ("--data=template=tiny", f"--data=cloud={cloud}", catalog.templates_folder)
            copier = (sys.executable, "-m", "copier", "copy", "--quiet", "--defaults")
            subprocess.run([*copier, *words, folder], check=True)
        answers = yaml.safe_load((folder / ".hackkit.yml").read_text("utf-8"))
        assert answers["cloud"] == cloud
        brought = {"cloud/job.yaml", "docs/renting a GPU.md"} & set(files(folder))
        assert len(brought) == (2 if cloud == "yes" else 0)
        assert (folder / "docs" / "cloud" / "index.md").is_file()  # another folder of that name


# What it refuses


def test_another_template_s_slot_is_no_setting(tmp_path: Path, catalog: Catalog) -> None:
    write(catalog.templates_folder / "_slots" / "store" / "chroma.py", '"""Keeps vectors."""\n')
    with pytest.raises(WrongUseError, match='no setting "store"'):
        new_project(plan(tmp_path / "x", answers={"store": "chroma"}), catalog=catalog)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], ["No template", "rag-app", "--defaults"]),
        (["rag-app"], ["No folder", "--defaults"]),
        (["rag-app", "x"], ["store (chroma, ", "--defaults"]),
        (["no-such", "x"], ['"no-such"', "rag-app", "hackkit list"]),
        (["rag-app", "x", "--set", "store=foo"], ['"foo"', "chroma"]),
        (["rag-app", "x", "--defaults", "--set", "stroe=foo"], ['"stroe"', "license", "store"]),
        (["rag-app", "x", "--set", "store"], ["KEY=VALUE", "--help"]),
        (["rag-app", "x", "--set", "_src_path=y"], ["KEY=VALUE"]),
        (["rag-app", "x", "--defaults", "--set", "project_name=\x07"], ["printable"]),
        (["rag-app", "x", "--no-such-option"], ["--no-such-option", "hackkit new --help"]),
        (["--example", "no-such", "x"], ['"no-such"', "hackkit list"]),
        (["rag-app", "x" * 300, "--defaults"], ["1 to 100"]),
    ],
)
def test_wrong_use_says_what_is_allowed_and_touches_nothing(
    hackkit: Run, tmp_path: Path, words: list[str], named: list[str]
) -> None:
    result = hackkit("new", *words)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("Error: ")
    assert "\nFix: " in result.stderr
    assert "Traceback" not in result.stderr
    assert not [part for part in named if part not in result.stderr], result.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused_untouched(hackkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "x" / "mine.txt", "mine")
    before = (tmp_path / "x").stat().st_mtime_ns
    result = hackkit("new", "rag-app", "x", "--defaults")
    assert result.returncode == 2
    assert "hackkit new rag-app" in result.stderr
    assert files(tmp_path / "x") == ["mine.txt"]
    assert (tmp_path / "x").stat().st_mtime_ns == before


def test_a_file_in_the_way_is_refused(hackkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "x", "mine")
    result = hackkit("new", "rag-app", "x", "--defaults")
    assert result.returncode == 2
    assert (tmp_path / "x").read_text() == "mine"


def test_the_fix_for_a_taken_folder_works(hackkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "x" / "mine.txt", "mine")
    fix = hackkit("new", "rag-app", "x", "--defaults", "--no-install").stderr.split(
        "Fix: hackkit "
    )[1]
    assert hackkit(*fix.split()).returncode == 0
    assert (tmp_path / "x-2" / "app.py").is_file()


def test_a_fix_is_typed_the_way_hackkit_was_started(hackkit: Run) -> None:
    fixes = (hackkit("new", env=env).stderr for env in ({}, {"UV_RUN_RECURSION_DEPTH": "1"}))
    ours, under_uv = (fix.split("Fix: ")[1] for fix in fixes)
    assert under_uv == f"uv run {ours}"


def test_the_current_folder_with_something_in_it_is_refused(hackkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "x" / "mine.txt", "mine")
    result = hackkit("new", "rag-app", ".", "--defaults", cwd=tmp_path / "x")
    assert result.returncode == 2
    assert f"hackkit new rag-app {tmp_path / 'x-2'}" in result.stderr


def test_an_unforeseen_error_shows_its_traceback_only_on_request(
    hackkit: Run, tmp_path: Path
) -> None:
    write(tmp_path / "source" / "copier.yml", "a: [unclosed")
    for flags, shown in (((), False), (("--debug",), True)):
        result = hackkit("new", tmp_path / "source", "x", "--defaults", *flags)
        assert result.returncode == 1
        assert ("Traceback" in result.stderr) is shown


# What is left when something fails


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_a_failed_render_leaves_no_half_project(
    tmp_path: Path, catalog: Catalog, before: str
) -> None:
    existed = before == "empty"
    project = catalog.templates_folder / "tiny" / "project"
    write(project / "zz.md.jinja", '{% include "no/such/file" %}')
    target = tmp_path / "deep" / "x"
    if existed:
        target.mkdir(parents=True)
    with pytest.raises(HackkitError):
        new_project(plan(target), catalog=catalog)
    assert target.exists() is existed
    assert (tmp_path / "deep").exists() is existed
    assert not existed or not list(target.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_an_interrupted_render_leaves_no_half_project(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    source, target, started = tmp_path / "source", tmp_path / "to" / "x", tmp_path / "started"
    write(source / "copier.yml", f"_tasks: ['touch {started} && sleep 60']")
    write(source / "file.txt", "text")
    words = ["new", str(source), str(target), "--defaults", "--trust"]
    child = subprocess.Popen(
        [sys.executable, "-m", "hackkit", *words], env=clean_environment(), start_new_session=True
    )
    until(started.exists)
    os.killpg(child.pid, number)
    assert child.wait(60) == code
    assert not target.parent.exists()


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_of_two_projects_for_one_folder_the_first_is_whole_and_the_second_refused(
    tmp_path: Path, before: str
) -> None:
    first, second, target = tmp_path / "1", tmp_path / "2", tmp_path / "deep" / "x"
    for folder in (first, second):
        write(folder / ".git" / "HEAD", folder.name)
        write(folder / "app.py", folder.name)
    if before == "empty":
        target.mkdir(parents=True)
    place(first, target)
    with pytest.raises(FileExistsError):
        place(second, target)
    assert sorted(path.name for path in target.iterdir()) == [".git", "app.py"]
    assert (target / "app.py").read_text("utf-8") == "1"
    assert [path.name for path in target.parent.iterdir()] == ["x"]


def test_what_a_killed_command_left_in_a_folder_is_removed(hackkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "source" / "app.py", "")
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for process, left in ((os.getpid(), True), (ended.pid, False)):
        write(tmp_path / "x" / ".hackkit-new" / "process", str(process))
        write(tmp_path / "x" / ".hackkit-new" / "project" / "half.py", "")
        result = hackkit("new", tmp_path / "source", "x", "--defaults", "--no-git")
        assert (result.returncode == 2) is left, result.stderr
        assert (tmp_path / "x" / ".hackkit-new").exists() is left
    assert (tmp_path / "x" / "app.py").is_file()


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_two_commands_for_one_folder_at_the_same_time_make_one_project(
    tmp_path: Path, before: str
) -> None:
    source, target = tmp_path / "source", tmp_path / "x"
    for number in range(50):
        write(source / f"{number}.txt", "text")
    if before == "empty":
        target.mkdir()
    words = [sys.executable, "-m", "hackkit", "new", str(source), str(target), "--defaults"]
    both = [
        subprocess.Popen(words, env=clean_environment(), stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    said = [each.communicate(timeout=120)[1] for each in both]
    assert sorted(each.returncode for each in both) == [0, 2], said
    assert any("is not empty. Nothing was changed." in each for each in said)
    assert len(list(target.glob("*.txt"))) == 50


def test_a_failed_install_keeps_the_project_and_says_how_to_repeat(
    hackkit: Run, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    lines = ['[project]\nname = "x"\nversion = "0"', 'dependencies = ["no-such-package-at-all"]']
    write(source / "pyproject.toml", "\n".join(lines))
    env = {"UV_OFFLINE": "1", **SOME_GIT_USER}
    result = hackkit("new", source, "x y", "--defaults", "--start", env=env)
    assert result.returncode == 1
    assert "Fix: uv sync --directory 'x y'" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Next:" not in result.stdout
    assert git(tmp_path / "x y", "ls-files") == "pyproject.toml"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupted_install_keeps_the_project_and_says_how_to_go_on(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "x"
    # A build that never ends, as a slow download would not.
    backend = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(60)\n"
    system = '[build-system]\nrequires = []\nbuild-backend = "slow"\nbackend-path = ["."]\n'
    write(source / "pyproject.toml", system + '[project]\nname = "x"\nversion = "0"\n')
    write(source / "slow.py", backend)
    child = subprocess.Popen(
        [sys.executable, "-m", "hackkit", "new", str(source), str(target), "--defaults"],
        env=clean_environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until((target / "started").exists)
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert f"uv sync --directory {target}".encode() in said
    assert (target / "pyproject.toml").is_file()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_ends_the_started_app_and_exits_130(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "x"
    write(
        source / "pyproject.toml", '[project]\nname = "x"\nversion = "0"\n[tool.uv]\npackage=false'
    )
    program = (
        "import pathlib, time\n"
        "pathlib.Path('started').touch()\n"
        "try:\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path('ended').touch()\n"
    )
    write(source / "app.py", program)
    words = ["new", str(source), str(target), "--defaults", "--start", "--no-git"]
    child = subprocess.Popen(
        [sys.executable, "-m", "hackkit", *words], env=clean_environment(), start_new_session=True
    )
    until((target / "started").exists)
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(60) == 130
    assert (target / "ended").exists()


def until(condition: Callable[[], bool], looks: int = 2400) -> None:
    """Wait until a condition holds; after so many looks it never will."""
    for _ in range(looks):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("it never held")


# git


def test_the_first_commit_is_the_untouched_render(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--defaults", env=NO_GIT_CONFIG | SOME_GIT_USER)
    project = tmp_path / "x"
    assert git(project, "log", "--format=%an %s") == "Ada Start from hackkit's rag-app"
    assert git(project, "branch", "--show-current") == "main"
    assert git(project, "status", "--porcelain") == ""
    committed = git(project, "-c", "core.quotePath=off", "ls-files").splitlines()
    assert sorted([*committed, ".env"]) == files(project)


def test_git_without_a_name_still_commits_and_says_so(hackkit: Run, tmp_path: Path) -> None:
    result = hackkit("new", "rag-app", "x", "--defaults", "--no-install", env=NO_GIT_CONFIG)
    assert "git config --global user.name" in result.stderr
    assert git(tmp_path / "x", "log", "--format=%an") == "hackkit"
    local = (tmp_path / "x" / ".git" / "config").read_text("utf-8")
    assert "hackkit" not in local  # the name was lent to that one commit


def test_inside_a_repository_nothing_is_committed(hackkit: Run, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    result = hackkit("new", "rag-app", "sub/x", "--defaults", "--no-install")
    assert result.returncode == 0
    assert "inside a git repository" in result.stderr
    assert not (tmp_path / "sub" / "x" / ".git").exists()


def test_without_git_the_project_is_made_all_the_same(hackkit: Run, tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path / "nothing")}
    result = hackkit("new", "rag-app", "x", "--defaults", "--no-install", env=env)
    assert result.returncode == 0, result.stderr
    assert "git was not found" in result.stderr
    assert (tmp_path / "x" / "app.py").is_file()


def test_a_hook_or_a_signature_cannot_stop_the_first_commit(hackkit: Run, tmp_path: Path) -> None:
    hook = tmp_path / "template" / "hooks" / "pre-commit"
    write(hook, "#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    config = tmp_path / "gitconfig"
    write(config, f"[init]\ntemplateDir = {tmp_path / 'template'}\n[commit]\ngpgsign = true\n")
    new(hackkit, "rag-app", "x", "--defaults", env={"GIT_CONFIG_GLOBAL": str(config)})
    assert git(tmp_path / "x", "rev-list", "--count", "HEAD") == "1"


def test_a_git_hook_that_runs_hackkit_does_not_catch_its_commit(
    hackkit: Run, tmp_path: Path
) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "--quiet")
    new(hackkit, "rag-app", "x", "--defaults", env={"GIT_DIR": str(outer / ".git")})
    assert (tmp_path / "x" / ".git").is_dir()


def test_no_git_means_no_git(hackkit: Run, tmp_path: Path) -> None:
    new(hackkit, "rag-app", "x", "--defaults", "--no-git")
    assert not (tmp_path / "x" / ".git").exists()


def test_the_python_api_raises_what_the_command_prints(tmp_path: Path) -> None:
    write(tmp_path / "x" / "mine.txt", "mine")
    with pytest.raises(WrongUseError, match="not empty") as caught:
        new_project(plan(tmp_path / "x", template="rag-app"))
    assert "hackkit new rag-app" in caught.value.fix
