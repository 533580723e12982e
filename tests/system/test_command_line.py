"""Commands as text: they can be typed where they are said to be typed."""

import subprocess
import sys
from pathlib import Path

import pytest

from hackkit.system.command_line import Shell, Start, hackkit

POSIX, POWERSHELL = Shell(windows=False), Shell(windows=True)
HERE = Path(sys.prefix)


def start(prefix: Path = HERE, script: str = "hackkit", **given: str | bool) -> Start:
    return Start(bool(given.get("uv_run")), prefix, Path(script), str(given.get("source", "")))


def test_under_uv_run_a_command_is_written_with_uv_run(tmp_path: Path) -> None:
    ours = start(uv_run=True)
    assert hackkit("doctor", start=ours) == "uv run hackkit doctor"
    assert hackkit("list", start=ours, folder=HERE.parent / "examples") == "uv run hackkit list"
    elsewhere = hackkit("list", start=ours, folder=tmp_path)
    assert elsewhere == f"uv run --project {HERE.parent} hackkit list"


@pytest.mark.parametrize(
    ("place", "source", "words"),
    [
        (".cache/uv/archive-v0/11AXv", "", "uvx hackkit-starter"),
        (".cache/uv/archive-v0/11AXv", "git+https://x.example/k", "uvx --from {} hackkit-starter"),
        (".cache/pipx/a808bf", "", "pipx run hackkit-starter"),
        (".local/pipx/.cache/a808bf", "", "pipx run hackkit-starter"),
        (".cache/pipx/a808bf", "file:///k.whl", "pipx run --spec {} hackkit-starter"),
    ],
)
def test_in_a_temporary_environment_the_index_s_other_hackkit_is_never_named(
    place: str, source: str, words: str
) -> None:
    once = start(Path("/home/ada") / place, "/x/hackkit", source=source)
    assert hackkit("new", start=once) == f"{words.format(source)} new"


def test_an_installed_script_is_typed_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("hackkit", "hackkit-starter"):
        (tmp_path / name).touch(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        ours = start(tmp_path / "tools", str(tmp_path / name))
        assert hackkit("list", start=ours) == f"{name} list"


def test_where_path_leads_to_another_hackkit_python_starts_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hackkit").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    typed = hackkit("list", start=start(tmp_path / "env", "/else/hackkit/__main__.py"))
    assert typed == f"{sys.executable} -m hackkit list"


def test_commands_are_joined_so_that_a_failure_stops_the_rest() -> None:
    assert POSIX.then("a", "b", "c") == "a && b && c"
    assert POWERSHELL.then("a", "b", "c") == "a; if ($?) { b; if ($?) { c } }"
    assert POWERSHELL.then("a") == "a"


def test_powershell_gets_no_command_that_it_does_not_know() -> None:
    typed = (
        POWERSHELL.copy("a", "b"),
        POWERSHELL.move("a b", "c"),
        POWERSHELL.only_for_owner(".env"),
        POWERSHELL.unlock("docs"),
        POWERSHELL.append(".env", ".gitignore"),
        POWERSHELL.set("PORT", "1"),
        POWERSHELL.unset("A", "B"),
        POWERSHELL.end_process(7),
    )
    known = ("Copy-Item", "Move-Item", "icacls", "Add-Content", "$env:", "Remove-Item", "taskkill")
    assert all(each.startswith(known) for each in typed)
    assert not [each for each in typed if "&&" in each or "chmod" in each or ">>" in each]
    assert POWERSHELL.line([r"C:\Program Files\uv.exe", "run"]).startswith("& '")


def test_a_posix_shell_takes_what_is_written_for_it(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("there is no POSIX shell")
    script = POSIX.then(
        POSIX.append(".env", ".gitignore"),
        POSIX.copy(".gitignore", "a b"),
        POSIX.move("a b", "c"),
        POSIX.only_for_owner("c"),
        POSIX.unlock("c"),
        POSIX.set("NAME", "one two"),
        'printf %s "$NAME"',
        POSIX.unset("NAME"),
    )
    ran = subprocess.run(
        ["sh", "-ec", script], cwd=tmp_path, capture_output=True, encoding="utf-8", check=True
    )
    assert ran.stdout == "one two"
    assert (tmp_path / "c").read_text("utf-8") == "\n.env\n"
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="there is no POSIX shell")
@pytest.mark.parametrize("quoted", ["a b", '"a b"', "'a b'"])
def test_a_variable_is_piped_without_the_quotes_of_an_env_file(tmp_path: Path, quoted: str) -> None:
    (tmp_path / ".env").write_text(f"OTHER=1\nNAME={quoted}\n", "utf-8")
    for script in (
        POSIX.pipe_env_file("NAME", "cat", whole=False),
        POSIX.then("NAME='a b'", POSIX.pipe_variable("NAME", "cat", whole=False)),
    ):
        ran = subprocess.run(["sh", "-ec", script], cwd=tmp_path, capture_output=True, check=True)
        assert ran.stdout == b"a b"


def test_a_variable_is_piped_with_its_name_where_the_command_reads_that() -> None:
    assert POSIX.pipe_env_file("NAME", "set", whole=True) == "grep '^NAME=' .env | set"
    assert POSIX.pipe_variable("NAME", "set", whole=True) == "printf 'NAME=%s\\n' \"$NAME\" | set"
    assert POWERSHELL.pipe_variable("NAME", "set", whole=True) == '"NAME=$env:NAME" | set'
    assert POWERSHELL.pipe_variable("NAME", "set", whole=False) == "$env:NAME | set"
    from_file = POWERSHELL.pipe_env_file("NAME", "set", whole=True)
    assert from_file.startswith('"NAME=$((Select-String ')
    assert from_file.endswith(" | set")


@pytest.mark.parametrize(
    ("word", "typed"),
    [
        ("docs/plan.md", "docs/plan.md"),
        ("my plan.md", "'my plan.md'"),
        ("a$b;(c)&d.txt", "'a$b;(c)&d.txt'"),
        ("Ada's", "'Ada''s'"),
        ('say "hi"', "'say \\\"hi\\\"'"),
    ],
)
def test_powershell_takes_a_word_literally(word: str, typed: str) -> None:
    assert POWERSHELL.line(["git", "add", word]) == f"git add {typed}"
