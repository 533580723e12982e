"""The checks on a project's environment, app, port, documents and index."""

import os
import re
import socket
import sqlite3
import venv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import write
from facts import HANGS, commands

from hackkit.doctor.checks import app, documents, environment, index, index_lock, port
from hackkit.doctor.findings import Finding, Status
from hackkit.errors import HackkitError
from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import Ran, Run, runner

UV = ("uv",)
NOTHING = commands({})
CHECK = "uv sync --check --locked"


@pytest.fixture
def project(tmp_path: Path) -> ProjectFiles:
    """Make a project whose environment is a file that is never run."""
    write(tmp_path / "pyproject.toml", '[project]\nname = "x"\ndependencies = ["Typer>=0.20"]\n')
    write(tmp_path / "uv.lock", '[[package]]\nname = "typer"\n')
    found = ProjectFiles(tmp_path)
    write(found.python, "")
    return found


def context(project: ProjectFiles, status: AppStatus, run: Run = NOTHING) -> Context:
    return Context(folder=project.folder, project=project, run=run, uv=UV, app=lambda: status)


# Environment


def installed(project: ProjectFiles, compared: Ran | str | None) -> Finding:
    run = commands({f"{project.python} -I": "3.12.4", CHECK: compared})
    return environment.check(context(project, AppStatus(), run))


def test_an_environment_in_sync_with_its_lock_is_ok(project: ProjectFiles) -> None:
    finding = installed(project, Ran(0, "", "Resolved 9 packages\nChecked 118 packages in 1ms"))
    assert finding.status is Status.OK
    assert finding.message == "Python 3.12.4, 118 packages in sync with uv.lock"


def test_an_environment_that_is_not_installed_fails_and_can_be_repaired(
    project: ProjectFiles,
) -> None:
    project.python.unlink()
    finding = installed(project, None)
    assert (finding.status, finding.message) == (Status.FAIL, "not installed")
    assert finding.fix.endswith("uv sync")
    assert finding.repair


@pytest.mark.parametrize("ran", [Ran(126, err="cannot execute"), HANGS, None])
def test_an_environment_whose_python_does_not_run_fails(
    project: ProjectFiles, ran: Ran | None
) -> None:
    run = commands({f"{project.python} -I": ran})
    finding = environment.check(context(project, AppStatus(), run))
    assert (finding.status, finding.message) == (Status.FAIL, "its Python does not run")


def test_packages_that_differ_from_the_lock_are_named(project: ProjectFiles) -> None:
    said = "Would install 2 packages\n + pypdf==7.1.0\n ~ rich==15.0\nerror: The environment is"
    finding = installed(project, Ran(1, "", said))
    assert finding.status is Status.WARN
    assert "pypdf and 1 more" in finding.message
    assert finding.repair


def test_a_lock_that_does_not_match_is_a_warning(project: ProjectFiles) -> None:
    finding = installed(project, Ran(1, "", "error: The lockfile at `uv.lock` needs to be updated"))
    assert (finding.status, finding.message) == (
        Status.WARN,
        "uv.lock does not match pyproject.toml",
    )


def test_no_lock_is_a_warning(project: ProjectFiles) -> None:
    (project.folder / "uv.lock").unlink()
    finding = installed(project, None)
    assert (finding.status, finding.message) == (Status.WARN, "Python 3.12.4, but no uv.lock")
    assert finding.repair


NO_NETWORK = Ran(1, "", "hint: Packages were unavailable because the network was disabled.")


def test_what_cannot_be_compared_offline_is_not_a_problem(project: ProjectFiles) -> None:
    assert installed(project, NO_NETWORK).status is Status.OK


def test_a_package_that_the_lock_lacks_is_named_offline_too(project: ProjectFiles) -> None:
    write(project.folder / "pyproject.toml", '[project]\ndependencies = ["typer", "Flask_Moon"]\n')
    finding = installed(project, NO_NETWORK)
    assert finding.status is Status.WARN
    assert "flask-moon" in finding.message


def test_files_that_uv_cannot_read_fail(project: ProjectFiles) -> None:
    lock = installed(project, Ran(2, "", "error: Failed to parse `uv.lock`"))
    assert (lock.status, lock.fix) == (Status.FAIL, "git checkout HEAD -- uv.lock")
    write(project.folder / "pyproject.toml", "x = [")
    broken = installed(project, None)
    assert broken.status is Status.FAIL
    assert broken.message.startswith("pyproject.toml cannot be read: ")


def test_another_error_of_uv_is_quoted(project: ProjectFiles) -> None:
    finding = installed(project, Ran(2, "", "error: No interpreter found for Python 3.19\nhint: x"))
    assert finding.status is Status.FAIL
    assert finding.message.endswith("No interpreter found for Python 3.19")


def test_without_an_answer_of_uv_the_version_is_shown(project: ProjectFiles) -> None:
    assert installed(project, HANGS).status is Status.SKIP
    run = commands({f"{project.python} -I": "3.12.4"})
    finding = environment.check(Context(folder=project.folder, project=project, run=run))
    assert finding.status is Status.OK
    assert "there is no uv" in finding.message


def test_a_moved_environment_is_a_warning(project: ProjectFiles) -> None:
    write(project.python.parent / "activate", "VIRTUAL_ENV='/elsewhere/app/.venv'\n")
    finding = installed(project, "")
    assert finding.status is Status.WARN
    assert "moved" in finding.message
    write(project.python.parent / "activate", f"VIRTUAL_ENV='{project.folder / '.venv'}'\n")
    assert installed(project, "").status is Status.OK


def test_a_project_without_packages_of_its_own_is_skipped(tmp_path: Path) -> None:
    finding = environment.check(context(ProjectFiles(tmp_path), AppStatus()))
    assert finding.status is Status.SKIP


# App: the probe is real, in a real environment


@pytest.fixture
def real(tmp_path: Path) -> ProjectFiles:
    venv.EnvBuilder(symlinks=os.name != "nt").create(tmp_path / ".venv")
    write(tmp_path / "rag" / "prompts.py", "WORDS = 3\n")
    write(tmp_path / "app.py", "from rag.prompts import WORDS\n")
    return ProjectFiles(tmp_path)


def imported(project: ProjectFiles, **files: str) -> Finding:
    for name, text in files.items():
        write(project.folder / f"{name.replace('__', '/')}.py", text)
    run = runner(os.environ)
    return app.check(Context(folder=project.folder, project=project, run=run, uv=UV))


def test_an_app_that_imports_is_well_and_is_not_imported_again(real: ProjectFiles) -> None:
    first = imported(real, app="from rag.prompts import WORDS\nopen('ran', 'a').write('x')\n")
    assert (first.status, (real.folder / "ran").read_text()) == (Status.OK, "x")
    again = imported(real)
    assert "unchanged since" in again.message
    assert (real.folder / "ran").read_text() == "x"
    changed = imported(real, rag__prompts="WORDS = 30\n")
    assert (changed.status, (real.folder / "ran").read_text()) == (Status.OK, "xx")


@pytest.mark.parametrize(
    ("files", "place", "words"),
    [
        ({"app": "x = (\n"}, "app.py:1", "never closed"),
        ({"rag__prompts": "ok = 1\ndef f(:\n"}, "rag/prompts.py:2", "invalid syntax"),
        ({"app": "\nx = unknown\n"}, "app.py:2", "NameError"),
        ({"rag__prompts": "x = 1\nint('a')\n"}, "rag/prompts.py:2", "ValueError"),
        ({"rag__prompts": "OTHER = 1\n"}, "app.py:1", "cannot import name 'WORDS'"),
        ({"app": "import rag.promts\n"}, "app.py:1", "No module named 'rag.promts'"),
        ({"app": "def f():\n    from rag import late\n", "rag__late": "("}, "rag/late.py:1", ""),
    ],
)
def test_an_error_at_the_import_is_shown_with_its_line(
    real: ProjectFiles, files: dict[str, str], place: str, words: str
) -> None:
    finding = imported(real, **files)
    assert finding.status is Status.FAIL
    assert finding.message.startswith(f"{place}: ")
    assert words in finding.message
    assert str(real.folder) not in finding.message
    assert finding.fix == f"edit {place.replace(':', ': correct line ')}"


def test_the_fix_for_a_file_without_permission_is_to_unlock_it(project: ProjectFiles) -> None:
    write(project.folder / "app.py", "")
    said = Ran(1, err="PermissionError: [Errno 13] Permission denied: '/app/rag/my prompts.py'")
    finding = app.check(context(project, AppStatus(), commands({str(project.python): said})))
    assert (finding.status, finding.message) == (
        Status.FAIL,
        "/app/rag/my prompts.py cannot be read: permission denied",
    )
    assert finding.fix == "chmod -R u+rwX '/app/rag/my prompts.py'"


def test_a_missing_module_is_added_by_its_package_s_name(real: ProjectFiles) -> None:
    finding = imported(real, rag__prompts="WORDS = 1\nimport bs4, nosuchmodule\n")
    assert finding.status is Status.FAIL
    assert finding.message == "rag/prompts.py:2: not installed: bs4 and 1 more"
    assert finding.fix.endswith("uv add beautifulsoup4 nosuchmodule")


def test_a_missing_module_that_the_lock_knows_is_synced(real: ProjectFiles) -> None:
    write(real.folder / "uv.lock", '[[package]]\nname = "nosuchmodule"\n')
    assert imported(real, app="import nosuchmodule\n").fix.endswith("uv sync")


def test_modules_that_may_be_missing_are_not_missed(real: ProjectFiles) -> None:
    text = """
import contextlib
from typing import TYPE_CHECKING
try:
    import nosuchmodule
except ImportError:
    nosuchmodule = None
with contextlib.suppress(ImportError):
    import noneeither
if TYPE_CHECKING:
    import norhere
def later():
    import neverasked
if __name__ == "__main__":
    import notnow
"""
    assert imported(real, app=text).status is Status.OK


STARTERS = (
    "import gradio as gr\ngr.launch()\n",
    "def main():\n    demo.launch()\nmain()\n",
    "import socket\nsocket.socket().bind(('127.0.0.1', 17861))\n",
)


@pytest.mark.parametrize("text", STARTERS)
def test_an_app_that_would_start_at_its_import_is_not_started(
    real: ProjectFiles, text: str
) -> None:
    write(real.folder / "gradio.py", "def launch():\n    open('started', 'w')\n")
    finding = imported(real, app=text)
    assert finding.status is Status.OK
    assert "would start the app" in finding.message
    assert not (real.folder / "started").exists()


def test_a_broken_file_that_the_app_does_not_use_is_a_warning(real: ProjectFiles) -> None:
    finding = imported(real, notes="this is no Python\n")
    assert finding.status is Status.WARN
    assert finding.message.startswith("notes.py:1, which the app does not use")


def test_an_app_that_exits_at_its_import_is_left_to_another_check(real: ProjectFiles) -> None:
    finding = imported(real, app="raise SystemExit('PORT: not a number.\\nFix: correct it')\n")
    assert finding.status is Status.SKIP
    assert "PORT: not a number." in finding.message


def test_an_import_that_ends_python_fails(real: ProjectFiles) -> None:
    finding = imported(real, app="import os\nos._exit(7)\n")
    assert finding.status is Status.FAIL
    assert "exit code 7" in finding.message


def test_an_import_that_takes_too_long_is_a_warning(project: ProjectFiles) -> None:
    write(project.folder / "app.py", "")
    run = commands({f"{project.python} -P": HANGS})
    finding = app.check(context(project, AppStatus(), run))
    assert finding.status is Status.WARN
    assert "took longer than 25 s" in finding.message


def test_what_the_app_prints_does_not_matter(real: ProjectFiles) -> None:
    assert imported(real, app="print('{', end='')\n").status is Status.OK


def test_without_an_environment_or_an_app_nothing_is_imported(tmp_path: Path) -> None:
    assert imported(ProjectFiles(tmp_path)).status is Status.SKIP
    assert imported(ProjectFiles(tmp_path), app="").status is Status.SKIP


# Port


@pytest.fixture
def taken() -> Iterator[int]:
    """Take a port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def port_of(project: ProjectFiles, status: AppStatus, holder: str = "", **env: str) -> Finding:
    return port.check(
        Context(
            folder=project.folder,
            project=project,
            env=env,
            app=lambda: status,
            listener=lambda _: holder,
        )
    )


def test_a_free_port_is_well(project: ProjectFiles, free: int) -> None:
    finding = port_of(project, AppStatus(port=free))
    assert (finding.status, finding.message) == (Status.OK, f"{free} is free")


def test_a_port_of_another_program_fails_and_names_it(project: ProjectFiles, taken: int) -> None:
    write(project.folder / ".env", f"PORT={taken}\n")
    finding = port_of(project, AppStatus(port=taken), "nginx (process 7)")
    assert finding.status is Status.FAIL
    assert finding.message == f"{taken} is not free: nginx (process 7) uses it"
    assert re.fullmatch(r"edit \.env: set PORT=\d+", finding.fix)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A=1\nPORT={}\nB=2\n", "A=1\nPORT={}\nB=2\n"),
        ("PORT = '{}' # ours\r\nB=2\r\n", "PORT = {} # ours\r\nB=2\r\n"),
        ("PORT=1\n# PORT=2\nexport PORT={}", "PORT=1\n# PORT=2\nexport PORT={}"),
    ],
)
def test_the_repair_changes_one_line_of_env_and_keeps_its_mode(
    project: ProjectFiles, taken: int, before: str, after: str
) -> None:
    file = project.folder / ".env"
    file.write_bytes(before.format(taken).encode())
    file.chmod(0o600)
    finding = port_of(project, AppStatus(port=taken), "nginx")
    assert finding.repair
    finding.repair.run()
    number = finding.fix.rpartition("=")[2]
    assert number != str(taken)
    assert file.read_bytes().decode() == after.format(number)
    assert os.name == "nt" or file.stat().st_mode & 0o777 == 0o600


def test_a_port_that_the_environment_sets_is_not_repaired(
    project: ProjectFiles, taken: int
) -> None:
    finding = port_of(project, AppStatus(port=taken), "nginx", PORT=str(taken))
    assert finding.fix.startswith("export PORT=")
    assert finding.repair is None


def test_a_line_that_went_away_is_an_error_and_nothing_is_written(
    project: ProjectFiles, taken: int
) -> None:
    write(project.folder / ".env", f"PORT={taken}\n")
    finding = port_of(project, AppStatus(port=taken), "nginx")
    (project.folder / ".env").write_text("A=1\n")
    assert finding.repair
    with pytest.raises(HackkitError):
        finding.repair.run()
    assert (project.folder / ".env").read_text() == "A=1\n"


def test_the_app_itself_may_have_its_port(project: ProjectFiles, taken: int) -> None:
    finding = port_of(project, AppStatus(port=taken, busy=True), "python (process 7)")
    assert finding.status is Status.OK
    assert "used by this app" in finding.message


def test_an_app_without_a_port_of_its_own_finds_one(project: ProjectFiles) -> None:
    assert port_of(project, AppStatus(), "nginx (process 7)").status is Status.OK


def test_a_host_that_is_not_this_machine_fails(project: ProjectFiles, free: int) -> None:
    finding = port_of(project, AppStatus(port=free, host="192.0.2.1"))
    assert finding.status is Status.FAIL
    assert finding.fix == "edit .env: set HOST=127.0.0.1"


# Documents


def test_documents_are_counted_without_hidden_files(project: ProjectFiles) -> None:
    for name in ("a.md", "sub/b.md", ".hidden", ".git/c.md"):
        write(project.folder / "docs" / name, "x")
    finding = documents.check(context(project, AppStatus(docs="docs")))
    assert (finding.status, finding.message) == (Status.OK, "2 in docs, all readable")


def test_no_documents_are_a_warning(project: ProjectFiles) -> None:
    status = AppStatus(docs="docs")
    missing = documents.check(context(project, status))
    assert (missing.status, missing.fix) == (Status.WARN, "mkdir docs")
    (project.folder / "docs").mkdir()
    empty = documents.check(context(project, status))
    assert (empty.status, empty.message) == (Status.WARN, "docs is empty")


def test_the_first_unreadable_document_is_named_and_the_others_counted(
    project: ProjectFiles,
) -> None:
    write(project.folder / "docs" / "a.pdf", "x")
    problems = ("docs/a.pdf: is empty", "docs/b.png: has an unsupported file type")
    finding = documents.check(context(project, AppStatus(docs="docs", unreadable=problems)))
    assert finding.status is Status.WARN
    assert finding.message == "docs/a.pdf: is empty (and 1 more)"
    assert finding.fix == "edit docs/a.pdf: replace or remove it"
    assert finding.details == problems


# Index

WELL = AppStatus(docs="docs", index="index/keywords", documents=10, chunks=70)


def indexed(project: ProjectFiles, **changes: object) -> Finding:
    status = AppStatus(**{**vars(WELL), **changes})
    return index.check(context(project, status))


def test_an_index_in_sync_is_ok(project: ProjectFiles) -> None:
    finding = indexed(project)
    assert finding.status is Status.OK
    assert finding.message == "index/keywords has 10 documents in 70 chunks"


def test_without_documents_there_is_nothing_to_index(project: ProjectFiles) -> None:
    assert indexed(project, documents=0, chunks=0).status is Status.OK


def test_an_index_that_may_not_be_read_fails(project: ProjectFiles) -> None:
    finding = indexed(project, problem="[Errno 13] Permission denied: '/app/index/x/keywords.db'")
    assert (finding.status, finding.fix) == (Status.FAIL, "chmod -R u+rwX /app/index")


def test_one_document_is_one_document(project: ProjectFiles) -> None:
    finding = indexed(project, documents=1, chunks=1)
    assert finding.message.endswith("has 1 document in 1 chunk")


def test_an_index_that_is_out_of_date_is_a_warning_that_can_be_repaired(
    project: ProjectFiles,
) -> None:
    finding = indexed(project, new=("docs/a.md", "docs/b.md"), gone=("docs/c.md",))
    assert finding.status is Status.WARN
    assert finding.message == "index/keywords is out of date: 2 new, 1 removed"
    assert finding.details == ("new: docs/a.md", "new: docs/b.md", "removed: docs/c.md")
    assert finding.fix.endswith("ingest")
    assert finding.repair


@pytest.mark.parametrize(
    ("provider", "address", "online"),
    [
        ("offline", "", False),
        ("mistral", "", True),
        ("server", "http://localhost:11434/v1", False),
        ("server", "https://llm.example.org/v1", True),
    ],
)
def test_reading_the_documents_again_uses_the_network_where_the_model_is_there(
    project: ProjectFiles, provider: str, address: str, *, online: bool
) -> None:
    status = AppStatus(index="index/x", documents=1, new=("a.md",), provider=provider)
    facts = Context(
        folder=project.folder,
        project=project,
        env={"LLM_BASE_URL": address},
        app=lambda: status,
    )
    repair = index.check(facts).repair
    assert repair
    assert repair.online is online


def test_while_the_app_runs_its_index_is_left_alone(project: ProjectFiles) -> None:
    for changes in ({"new": ("docs/a.md",)}, {"damage": "keywords.db: file is not a database"}):
        finding = indexed(project, busy=True, **changes)
        assert finding.repair is None
        assert finding.fix.startswith("stop the app")


def test_an_index_of_another_model_is_named(project: ProjectFiles) -> None:
    other = project.folder / "index" / "keywords"
    other.mkdir(parents=True)
    with closing(sqlite3.connect(other / "keywords.db")) as db, db:
        db.execute("CREATE TABLE sources (source TEXT, digest TEXT)")
        db.execute("INSERT INTO sources VALUES ('a', ''), ('b', '')")
    write(project.folder / "index" / "broken" / "keywords.db", "garbage")
    finding = indexed(
        project,
        index="index/mistral-embed",
        embed_model="mistral-embed",
        documents=0,
        new=("docs/a.md",),
    )
    assert finding.status is Status.WARN
    assert finding.message == (
        "there is no index/mistral-embed yet: 1 document to read; index/keywords has 2 documents"
    )
    assert finding.repair
    assert "mistral-embed" in finding.repair.action
    assert sorted(path.name for path in other.iterdir()) == ["keywords.db"]


def test_damaged_keywords_fail_and_damaged_vectors_warn(project: ProjectFiles) -> None:
    keywords = indexed(project, damage="keywords.db: file is not a database", documents=0)
    vectors = indexed(project, damage="the vectors are missing")
    assert (keywords.status, vectors.status) == (Status.FAIL, Status.WARN)
    assert keywords.message == "index/keywords is damaged: keywords.db: file is not a database"
    assert keywords.repair
    assert "rename index/keywords to keywords.damaged" in keywords.repair.action


# Index lock


def locked(project: ProjectFiles, run: Run = NOTHING, listens: str = "") -> Finding:
    status = AppStatus(index="index/keywords", busy=True)
    write(project.folder / "index" / "keywords" / "writer.lock", "")
    return index_lock.check(
        Context(
            folder=project.folder,
            project=project,
            system="darwin",
            run=run,
            app=lambda: status,
            listener=lambda _: listens,
        )
    )


def test_an_index_that_no_process_has_open_is_ok(project: ProjectFiles) -> None:
    finding = index_lock.check(context(project, WELL))
    assert (finding.status, finding.message) == (Status.OK, "no process has the index open")


def test_the_running_app_may_have_its_index_open(project: ProjectFiles) -> None:
    run = commands({"lsof -t": "77", "ps -o args= -p 77": "python app.py"})
    finding = locked(project, run)
    assert finding.status is Status.OK
    assert finding.message == "the running app has it open (process 77)"
    assert locked(project, listens="Python (process 78)").status is Status.OK


def test_another_process_is_named_with_how_to_stop_it(project: ProjectFiles) -> None:
    run = commands({"lsof -t": "77", "ps -o args= -p 77": "python -m rag ingest"})
    finding = locked(project, run)
    assert (finding.status, finding.fix) == (Status.WARN, "kill 77")
    assert "python -m rag ingest" in finding.message


def test_a_process_that_cannot_be_named_is_a_warning(project: ProjectFiles) -> None:
    assert locked(project).status is Status.WARN


# None of it


@pytest.mark.parametrize("check", [port.check, documents.check, index.check, index_lock.check])
def test_without_the_apps_status_the_checks_are_skipped_with_its_reason(
    project: ProjectFiles, check: object
) -> None:
    assert callable(check)
    finding = check(context(project, AppStatus(problem="NameError: no such name")))
    assert (finding.status, finding.message) == (Status.SKIP, "NameError: no such name")


@pytest.mark.parametrize("check", [documents.check, index.check, index_lock.check])
def test_a_project_without_documents_is_not_judged(project: ProjectFiles, check: object) -> None:
    assert callable(check)
    assert check(context(project, AppStatus())).status is Status.SKIP
