"""What the command line says to a team that types something odd, or whose disk says no."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tune import __main__, runs
from tune.errors import TuneError
from tune.models import BASES
from tune.runs import Record, Run
from tune.settings import SETTINGS, changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Run(tmp_path / "runs" / "good").write(Record("ministral-3b", state="done"))
    Run(tmp_path / "outside").write(Record("ministral-3b", state="done"))
    return tmp_path / "runs"


def test_a_run_of_a_newer_version_is_read(folder: Path) -> None:
    file = folder / "good" / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "new": 1}), "utf-8")
    assert runs.find(folder).record.base == "ministral-3b"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"base": 3}', '{"base": "x", "data": []}'])
def test_a_record_that_was_damaged_says_what_to_do(folder: Path, text: str) -> None:
    (folder / "good" / "run.json").write_text(text, "utf-8")
    with pytest.raises(TuneError, match="cannot be read") as told:
        _ = Run(folder / "good").record
    assert "git restore" in told.value.fix


def test_no_run_is_found_outside_of_the_folder(folder: Path) -> None:
    for name in ("../outside", str(folder.parent / "outside"), ".", ".."):
        with pytest.raises(TuneError, match="There is no run"):
            runs.find(folder, name)


@pytest.mark.parametrize(
    "wanted", [{"epochs": -1.0}, {"epochs": float("nan")}, {"lora_rank": -3}, {"max_length": 1}]
)
def test_an_option_that_makes_no_sense_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(TuneError, match=next(iter(wanted)).upper()):
        changed(SETTINGS, wanted)


def test_an_option_that_is_not_given_changes_nothing() -> None:
    assert changed(SETTINGS, {"epochs": 0, "base_model": ""}) == SETTINGS


def test_the_bases_are_listed_as_json() -> None:
    listed = json.loads(CliRunner().invoke(__main__.app, ["plan", "--list", "--json"]).stdout)
    assert [each["name"] for each in listed] == [base.name for base in BASES]


def test_a_disk_that_is_full_is_told_in_two_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "runs/one")

    monkeypatch.setattr(__main__, "app", full)
    assert __main__.main() == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "runs/one: No space left on device." and told[1].startswith("Fix: ")
