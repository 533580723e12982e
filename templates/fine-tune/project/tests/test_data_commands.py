"""The commands check, convert and split, as a team types them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tune.__main__ import app
from tune.settings import ROOT

GOOD = [{"prompt": f"question {at}", "completion": f"answer {at}"} for at in range(60)]


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in GOOD), encoding="utf-8")
    return path


def test_check_ends_with_0_on_good_examples(file: Path) -> None:
    assert run("check", file).exit_code == 0


def test_check_ends_with_1_on_an_error(file: Path) -> None:
    file.write_text("{\n", encoding="utf-8")
    done = run("check", file)
    assert done.exit_code == 1
    assert "line 1" in done.stdout


def test_check_finds_the_sample_data_good() -> None:
    assert run("check").exit_code == 0


def test_check_prints_one_document_of_json_and_nothing_else(file: Path) -> None:
    command = [sys.executable, "-m", "tune", "check", "--json", file]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert json.loads(done.stdout)["files"][file.as_posix()]["examples"] == 60
    assert done.stderr == b""


def test_a_missing_file_is_an_error_of_two_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tune", "check", tmp_path / "rows.jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1
    assert "rows.jsonl does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_convert_writes_chat_examples(file: Path) -> None:
    source, target = file.with_name("rows.csv"), file.with_name("rows.jsonl")
    source.write_text("text,label\nHi,Hello\n", encoding="utf-8")
    assert run("convert", source, target).exit_code == 0
    said = json.loads(target.read_text("utf-8"))["messages"]
    assert [message["content"] for message in said] == ["Hi", "Hello"]


def test_split_writes_three_files_beside_it(file: Path) -> None:
    assert run("split", file).exit_code == 0
    counts = {
        name: len(file.with_name(f"{name}.jsonl").read_text("utf-8").splitlines())
        for name in ("train", "validation", "test")
    }
    assert counts == {"train": 48, "validation": 6, "test": 6}


def test_split_overwrites_when_asked(file: Path) -> None:
    assert [run("split", file, *more).exit_code for more in ((), (), ("--replace",))] == [0, 1, 0]


def test_convert_ends_with_1_and_names_the_first_lines_that_it_left_out(file: Path) -> None:
    file.write_text(json.dumps(GOOD[0]) + "\n{" * 100, encoding="utf-8")
    done = run("convert", file, file.with_name("new.jsonl"))
    assert done.exit_code == 1
    assert done.stderr.count("Left out") == 20
    assert "100 left out" in done.stderr


def test_columns_that_are_not_used_are_named_with_their_rows(file: Path) -> None:
    rows = [
        {**row, "source": "web", "id": n, "note": "" if n else "a"} for n, row in enumerate(GOOD)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    converted = file.with_name("new.jsonl")
    said = run("convert", file, converted)
    for text in (said.stderr, " ".join(run("check", file).stdout.split())):
        assert '60 rows have a column "source", which is not used.' in text
        assert '60 rows have a column "id", which is not used.' in text
        assert '1 row has a column "note", which is not used.' in text
    assert (said.exit_code, run("check", file).exit_code) == (0, 0)
    assert "not used" not in run("check", converted).stdout
