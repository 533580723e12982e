"""Deploying to Spaces: the hub's real client against a fake hub on loopback."""

import contextlib
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from conftest import Run, clean_environment, git, write
from hub import READ_TOKEN, TOKEN, Account, Failure, FakeHub, hub

from hackkit.deploy.manifest import Deployment, DeployRequest, Manifest, Options
from hackkit.deploy.targets import spaces
from hackkit.deploy.targets.spaces.upload import Polling
from hackkit.errors import HackkitError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.services.hub import Hub
from hackkit.system import uv
from hackkit.system.processes import runner

KEY = "a1B2c3D4" * 4
NAME = "ada/my-app"
QUICK = Polling(interval=0.01, grace=0.5, limit=5)
README = """---
title: My app
emoji: 📚
colorFrom: yellow
colorTo: red
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
license: mit
---

# My app
"""
PYPROJECT = """[project]
name = "my-app"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["gradio>=6.31,<7"]
"""
LOCK = """version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "gradio"
version = "6.31.0"
source = { registry = "https://packages.example/index" }

[[package]]
name = "my-app"
version = "0.1.0"
source = { virtual = "." }
dependencies = [
    { name = "gradio" },
]

[package.metadata]
requires-dist = [{ name = "gradio", specifier = ">=6.31,<7" }]
"""
FILES = {
    ".hackkit.yml": "template: rag-app\nproject_slug: my-app\nproject_name: My app\n",
    ".gitignore": ".env\nindex/\n",
    ".env.example": "MISTRAL_API_KEY=\nREQUESTS_PER_SECOND=\nPORT=\n",
    "README.md": README,
    "app.py": "print('hello')\n",
    "docs/a.md": "Some words.\n",
    "pyproject.toml": PYPROJECT,
    "uv.lock": LOCK,
}
PRIVATE = {
    ".env": f"MISTRAL_API_KEY={KEY}\nREQUESTS_PER_SECOND=1\nPORT=8000\nOTHER=not-listed\n",
    "index/store.bin": "indexed words",
    "diary.txt": "my diary",
    "feedback.jsonl": "a thumb",
}


@dataclass
class Team:
    """A team that deploys its project to a hub."""

    folder: Path
    hub: FakeHub
    env: dict[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    progress: list[str] = field(default_factory=list)

    def request(self) -> DeployRequest:
        project = ProjectFiles(self.folder)
        env = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": TOKEN} | self.env
        context = Context(
            folder=self.folder,
            project=project,
            env=env,
            run=runner(uv.outer_environment(clean_environment())),
            uv=tuple(uv.command()),
        )
        return DeployRequest(project, context, self.options)

    def plan(self) -> Manifest:
        return spaces.plan(self.request())

    def deploy(self, polling: Polling = QUICK) -> Deployment:
        request, manifest = self.request(), self.plan()
        assert manifest.problems == ()
        client = Hub(request.context, manifest.secrets)
        return spaces.deploy_to(client, request, manifest, self.progress.append, polling)

    def fails(self) -> HackkitError:
        with pytest.raises(HackkitError) as caught:
            self.deploy()
        return caught.value

    def add(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            write(self.folder / name, text)
        git(self.folder, "add", "--force", "--", *files)

    @property
    def problems(self) -> list[str]:
        return [f"{each.problem} Fix: {each.fix}" for each in self.plan().problems]


def unused_port() -> int:
    """Return a port on which no program listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """Make a project with secrets around it, and a hub."""
    folder = tmp_path / "my-app"
    for name, text in (FILES | PRIVATE).items():
        write(folder / name, text)
    git(folder, "init", "--quiet")
    git(folder, "add", "--", *FILES)
    with hub() as fake:
        yield Team(folder, fake)


# The plan


def test_the_tracked_files_and_the_requirements_are_sent_and_nothing_else(team: Team) -> None:
    planned = team.plan()
    assert [each.path for each in planned.files] == sorted([*FILES, "requirements.txt"])
    assert team.hub.received == []


def test_the_requirements_are_the_locks(team: Team) -> None:
    texts = {each.path: each.read().decode() for each in team.plan().files}
    assert texts["requirements.txt"] == "gradio==6.31.0\n"


def test_only_what_the_example_lists_is_set(team: Team) -> None:
    planned = team.plan()
    assert planned.secrets == {"MISTRAL_API_KEY": KEY}
    assert planned.variables == {"REQUESTS_PER_SECOND": "1"}


def test_untracked_files_are_not_sent_and_are_named(team: Team) -> None:
    assert any("git does not track them: diary.txt" in note for note in team.plan().notes)


def test_the_owner_is_known_only_online(team: Team) -> None:
    assert team.plan().changes == ("create or update the private Space your account/my-app",)
    team.options = Options(space="team/demo", public=True)
    assert team.plan().changes == ("create or update the public Space team/demo",)


def test_missing_header_keys_are_added_in_the_copy_that_is_sent(team: Team) -> None:
    planned = team.plan()
    page = next(each.read().decode() for each in planned.files if each.path == "README.md")
    assert 'license: mit\ntags: ["mistral", "rag-app"]\n---\n' in page
    assert (team.folder / "README.md").read_text("utf-8") == README
    assert any("added to its header: tags" in note for note in planned.notes)


def test_a_readme_without_a_header_gets_one(team: Team) -> None:
    team.add({"README.md": "# My app\n"})
    page = next(each.read().decode() for each in team.plan().files if each.path == "README.md")
    assert page.startswith('---\ntitle: "My app"\n')
    assert 'sdk_version: "6.31.0"\n' in page
    assert page.endswith("---\n\n# My app\n")
    assert team.problems == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("6.31.0", "6.30.0", "edit README.md: sdk_version must be 6.31.0 as in uv.lock"),
        ("colorFrom: yellow", "colorFrom: orange", "edit README.md: colorFrom must be one of red"),
        ("app_file: app.py", "app_file: main.py", "app_file must be a file of this folder"),
        ("sdk: gradio", "sdk: static", "edit README.md: sdk must be gradio"),
        ("title: My app", "title: [", "README.md has a header that is not YAML"),
    ],
)
def test_a_wrong_header_stops_it_and_names_the_right_value(
    team: Team, old: str, new: str, words: str
) -> None:
    team.add({"README.md": README.replace(old, new)})
    assert words in " ".join(team.problems)


def test_an_app_file_that_git_does_not_track_stops_it(team: Team) -> None:
    git(team.folder, "rm", "--quiet", "--cached", "app.py")
    assert team.problems == [
        "app.py is not tracked by git, so it is not sent. Fix: git add -- app.py"
    ]


def test_a_lock_older_than_the_project_stops_it(team: Team) -> None:
    team.add({"pyproject.toml": PYPROJECT.replace("<7", '<7", "numpy>=2')})
    assert team.problems == [
        "uv.lock is older than pyproject.toml: they differ in numpy. Fix: uv lock"
    ]


def test_no_lock_stops_it(team: Team) -> None:
    (team.folder / "uv.lock").unlink()
    assert "There is no uv.lock, which lists the versions to install. Fix: uv lock" in (
        team.problems
    )


def test_a_package_from_a_folder_of_this_machine_stops_it(team: Team) -> None:
    local = '\n[[package]]\nname = "kit"\nversion = "1"\nsource = { directory = "../kit" }\n'
    lock = LOCK.replace('{ name = "gradio" },', '{ name = "gradio" },\n    { name = "kit" },')
    lock = lock.replace("dist = [", 'dist = [{ name = "kit", directory = "../kit" }, ')
    project = PYPROJECT.replace("<7", '<7", "kit')
    team.add({"uv.lock": lock + local, "pyproject.toml": project})
    assert "is installed from a folder that only this machine has" in " ".join(team.problems)


def test_a_package_over_ssh_stops_it(team: Team) -> None:
    place = 'git = "ssh://git@code.example/team/kit"'
    private = (
        f'\n[[package]]\nname = "kit"\nversion = "1"\nsource = {{ {place[:-1]}#{"a" * 40}" }}\n'
    )
    lock = LOCK.replace('{ name = "gradio" },', '{ name = "gradio" },\n    { name = "kit" },')
    lock = lock.replace("dist = [", f'dist = [{{ name = "kit", {place} }}, ')
    project = PYPROJECT.replace("<7", '<7", "kit')
    team.add({"uv.lock": lock + private, "pyproject.toml": project})
    assert "kit is installed over SSH, with a key that only this machine has" in (
        " ".join(team.problems)
    )


def test_packages_of_the_teams_own_requirements_are_not_lost(team: Team) -> None:
    team.add({"requirements.txt": "gradio>=6\nPillow==12\n# a comment\n-r more.txt\n"})
    [problem] = team.problems
    assert "instead of your requirements.txt, which also has pillow." in problem
    assert problem.endswith("uv add pillow")
    team.add({"requirements.txt": "gradio==6.31.0\n"})
    assert team.problems == []
    assert "your requirements.txt is replaced by the versions of uv.lock" in team.plan().notes


def test_packages_that_only_uv_leaves_out_are_named(team: Team) -> None:
    override = "[tool.uv]\noverride-dependencies = [\"kubernetes ; python_version < '3'\"]\n"
    team.add({"pyproject.toml": f"{PYPROJECT}{override}"})
    assert any("exclude there (kubernetes)" in note for note in team.plan().notes)


def test_a_key_in_a_file_stops_it(team: Team) -> None:
    team.add({"app.py": f'print("{KEY}")\n'})
    assert "app.py:1 contains a secret of this machine" in " ".join(team.problems)
    assert KEY not in " ".join(team.problems)


def test_a_large_file_is_noted_and_a_huge_one_stops_it(team: Team) -> None:
    for name, size in (("docs/large.csv", 11_000_000), ("docs/huge.csv", 101_000_000)):
        with (team.folder / name).open("wb") as file:
            file.truncate(size)
    git(team.folder, "add", "docs")
    assert any("docs/large.csv (11 MB)" in note for note in team.plan().notes)
    assert team.problems == [
        "docs/huge.csv is 101.0 MB (limit 100 MB). Fix: git rm --cached -- docs/huge.csv"
    ]


def test_zero_gpu_is_offered_to_an_app_that_can_use_it(team: Team) -> None:
    assert not any("zero-a10g" in need for need in team.plan().needs)
    team.add({"gpu.py": "import spaces\n\n\n@spaces.GPU(duration=9)\ndef f() -> None: ...\n"})
    assert any("free with --hardware zero-a10g" in need for need in team.plan().needs)


def test_zero_gpu_without_a_function_for_it_stops_it(team: Team) -> None:
    team.options = Options(hardware="zero-a10g")
    assert "the app has none" in " ".join(team.problems)


@pytest.mark.parametrize("name", ["a/b/c", "my app", "-x", "a..b", "/x", "owner/"])
def test_an_invalid_name_for_a_space_stops_it(team: Team, name: str) -> None:
    team.options = Options(space=name)
    assert "is not a valid name for a Space" in " ".join(team.problems)


# The first time


def test_a_space_is_created_filled_with_one_commit_and_waited_for(team: Team) -> None:
    deployed = team.deploy()
    space = team.hub.spaces[NAME]
    assert space.private
    assert set(space.files) == {*FILES, "requirements.txt", ".gitattributes"}
    assert len(space.commits) == 2  # the hub's own, and ours
    assert deployed.address == "https://ada-my-app.hf.space"
    assert deployed.dashboard == f"{team.hub.url}/spaces/{NAME}"
    assert deployed.token == TOKEN
    seen = "\n".join(team.progress)
    assert seen.index("is building") < seen.index("is starting") < seen.index("is running")


def test_its_secrets_are_set_before_its_files_come(team: Team) -> None:
    team.deploy()
    paths = [each.path for each in team.hub.received if each.method == "POST"]
    order = [paths.index(f"/api/spaces/{NAME}/{what}") for what in ("secrets", "variables")]
    assert max(order) < paths.index(f"/api/spaces/{NAME}/commit/main")
    assert set(team.hub.spaces[NAME].secrets) == {"MISTRAL_API_KEY"}
    assert team.hub.spaces[NAME].variables == {"REQUESTS_PER_SECOND": "1"}


def test_no_key_and_no_other_file_was_ever_sent(team: Team) -> None:
    team.deploy()
    assert team.hub.saw(KEY, but="/secrets") == []
    for line in filter(None, "\n".join(PRIVATE.values()).splitlines()):
        assert team.hub.saw(line) == []
    for name in ("index/store.bin", "diary.txt", "feedback.jsonl"):
        assert team.hub.saw(name) == []


def test_the_token_is_in_no_body(team: Team) -> None:
    team.deploy()
    assert [each.path for each in team.hub.received if TOKEN.encode() in each.body] == []


def test_samples_are_of_the_manifests_files_alone(team: Team) -> None:
    team.deploy()
    asked = [json.loads(each.body) for each in team.hub.asked("POST", "/preupload/")]
    paths = {each["path"] for one in asked for each in one["files"]}
    assert paths == {each.path for each in team.plan().files}


def test_large_and_binary_files_go_to_the_large_file_storage(team: Team) -> None:
    team.hub.large = 1_000
    (team.folder / "docs" / "b.bin").write_bytes(bytes(range(256)))
    team.add({"docs/long.md": "words " * 1_000})
    git(team.folder, "add", "docs/b.bin")
    team.deploy()
    space = team.hub.spaces[NAME]
    assert {"docs/b.bin", "docs/long.md"} <= space.large
    assert space.files["docs/long.md"] == b"words " * 1_000
    assert len(space.commits) == 2


def test_a_file_that_git_tracks_and_ignores_arrives(team: Team) -> None:
    team.add({".gitignore": ".env\n*.txt\n", "docs/b.txt": "chosen"})
    team.deploy()
    assert {"docs/b.txt", "requirements.txt"} <= set(team.hub.spaces[NAME].files)


def test_a_public_space_is_created_when_asked_for(team: Team) -> None:
    team.options = Options(space="team/demo", public=True)
    deployed = team.deploy()
    assert not team.hub.spaces["team/demo"].private
    assert deployed.token == ""


def test_the_hardware_is_requested(team: Team) -> None:
    team.options = Options(hardware="cpu-upgrade")
    team.deploy()
    assert team.hub.spaces[NAME].hardware == "cpu-upgrade"


def test_no_telemetry_and_no_description_of_the_machine_is_sent(team: Team) -> None:
    team.deploy()
    assert team.hub.asked("GET", "agent") == []
    agents = {line for each in team.hub.received for line in each.headers.splitlines()}
    assert not any("torch" in line or "agent/" in line.lower() for line in agents)


# Later deployments


def test_the_second_time_nothing_changes(team: Team) -> None:
    first = team.deploy()
    before = len(team.hub.received)
    again = team.deploy()
    new = [each for each in team.hub.received[before:] if each.method != "GET"]
    assert {each.path.rpartition("/")[0].rpartition("/")[2] for each in new} <= {"api", "preupload"}
    assert again.address == first.address
    assert list(team.hub.spaces) == [NAME]
    assert len(team.hub.spaces[NAME].commits) == 2


def test_a_space_of_another_name_is_found_again(team: Team) -> None:
    team.options = Options(space="team/demo")
    team.deploy()
    team.options = Options()
    assert team.plan().changes == ("create or update the private Space team/demo",)
    team.deploy()
    assert list(team.hub.spaces) == ["team/demo"]


def test_a_space_whose_build_failed_is_found_again(team: Team) -> None:
    team.options = Options(space="team/demo")
    team.hub.script = ("BUILDING", "BUILD_ERROR")
    team.fails()
    team.options, team.hub.script = Options(), ("BUILDING", "RUNNING")
    team.deploy()
    assert list(team.hub.spaces) == ["team/demo"]


def test_a_name_that_the_hub_refused_is_not_saved(team: Team) -> None:
    team.options = Options(space="bob/demo")
    team.fails()
    team.options = Options()
    team.deploy()
    assert list(team.hub.spaces) == [NAME]


def test_a_team_mates_space_is_found_by_the_readmes_link(team: Team) -> None:
    team.hub.space("team/demo", {".hackkit.yml": b"", "app.py": b""}, private=False)
    link = "Live demo: <https://team-demo.hf.space>"
    team.add({"README.md": README.replace("# My app\n", f"# My app\n\n{link}\n")})
    assert team.deploy().address == "https://team-demo.hf.space"
    assert list(team.hub.spaces) == ["team/demo"]


def test_a_link_to_another_accounts_space_is_ignored(team: Team) -> None:
    link = "Live demo: <https://bob-demo.hf.space>"
    team.add({"README.md": README.replace("# My app\n", f"# My app\n\n{link}\n")})
    team.deploy()
    assert list(team.hub.spaces) == [NAME]


def test_changes_and_deletions_come_in_one_commit(team: Team) -> None:
    team.deploy()
    git(team.folder, "rm", "--quiet", "--force", "docs/a.md")
    team.add({"docs/b.md": "Other words.\n", "app.py": "print('again')\n"})
    team.deploy()
    assert team.hub.spaces[NAME].commits[2:] == [
        ["deletedFile docs/a.md", "file app.py", "file docs/b.md"]
    ]
    assert ".gitattributes" in team.hub.spaces[NAME].files


def test_a_changed_key_is_sent_and_an_unchanged_one_is_not(team: Team) -> None:
    team.deploy()
    team.deploy()
    assert len(team.hub.asked("POST", "/secrets")) == 1
    write(team.folder / ".env", f"MISTRAL_API_KEY={KEY[::-1]}\n")
    team.deploy()
    assert len(team.hub.asked("POST", "/secrets")) == 2


def test_the_spaces_own_settings_stay(team: Team) -> None:
    team.deploy()
    space = team.hub.spaces[NAME]
    space.private, space.hardware, space.sleep = False, "t4-small", 300
    space.variables["THEIRS"] = "stays"
    team.add({"app.py": "print('again')\n"})
    team.deploy()
    assert (space.private, space.hardware, space.sleep) == (False, "t4-small", 300)
    assert space.variables["THEIRS"] == "stays"


def test_settings_change_when_asked_for(team: Team) -> None:
    team.deploy()
    team.options = Options(public=True, hardware="t4-small")
    team.deploy()
    space = team.hub.spaces[NAME]
    assert (space.private, space.hardware) == (False, "t4-small")


@pytest.mark.parametrize("stage", ["PAUSED", "SLEEPING", "STOPPED", "RUNTIME_ERROR"])
def test_a_space_that_does_not_run_is_started_although_nothing_changed(
    team: Team, stage: str
) -> None:
    team.deploy()
    team.hub.spaces[NAME].stages = [stage]
    team.deploy()
    assert team.hub.spaces[NAME].restarts == 1


def test_a_space_with_other_content_is_not_changed(team: Team) -> None:
    team.hub.space(NAME, {"README.md": b"", "game.py": b"mine"})
    error = team.fails()
    assert "was not created by hackkit" in error.problem
    assert team.hub.spaces[NAME].files == {"README.md": b"", "game.py": b"mine"}
    assert team.hub.saw(KEY) == []


def test_another_deployment_at_the_same_time_is_not_lost(team: Team) -> None:
    team.deploy()
    team.add({"app.py": "print('again')\n"})
    team.hub.failures.append(Failure("POST", "/commit/", 412, "A commit has happened since."))
    assert "Another deployment changed ada/my-app at the same time" in team.fails().problem
    team.deploy()
    assert team.hub.spaces[NAME].files["app.py"] == b"print('again')\n"


# It does not start


def test_a_build_error_shows_the_cause_and_the_last_lines(team: Team) -> None:
    lines = [f"Collecting package {number}\n" for number in range(40)]
    error_line = "ERROR: No matching distribution found for nonsense==9\n"
    team.hub.script = ("BUILDING", "BUILD_ERROR")
    team.hub.build_log = "".join([*lines, error_line])
    error = team.fails()
    assert "could not be built. There is no nonsense==9" in error.problem
    assert "Collecting package 39" in error.problem
    assert "Collecting package 3\n" not in error.problem
    assert error.fix == "edit pyproject.toml, then: uv lock"


def test_conflicting_versions_are_reported(team: Team) -> None:
    team.hub.script = ("BUILDING", "BUILD_ERROR")
    team.hub.build_log = (
        "ERROR: Cannot install -r requirements.txt (line 3) and spaces because these package "
        "versions have conflicting dependencies.\n"
    )
    assert "These versions conflict" in team.fails().problem


def test_a_missing_module_gets_the_command_that_adds_it(team: Team) -> None:
    team.hub.script = ("BUILDING", "APP_STARTING", "RUNTIME_ERROR")
    team.hub.app_log = (
        "Traceback (most recent call last):\n"
        '  File "/home/user/app/app.py", line 1, in <module>\n    import yaml\n'
        "ModuleNotFoundError: No module named 'yaml'\n"
    )
    error = team.fails()
    assert "pyyaml (imported as yaml)" in error.problem
    assert error.fix == "uv add pyyaml"


@pytest.mark.parametrize(
    ("stage", "complaint", "words"),
    [
        ("RUNTIME_ERROR", "Memory limit exceeded (16Gi)", "ran out of memory"),
        ("RUNTIME_ERROR", "Launch timed out, space was not healthy after 30 min", "port 7860"),
        ("CONFIG_ERROR", "Missing configuration in README", "wrong header in README.md"),
        ("NO_APP_FILE", "", "has no app file"),
        ("PAUSED", "", "is paused"),
    ],
)
def test_other_failures_are_explained(team: Team, stage: str, complaint: str, words: str) -> None:
    team.hub.script, team.hub.complaint = ("BUILDING", stage), complaint
    error = team.fails()
    assert words in error.problem
    assert error.fix


def test_a_log_is_shown_without_secrets(team: Team) -> None:
    team.hub.script = ("BUILDING", "APP_STARTING", "RUNTIME_ERROR")
    team.hub.app_log = f"the key is {KEY}\nthe token is {TOKEN}\n\x1b[31mred\x1b[0m 1%\r 100%\n"
    problem = team.fails().problem
    assert KEY not in problem
    assert TOKEN not in problem
    assert "the key is [secret]" in problem
    assert problem.endswith("   100%")


def test_a_failure_is_reported_also_without_its_log(team: Team) -> None:
    team.hub.script = ("BUILDING", "BUILD_ERROR")
    team.hub.failures.append(Failure("GET", "/logs/build", 500))
    assert team.fails().problem == "ada/my-app could not be built."


def test_an_earlier_versions_error_is_ignored(team: Team) -> None:
    team.hub.script = ("BUILD_ERROR", "BUILD_ERROR", "BUILDING", "APP_STARTING", "RUNNING")
    assert team.deploy().address


def test_an_earlier_version_that_runs_is_not_taken_for_the_new_one(team: Team) -> None:
    team.hub.shows_commit = False
    team.hub.script = ("RUNNING", "RUNNING_BUILDING", "BUILD_ERROR")
    assert "could not be built" in team.fails().problem


def test_waiting_ends(team: Team) -> None:
    team.hub.script = ("BUILDING",)
    with pytest.raises(HackkitError, match="does not run after") as caught:
        team.deploy(replace(QUICK, limit=0.1))
    assert "--logs" in caught.value.fix


def test_waiting_survives_a_failed_request(team: Team) -> None:
    team.hub.failures.append(Failure("GET", "/runtime", 502))
    assert team.deploy().address


# The hub refuses


def test_without_a_token_it_names_where_to_get_one(team: Team, tmp_path: Path) -> None:
    team.env = {"HF_TOKEN": "", "HF_HOME": str(tmp_path)}
    error = team.fails()
    assert "no Hugging Face token" in error.problem
    assert "https://huggingface.co/settings/tokens" in error.fix


def test_the_token_of_hf_auth_login_is_used(team: Team, tmp_path: Path) -> None:
    write(tmp_path / "token", f"{TOKEN}\n")
    team.env = {"HF_TOKEN": "", "HF_HOME": str(tmp_path)}
    assert team.deploy().address


def test_a_wrong_token_is_reported(team: Team) -> None:
    team.env = {"HF_TOKEN": "hf_" + "Zz9" * 11}
    error = team.fails()
    assert "rejected the token in the environment" in error.problem
    assert "settings/tokens" in error.fix
    assert team.env["HF_TOKEN"] not in error.problem


def test_a_read_only_token_is_reported(team: Team) -> None:
    team.env = {"HF_TOKEN": READ_TOKEN}
    error = team.fails()
    assert f"may not write to {NAME}" in error.problem
    assert "a token with write access" in error.fix


def test_another_accounts_space_is_reported(team: Team) -> None:
    team.hub.space("bob/demo", {".hackkit.yml": b"", "app.py": b"his"}, private=False)
    team.options = Options(space="bob/demo")
    assert "may not write to bob/demo" in team.fails().problem
    assert team.hub.spaces["bob/demo"].files["app.py"] == b"his"


def test_a_name_that_is_taken_is_reported(team: Team) -> None:
    team.hub.failures.append(Failure("POST", "/repos/create", 409, "You already created this"))
    error = team.fails()
    assert f"The name {NAME} is taken" in error.problem
    assert "--space ANOTHER-NAME" in error.fix


def test_a_free_account_gets_the_free_alternatives(team: Team) -> None:
    team.hub.accounts[TOKEN] = Account(pro=False)
    error = team.fails()
    assert "only for PRO accounts and paying teams" in error.problem
    assert "deploy docker" in error.problem
    assert error.fix.endswith("hackkit deploy render")
    assert team.hub.saw(KEY) == []


def test_a_free_account_with_a_gpu_function_is_offered_zero_gpu(team: Team) -> None:
    team.hub.accounts[TOKEN] = Account(pro=False)
    team.add({"app.py": "import spaces\n\n\n@spaces.GPU\ndef f() -> None: ...\n"})
    assert team.fails().fix.endswith("--hardware zero-a10g")
    team.options = Options(hardware="zero-a10g")
    assert team.deploy().address


@pytest.mark.parametrize(
    ("status", "headers", "words", "fix"),
    [
        (429, {"Retry-After": "300"}, "rate limit", "wait 5 minutes, then: "),
        (429, {}, "rate limit", "wait a few minutes, then: "),
        (503, {}, "has a server error (503)", "open https://status.huggingface.co"),
        (413, {}, "too large", "git rm --cached"),
        (418, {}, "refused the request (418)", "open https://status.huggingface.co"),
    ],
)
def test_other_refusals_are_explained(
    team: Team, status: int, headers: Mapping[str, str], words: str, fix: str
) -> None:
    team.hub.failures.append(Failure("POST", "/repos/create", status, "no", headers))
    error = team.fails()
    assert words in error.problem
    assert error.fix.startswith(fix)


def test_a_long_wait_is_reported_instead_of_slept(team: Team) -> None:
    slow = Failure("POST", "/preupload/", 429, headers={"Retry-After": "3600"}, times=9)
    team.hub.failures.append(slow)
    assert team.fails().fix.startswith("wait 60 minutes")


def test_no_network_is_reported(team: Team) -> None:
    team.env = {"HF_ENDPOINT": f"http://127.0.0.1:{unused_port()}"}
    error = team.fails()
    assert "Hugging Face cannot be reached: nothing listens at" in error.problem


# The connection breaks


@pytest.mark.parametrize(
    ("part", "drop"),
    [
        ("/repos/create", "halfway"),
        ("/repos/create", "after"),
        ("/secrets", "after"),
        ("/commit/", "halfway"),
        ("/commit/", "after"),
        ("/lfs/objects/batch", "halfway"),
    ],
)
def test_after_a_broken_connection_running_it_again_finishes(
    team: Team, part: str, drop: str
) -> None:
    (team.folder / "docs" / "b.bin").write_bytes(bytes(range(256)))
    git(team.folder, "add", "docs/b.bin")
    team.hub.failures.append(Failure("POST", part, drop=drop))
    with contextlib.suppress(HackkitError):  # the client itself retries some
        team.deploy()
    team.deploy()
    assert list(team.hub.spaces) == [NAME]
    assert len(team.hub.spaces[NAME].commits) == 2
    assert set(team.hub.spaces[NAME].files) >= {*FILES, "requirements.txt", "docs/b.bin"}


def test_a_broken_connection_is_reported(team: Team) -> None:
    team.hub.failures.append(Failure("POST", "/commit/", drop="halfway"))
    error = team.fails()
    assert "broke. Run it again" in error.problem
    assert error.fix.endswith("hackkit deploy spaces")


# Afterwards


def test_its_status_is_returned(team: Team) -> None:
    team.deploy()
    status = spaces.status(team.request())
    assert (status.text, status.ok) == ("The Space is running", True)
    assert status.address == "https://ada-my-app.hf.space"
    team.hub.spaces[NAME].stages, team.hub.complaint = ["RUNTIME_ERROR"], "Exit code: 1"
    status = spaces.status(team.request())
    assert (status.text, status.ok) == ("The Space stopped: Exit code: 1", False)


def test_a_space_that_is_not_there_has_no_status(team: Team) -> None:
    with pytest.raises(HackkitError, match="There is no Space ada/my-app"):
        spaces.status(team.request())


def test_its_logs_are_shown(team: Team) -> None:
    team.deploy()
    team.hub.app_log = f"Running with {KEY}\n"
    assert spaces.logs(team.request()) == "Build:\nStep 1\n\nApp:\nRunning with [secret]"


def test_it_is_deleted(team: Team) -> None:
    team.deploy()
    assert spaces.down(team.request()) == "the Space ada/my-app"
    assert team.hub.spaces == {}
    assert "your account/my-app" in team.plan().changes[0]


def test_a_space_not_from_hackkit_is_not_deleted(team: Team) -> None:
    team.hub.space(NAME, {"game.py": b"mine"})
    with pytest.raises(HackkitError, match="was not created by hackkit"):
        spaces.down(team.request())
    assert list(team.hub.spaces) == [NAME]


# The command


def test_the_command_deploys_quietly_and_leaves_nothing_at_home(
    team: Team, hackkit: Run, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    team.hub.host = f"http://127.0.0.1:{unused_port()}"
    env = {"HF_ENDPOINT": team.hub.url, "HF_TOKEN": TOKEN, "HOME": str(home), "HF_DEBUG": "1"}
    env |= {"XDG_CACHE_HOME": str(home / "cache"), "HF_HOME": str(home / "hub")}
    result = hackkit("deploy", "spaces", team.folder, "--yes", env=env)
    assert team.hub.host in result.stdout, result.stderr
    assert set(team.hub.spaces[NAME].files) >= {*FILES, "requirements.txt"}
    output = result.stdout + result.stderr
    assert TOKEN not in output
    assert KEY not in output
    assert "HTTP" not in output
    assert list(home.rglob("*")) == []


def test_a_dry_run_sends_no_request(team: Team, hackkit: Run) -> None:
    env = {"HF_ENDPOINT": team.hub.url, "HF_TOKEN": TOKEN}
    result = hackkit("deploy", "spaces", team.folder, "--dry-run", env=env)
    assert result.returncode == 0, result.stderr
    assert "requirements.txt" in result.stdout
    assert KEY not in result.stdout
    assert team.hub.received == []
