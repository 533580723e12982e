"""Commands that say very much, read piece by piece; findings that are several in one."""

import os
import sys
from functools import partial

import psutil
import pytest

from hackkit.doctor.findings import Mend, Status, failure, ok, together, warning
from hackkit.system.processes import Stream, streamer

SOON = "import time; print('x', flush=True); time.sleep(600)"
ENDLESS = "while True: print('x' * 1000)"


@pytest.fixture
def stream() -> Stream:
    return streamer(os.environ)


def is_ended(code: str) -> bool:
    """Return whether no child of this process runs this code."""
    commands = (each.cmdline() for each in psutil.Process().children() if each.is_running())
    return not any(code in command for command in commands)


def python(stream: Stream, code: str, seconds: float = 60, most: int = 10**8) -> list[bytes]:
    """Stream what some Python prints."""
    return list(stream(sys.executable, "-I", "-c", code, seconds=seconds, most=most))


def test_all_that_is_said_comes_in_order(stream: Stream) -> None:
    said = b"".join(python(stream, "for n in range(50_000): print(n)"))
    assert said.split()[0] == b"0"
    assert said.split()[-1] == b"49999"


def test_a_command_that_says_nothing_ends_well(stream: Stream) -> None:
    assert python(stream, "") == []


def test_a_command_that_fails_says_so_at_the_end(stream: Stream) -> None:
    with pytest.raises(OSError, match="exit code 3"):
        python(stream, "raise SystemExit(3)")


def test_a_command_that_is_not_there_is_told(stream: Stream) -> None:
    with pytest.raises(FileNotFoundError):
        list(stream("no-command-is-called-so"))


@pytest.mark.parametrize(
    "code", ["import time; time.sleep(600)", ENDLESS], ids=["silent", "endless"]
)
def test_a_command_that_does_not_end_is_ended(stream: Stream, code: str) -> None:
    with pytest.raises(TimeoutError):
        python(stream, code, seconds=0.5, most=10**12)
    assert is_ended(code)


def test_a_command_that_says_too_much_is_ended(stream: Stream) -> None:
    with pytest.raises(TimeoutError):
        python(stream, ENDLESS, most=100_000)


def test_a_listener_that_leaves_early_is_not_held_up(stream: Stream) -> None:
    pieces = stream(sys.executable, "-I", "-c", SOON, seconds=60)
    assert next(iter(pieces))
    assert not is_ended(SOON)
    del pieces
    assert is_ended(SOON)


def test_the_worst_of_several_findings_stands_first() -> None:
    several = [warning("a is odd", "mend a"), failure("b is broken", "mend b"), ok("c is well")]
    one = together(several)
    assert (one.status, one.message, one.fix) == (Status.FAIL, "b is broken", "mend b")
    assert one.details == ("a is odd: mend a", "c is well")
    assert one.mend is None


def test_several_mends_are_done_in_their_order() -> None:
    done: list[str] = []
    first, second = (Mend(f"do {name}", partial(done.append, name)) for name in "ab")
    one = together([warning("a", "a", first), failure("b", "b", second)])
    assert one.mend
    assert one.mend.says == "do a and do b"
    one.mend.do()
    assert done == ["a", "b"]
