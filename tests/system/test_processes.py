"""The one that runs others' commands: whatever they do, an answer comes in time."""

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from hackkit.system.hardware import disk_free, memory
from hackkit.system.processes import Ran, Run, run_once, runner

posix_only = pytest.mark.skipif(os.name == "nt", reason="the commands are a POSIX shell's")


@pytest.fixture
def run() -> Run:
    return runner(os.environ)


def python(run: Run, code: str, seconds: float = 20) -> Ran:
    """Run some Python in a process of its own."""
    ran = run(sys.executable, "-I", "-c", code, seconds=seconds)
    assert ran is not None
    return ran


def test_a_command_that_ends_well_gives_what_it_printed(run: Run) -> None:
    ran = python(run, "import sys; print(' seen '); print('said', file=sys.stderr)")
    assert ran == Ran(0, "seen", "said")
    assert ran.ok


def test_a_command_that_fails_gives_its_exit_code(run: Run) -> None:
    ran = python(run, "raise SystemExit(7)")
    assert (ran.code, ran.ok, ran.timed_out) == (7, False, False)


def test_a_command_that_is_not_there_is_none(run: Run) -> None:
    assert run("no-command-is-called-so") is None


def test_a_command_is_looked_for_in_the_path_that_was_handed_in(tmp_path: Path) -> None:
    assert runner({**os.environ, "PATH": str(tmp_path)})(Path(sys.executable).name) is None


@posix_only
def test_a_file_that_cannot_be_run_is_a_command_that_failed(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f"#!{tmp_path}/no-interpreter\n", encoding="utf-8")
    broken.chmod(0o755)
    ran = run(str(broken))
    assert ran is not None
    assert (ran.code, ran.ok) == (126, False)
    assert ran.err


@posix_only
def test_what_hangs_is_ended_with_all_that_it_started(run: Run, tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {tmp_path}/number; wait\n", "utf-8")
    wrapper.chmod(0o755)
    ran = run(str(wrapper), seconds=0.5)
    assert ran is not None
    assert ran.timed_out
    number = int((tmp_path / "number").read_text("utf-8"))
    deadline = time.monotonic() + 5
    while psutil.pid_exists(number) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == "zombie"


def test_garbage_is_read_as_text(run: Run) -> None:
    ran = python(run, r"import os; os.write(1, b'a\xff\x00\xfeb')")
    assert ran.out.startswith("a")
    assert ran.out.endswith("b")


def test_nobody_is_at_the_keyboard(run: Run) -> None:
    assert python(run, "import sys; print(repr(sys.stdin.read()))").out == "''"


def test_a_command_runs_in_the_folder_that_it_is_given(run: Run, tmp_path: Path) -> None:
    ran = run(sys.executable, "-I", "-c", "import os; print(os.getcwd())", folder=tmp_path)
    assert ran is not None
    assert Path(ran.out) == tmp_path.resolve()


def test_a_command_that_hangs_is_ended_in_time(run: Run) -> None:
    began = time.monotonic()
    ran = python(run, "import time; print('so far', flush=True); time.sleep(60)", seconds=1)
    assert time.monotonic() - began < 5
    assert ran.timed_out
    assert not ran.ok
    assert ran.out == "so far"


@posix_only
def test_a_grandchild_that_holds_the_output_open_does_not_keep_us_waiting(run: Run) -> None:
    began = time.monotonic()
    ran = run("sh", "-c", "sleep 20 & echo done", seconds=10)
    assert time.monotonic() - began < 5
    assert ran == Ran(0, "done")


@posix_only
def test_a_command_that_hangs_with_a_grandchild_is_left_in_time(run: Run) -> None:
    began = time.monotonic()
    ran = run("sh", "-c", "sleep 20 & sleep 20", seconds=0.5)
    assert time.monotonic() - began < 5
    assert ran is not None
    assert ran.timed_out


@posix_only
def test_output_without_end_is_cut_off(run: Run) -> None:
    ran = run("sh", "-c", "yes | head -c 30000000", seconds=20)
    assert ran is not None
    assert ran.ok
    assert len(ran.out) < 21_000_000


def test_the_free_space_of_a_folder_to_come_is_that_of_the_one_above_it(tmp_path: Path) -> None:
    assert disk_free(tmp_path / "not" / "yet" / "there") > 0


def test_memory_is_measured() -> None:
    seen = memory()
    assert 0 < seen.available <= seen.total


def test_a_command_reads_what_it_is_given(tmp_path: Path) -> None:
    words = (sys.executable, "-I", "-c", "import sys; print(sys.stdin.read().upper())")
    ran = run_once(words, folder=tmp_path, env=os.environ, seconds=20, given="a secret")
    assert ran == Ran(0, "A SECRET")


def test_a_command_that_is_given_nothing_does_not_wait_for_it(tmp_path: Path) -> None:
    words = (sys.executable, "-I", "-c", "import sys; print(repr(sys.stdin.read()))")
    assert run_once(words, folder=tmp_path, env=os.environ, seconds=20) == Ran(0, "''")


def test_a_command_need_not_read_what_it_is_given(tmp_path: Path) -> None:
    words = (sys.executable, "-I", "-c", "print('done')")
    ran = run_once(words, folder=tmp_path, env=os.environ, seconds=20, given="x" * 1_000_000)
    assert ran == Ran(0, "done")


def test_a_command_that_neither_reads_nor_ends_is_ended(tmp_path: Path) -> None:
    words = (sys.executable, "-I", "-c", "import time; time.sleep(600)")
    ran = run_once(words, folder=tmp_path, env=os.environ, seconds=0.5, given="x" * 1_000_000)
    assert ran.timed_out


def test_a_command_that_is_not_installed_is_named(tmp_path: Path) -> None:
    ran = run_once(["no-such-command"], folder=tmp_path, env=os.environ, seconds=5)
    assert (ran.code, ran.err) == (126, "no-such-command was not found")
