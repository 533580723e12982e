"""The checks of the machine: Python, uv, git, containers, memory, disk, clock, browser, Node.js."""

import json
import os
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from facts import HANGS, commands

from hackkit.doctor.checks import browser, clock, container, disk, git, memory, node, python, uv
from hackkit.doctor.findings import Finding, Status
from hackkit.project.catalog import Needs
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.hardware import Memory
from hackkit.system.processes import Ran, runner

SYSTEMS = ("linux", "darwin", "windows")
DOWN = Ran(1, "28.2.2/", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.")
FORBIDDEN = Ran(1, "28.2.2/", "permission denied while trying to connect to the Docker daemon")


def installed(folder: Path) -> ProjectFiles:
    """Make a project's folder with something in the place of its Python."""
    project = ProjectFiles(folder)
    project.python.parent.mkdir(parents=True)
    project.python.touch()
    return project


# Python


def a_python(
    version: tuple[int, int, int] = (3, 12, 4), lacks: str = "", *, makes: bool = True
) -> str:
    return json.dumps([version, lacks, makes, "somewhere"])


def ask_python(answer: str | Ran | None, uv_words: tuple[str, ...] = ("uv",)) -> Finding:
    answers = {"uv python find": "/usr/bin/python3", "/usr/bin/python3": answer}
    return python.check(Context(run=commands({**answers, sys.executable: answer}), uv=uv_words))


def ask_projects_python(folder: Path, answer: str | Ran | None) -> Finding:
    project = installed(folder)
    run = commands({str(project.python): answer, sys.executable: a_python()})
    return python.check(Context(folder=folder, project=project, uv=("uv",), run=run))


def test_the_python_that_runs_hackkit_can_run_a_project() -> None:
    finding = python.check(Context(run=runner(os.environ)))
    assert finding.status is Status.OK
    version = ".".join(map(str, sys.version_info[:3]))
    assert finding.message.startswith(f"{version} runs hackkit, ")


def test_outside_a_project_the_python_that_uv_would_take_is_asked() -> None:
    finding = ask_python(a_python())
    assert finding.status is Status.OK
    assert finding.message.startswith("3.12.4 for new projects, ")


def test_in_a_project_the_python_of_its_environment_is_asked(tmp_path: Path) -> None:
    finding = ask_projects_python(tmp_path, a_python((3, 13, 1)))
    assert finding.status is Status.OK
    assert finding.message.startswith("3.13.1 in the project's environment")


def test_where_uv_finds_none_the_python_that_runs_hackkit_is_asked(tmp_path: Path) -> None:
    run = commands({"uv python find": Ran(2, err="none"), sys.executable: a_python()})
    finding = python.check(Context(project=ProjectFiles(tmp_path), run=run, uv=("uv",)))
    assert finding.message.startswith("3.12.4 runs hackkit")


def test_a_python_that_is_too_old_fails(tmp_path: Path) -> None:
    finding = ask_projects_python(tmp_path, a_python((3, 10, 9)))
    assert finding.status is Status.FAIL
    assert finding.fix.endswith("sync --python 3.12")


def test_a_python_that_is_newer_than_tried_is_a_warning() -> None:
    finding = ask_python(a_python((3, 15, 0)))
    assert finding.status is Status.WARN
    assert finding.fix.endswith("python install 3.12")


def test_a_python_without_full_text_search_fails(tmp_path: Path) -> None:
    finding = ask_projects_python(tmp_path, a_python(lacks="no such module: fts5"))
    assert finding.status is Status.FAIL
    assert "FTS5" in finding.message
    assert finding.fix.endswith("sync --python 3.12 --managed-python")


def test_a_python_that_makes_no_environments_is_well_where_uv_makes_them() -> None:
    assert ask_python(a_python(makes=False)).status is Status.OK


def test_a_python_that_makes_no_environments_is_a_warning_without_uv() -> None:
    finding = ask_python(a_python(makes=False), uv_words=())
    assert finding.status is Status.WARN
    assert finding.fix == "sudo apt install python3.12-venv"


def test_an_environment_whose_python_does_not_run_fails(tmp_path: Path) -> None:
    finding = ask_projects_python(tmp_path, Ran(126, err="Exec format error"))
    assert finding.status is Status.FAIL
    assert "Exec format error" in finding.message


def test_a_python_that_hangs_is_skipped() -> None:
    assert ask_python(HANGS).status is Status.SKIP


# uv


def ask_uv(answer: str | Ran | None, words: tuple[str, ...] = ("uv",)) -> Finding:
    return uv.check(Context(uv=words, run=commands({"uv --version": answer})))


def test_uv_is_named_with_its_version() -> None:
    finding = ask_uv("uv 0.13.8 (x86_64-unknown-linux-gnu)")
    assert (finding.status, finding.message) == (Status.OK, "0.13.8")


def test_a_uv_that_cannot_compare_an_environment_with_its_lock_is_a_warning() -> None:
    finding = ask_uv("uv 0.6.9")
    assert finding.status is Status.WARN
    assert finding.fix.endswith("self update")
    assert ask_uv("uv 0.6.10").status is Status.OK


@pytest.mark.parametrize(
    ("place", "fix"),
    [
        ("opt/homebrew/Cellar/uv/0.6.1/bin/uv", "brew upgrade uv"),
        ("home/pipx/venvs/uv/bin/uv", "pipx upgrade uv"),
        ("home/.pyenv/shims/uv", "python3 -m pip install --upgrade uv"),
    ],
)
def test_an_old_uv_is_renewed_by_what_installed_it(place: str, fix: str, tmp_path: Path) -> None:
    path = str(tmp_path / place)
    finding = uv.check(Context(uv=(path,), run=commands({f"{path} --version": "uv 0.5.0"})))
    assert finding.fix == fix


def test_an_old_uv_that_came_with_pip_is_renewed_by_pip() -> None:
    words = ("/usr/bin/python3", "-m", "uv")
    run = commands({"/usr/bin/python3 -m uv --version": "uv 0.5.0"})
    finding = uv.check(Context(uv=words, run=run))
    assert finding.fix.endswith("-m pip install --upgrade uv")


def test_without_uv_the_check_fails_with_the_command_that_installs_it() -> None:
    finding = uv.check(Context(run=commands({})))
    assert finding.status is Status.FAIL
    assert finding.fix == "python3 -m pip install uv"


def test_where_pipx_is_there_it_installs_uv() -> None:
    assert uv.check(Context(run=commands({"pipx --version": "1.7"}))).fix == "pipx install uv"


@pytest.mark.parametrize("answer", [Ran(1, err="a library is missing"), HANGS, None])
def test_a_uv_that_does_not_run_fails(answer: Ran | None) -> None:
    assert ask_uv(answer).status is Status.FAIL


def test_a_uv_without_a_version_is_ok() -> None:
    assert ask_uv("uv, built by hand").status is Status.OK


# git


def ask_git(config: str, env: dict[str, str] | None = None) -> Finding:
    answers = {"git --version": "git version 2.39.5 (Apple Git-154)", "git config": config}
    return git.check(Context(env=env or {}, run=commands(answers)))


def test_git_is_named_with_who_commits() -> None:
    finding = ask_git("user.name Ada Lovelace\nuser.email ada@example.org")
    assert finding.status is Status.OK
    assert finding.message == "2.39.5, commits as Ada Lovelace"


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ("", ["user.name", "user.email"]),
        ("user.name Ada", ["user.email"]),
        ("user.name\nuser.email ada@example.org", ["user.name"]),
    ],
)
def test_git_without_an_identity_is_a_warning(config: str, missing: list[str]) -> None:
    finding = ask_git(config)
    assert finding.status is Status.WARN
    assert finding.fix.count("git config --global") == len(missing)
    assert all(key in finding.fix for key in missing)


def test_git_takes_an_identity_from_its_variables_too() -> None:
    env = {
        f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    assert ask_git("", env).status is Status.OK


@pytest.mark.parametrize("system", SYSTEMS)
def test_without_git_there_is_a_command_that_installs_it(system: str) -> None:
    finding = git.check(Context(system=system, run=commands({})))
    assert finding.status is Status.WARN
    assert finding.fix


def test_the_stub_that_macos_has_in_gits_place_is_a_warning() -> None:
    stub = Ran(1, err="xcrun: error: invalid active developer path")
    finding = git.check(Context(system="darwin", run=commands({"git --version": stub})))
    assert finding.status is Status.WARN
    assert finding.fix == "xcode-select --install"


# Containers


def ask_engines(answers: dict[str, Ran | str | None], system: str = "linux") -> Finding:
    return container.check(Context(system=system, run=commands(answers)))


def test_an_engine_that_works_is_named_with_its_version() -> None:
    finding = ask_engines({"docker version": "28.2.2/27.5.1"})
    assert (finding.status, finding.message) == (Status.OK, "docker 27.5.1")


def test_nothing_more_is_asked_once_an_engine_works() -> None:
    run = commands({"docker version": "28.2.2/27.5.1", "podman": "", "buildah": ""})
    container.check(Context(run=run))
    assert len(run.asked) == 1


@pytest.mark.parametrize(
    ("system", "fix"),
    [
        ("linux", "sudo systemctl start docker"),
        ("darwin", "open -a Docker"),
        ("windows", "docker desktop start"),
    ],
)
def test_docker_without_its_daemon_is_a_warning(system: str, fix: str) -> None:
    finding = ask_engines({"docker version": DOWN}, system)
    assert finding.status is Status.WARN
    assert finding.message == "docker is installed, but its engine is not running"
    assert finding.fix == fix


def test_docker_without_permission_is_another_warning() -> None:
    finding = ask_engines({"docker version": FORBIDDEN})
    assert finding.status is Status.WARN
    assert "usermod" in finding.fix


def test_a_docker_host_that_does_not_answer_is_unset() -> None:
    env = {"DOCKER_HOST": "tcp://10.0.0.9:2375"}
    finding = container.check(Context(env=env, run=commands({"docker version": DOWN})))
    assert finding.fix == "unset DOCKER_HOST"


def test_docker_that_hangs_is_a_warning() -> None:
    finding = ask_engines({"docker version": HANGS})
    assert finding.status is Status.WARN
    assert "does not answer" in finding.message


def test_another_engine_makes_up_for_docker() -> None:
    finding = ask_engines(
        {"docker version": DOWN, "podman ps": "", "podman --version": "podman version 4.3.1"}
    )
    assert finding.status is Status.OK
    assert finding.message.startswith("podman 4.3.1 (docker: ")


def test_buildah_alone_builds() -> None:
    version = "buildah version 1.28.2 (image-spec 1.1.0)"
    finding = ask_engines({"buildah images": "", "buildah --version": version})
    assert finding.status is Status.OK
    assert finding.message.startswith("buildah 1.28.2, ")


def test_a_podman_without_its_machine_names_the_command_that_starts_it() -> None:
    finding = ask_engines({"podman ps": Ran(125, err="Cannot connect to Podman.")}, "darwin")
    assert (finding.status, finding.fix) == (Status.WARN, "podman machine start")


def test_a_podman_under_dockers_name_counts_once() -> None:
    alias = Ran(125, err="Emulate Docker CLI using podman. Create /etc/containers/nodocker")
    finding = ask_engines({"docker version": alias, "podman ps": "", "podman --version": "4.9.3"})
    assert finding.message == "podman 4.9.3"


def test_no_engine_at_all_is_no_problem() -> None:
    finding = ask_engines({})
    assert finding.status is Status.OK
    assert finding.message.startswith("none")


# Memory and disk


def ask_memory(total: float, available: float, system: str = "linux") -> Finding:
    seen = Memory(int(total * 1e9), int(available * 1e9))
    needs = Needs(memory_mb=1000)
    return memory.check(Context(system=system, memory=lambda: seen, needs=needs))


def test_enough_memory_is_well() -> None:
    finding = ask_memory(16, 8)
    assert (finding.status, finding.message) == (Status.OK, "8.0 GB of 16.0 GB available")


@pytest.mark.parametrize("system", SYSTEMS)
def test_little_memory_left_is_a_warning(system: str) -> None:
    finding = ask_memory(16, 0.4, system)
    assert finding.status is Status.WARN
    assert finding.fix


def test_less_memory_than_the_app_needs_fails() -> None:
    assert ask_memory(0.5, 0.4).status is Status.FAIL


def ask_disk(free: float, project: ProjectFiles | None = None, system: str = "linux") -> Finding:
    needs = Needs(disk_mb=1000)
    return disk.check(
        Context(system=system, project=project, needs=needs, disk_free=lambda _: int(free * 1e9))
    )


def test_enough_room_is_well() -> None:
    finding = ask_disk(67)
    assert (finding.status, finding.message) == (Status.OK, "67.0 GB free")


def test_less_than_twice_the_room_is_a_warning() -> None:
    finding = ask_disk(1.5)
    assert finding.status is Status.WARN
    assert finding.fix.endswith("cache prune")


@pytest.mark.parametrize("system", SYSTEMS)
def test_less_room_than_a_project_needs_fails(system: str) -> None:
    finding = ask_disk(0.9, system=system)
    assert finding.status is Status.FAIL
    assert finding.message == "900 MB free: a new project needs 1.0 GB"
    assert finding.fix


def test_an_installed_project_needs_less_room(tmp_path: Path) -> None:
    project = installed(tmp_path)
    assert ask_disk(0.9, project).status is Status.OK
    assert ask_disk(0.3, project).status is Status.WARN
    assert ask_disk(0.1, project).status is Status.FAIL


# Clock


@contextmanager
def time_server(date: str, *, self_signed: bool = False) -> Iterator[str]:
    """Serve on loopback with this Date in every answer; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - as its base
            return date

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        # A client that goes away before it is accepted must not leave us waiting for good.
        server.socket.settimeout(1)
        if self_signed:
            secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trustme.CA().issue_cert("127.0.0.1").configure_cert(secure)
            server.socket = secure.wrap_socket(server.socket, server_side=True)
        threading.Thread(
            target=lambda: server.serve_forever(poll_interval=0.02), daemon=True
        ).start()
        yield f"http{'s' if self_signed else ''}://127.0.0.1:{server.server_port}"
        server.shutdown()


def ask_clock(ahead: float, system: str = "linux") -> Finding:
    with time_server(formatdate(1_800_000_000, usegmt=True)) as url:
        now: Callable[[], float] = lambda: 1_800_000_000.5 + ahead  # noqa: E731 - a fact
        env = {"MISTRAL_SERVER_URL": url}
        return clock.check(Context(env=env, offline=False, system=system, now=now))


def test_a_clock_that_is_right_is_well() -> None:
    assert ask_clock(0).status is Status.OK


def test_the_real_clock_is_compared_with_the_servers() -> None:
    with time_server(formatdate(time.time(), usegmt=True)) as url:
        context = Context(env={"MISTRAL_SERVER_URL": url}, offline=False)
        assert clock.check(context).status is Status.OK


def test_a_clock_that_is_minutes_off_is_a_warning() -> None:
    finding = ask_clock(150)
    assert (finding.status, finding.message) == (Status.WARN, "2 minutes ahead")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_clock_that_is_far_off_fails(system: str) -> None:
    finding = ask_clock(-3 * 86400, system)
    assert (finding.status, finding.message) == (Status.FAIL, "3 days behind")
    assert finding.fix


def test_the_clock_is_compared_also_where_a_certificate_looks_wrong_by_it() -> None:
    with time_server(formatdate(time.time() + 3 * 3600, usegmt=True), self_signed=True) as url:
        finding = clock.check(Context(env={"MISTRAL_SERVER_URL": url}, offline=False))
    assert (finding.status, finding.message) == (Status.FAIL, "3 hours behind")


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 25:61:61 GMT"])
def test_a_server_without_a_date_is_skipped(date: str) -> None:
    with time_server(date) as url:
        finding = clock.check(Context(env={"MISTRAL_SERVER_URL": url}, offline=False))
    assert finding.status is Status.SKIP


def test_without_an_answer_there_is_nothing_to_compare_the_clock_with() -> None:
    context = Context(env={"MISTRAL_SERVER_URL": "http://127.0.0.1:9"}, offline=False)
    assert clock.check(context).status is Status.SKIP


# Browser and Node.js


def repository(folder: Path) -> Path:
    (folder / "tests" / "browser").mkdir(parents=True)
    return folder


def test_a_browser_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / ("chromium.exe" if sys.platform == "win32" else "chromium")
    path.touch(0o755)
    finding = browser.check(Context(folder=repository(tmp_path), env={"PATH": str(tmp_path)}))
    assert (finding.status, finding.message) == (Status.OK, "chromium")


def test_a_browser_is_found_in_its_usual_place_on_macos(tmp_path: Path) -> None:
    place = tmp_path / "Applications" / "Chromium.app" / "Contents" / "MacOS" / "Chromium"
    place.parent.mkdir(parents=True)
    place.touch()
    context = Context(system="darwin", folder=tmp_path, env={"HOME": str(tmp_path)})
    assert browser.check(context).message in {"Chromium", "Google Chrome"}


def test_a_browser_is_found_in_its_usual_place_on_windows(tmp_path: Path) -> None:
    place = tmp_path / "Google" / "Chrome" / "Application" / "chrome.exe"
    place.parent.mkdir(parents=True)
    place.touch()
    context = Context(system="windows", folder=tmp_path, env={"PROGRAMFILES": str(tmp_path)})
    assert browser.check(context).message == "chrome"


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_browser_is_a_warning_in_hackkits_own_repository(system: str, tmp_path: Path) -> None:
    finding = browser.check(Context(system=system, folder=repository(tmp_path)))
    if system != sys.platform:  # this machine may have one in that system's usual place
        assert finding.status is Status.WARN
        assert finding.fix


def test_no_browser_is_no_problem_elsewhere(tmp_path: Path) -> None:
    assert browser.check(Context(folder=tmp_path)).status is Status.OK


def test_a_project_without_a_package_json_needs_no_node(tmp_path: Path) -> None:
    assert node.check(Context(folder=tmp_path)).status is Status.SKIP


@pytest.mark.parametrize(
    ("answer", "status"),
    [("v20.20.2", Status.OK), (None, Status.WARN), (Ran(1), Status.WARN), (HANGS, Status.WARN)],
)
def test_a_project_with_a_package_json_needs_node(
    answer: str | Ran | None, status: Status, tmp_path: Path
) -> None:
    (tmp_path / "package.json").write_text("{}", encoding="utf-8")
    finding = node.check(Context(folder=tmp_path, run=commands({"node --version": answer})))
    assert finding.status is status
    assert (finding.fix == "") == (status is Status.OK)


def test_a_git_that_names_no_version_is_said_to(tmp_path: Path) -> None:
    finding = git.check(Context(folder=tmp_path, run=commands({"git": ""})))
    assert finding.message.startswith("of an unknown version, without user.name")
