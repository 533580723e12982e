"""What the command line says after unusual input, or when the disk fails."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tune import __main__, rehearse, runs, train
from tune.errors import TuneError, run_app
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"base": 3}',
        '{"base": "", "data": []}',
        '{"base": "", "data": {"train": 3}}',
    ],
)
def test_a_record_that_was_damaged_says_what_to_do(folder: Path, text: str) -> None:
    (folder / "good" / "run.json").write_text(text, "utf-8")
    with pytest.raises(TuneError, match="cannot be read") as caught:
        _ = Run(folder / "good").record
    assert "git restore" in caught.value.fix


def test_no_run_is_found_outside_of_the_folder(folder: Path) -> None:
    for name in ("../outside", str(folder.parent / "outside"), ".", ".."):
        with pytest.raises(TuneError, match="There is no run"):
            runs.find(folder, name)


def test_a_run_that_is_not_found_says_what_to_do_instead(tmp_path: Path) -> None:
    def fix(name: str) -> str:
        with pytest.raises(TuneError) as caught:
            runs.find(tmp_path, name)
        return caught.value.fix.removeprefix("uv run python -m tune ")

    assert fix("") == "rehearse"
    Run(tmp_path / "half").write(Record("ministral-3b"))
    assert fix("") == "train --resume"
    assert fix("haf") == "runs"


def test_a_rehearsal_hides_no_real_model(tmp_path: Path) -> None:
    for age, name in enumerate(("rehearsal-2", "real", "rehearsal-1")):  # the youngest first
        run = Run(tmp_path / name)
        run.write(Record("ministral-3b", state="done"))
        os.utime(run.folder / "run.json", (1e9 - age, 1e9 - age))
    assert runs.find(tmp_path).name == "real"
    shutil.rmtree(tmp_path / "real")
    assert runs.find(tmp_path).name == "rehearsal-2"


@pytest.mark.parametrize(
    "wanted", [{"epochs": -1.0}, {"epochs": float("nan")}, {"lora_rank": -3}, {"max_length": 1}]
)
def test_an_invalid_option_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(TuneError, match=next(iter(wanted)).upper()):
        changed(SETTINGS, wanted)


def test_an_option_that_is_not_given_changes_nothing() -> None:
    assert changed(SETTINGS, {"epochs": 0, "base_model": ""}) == SETTINGS


def test_the_bases_are_listed_as_json() -> None:
    listed = json.loads(CliRunner().invoke(__main__.app, ["plan", "--list", "--json"]).stdout)
    assert [each["name"] for each in listed] == [base.name for base in BASES]


def test_a_full_disk_is_an_error_of_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device", "runs/one")

    assert run_app(full, "python -m tune") == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == "runs/one: No space left on device." and printed[1].startswith("Fix: ")


def test_missing_training_rows_are_an_error_even_if_there_are_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = SETTINGS.model_copy(update={"train_file": tmp_path / "gone.jsonl"})
    monkeypatch.setattr(__main__, "SETTINGS", gone)
    done = CliRunner().invoke(__main__.app, ["check"])
    assert done.exit_code == 1
    assert "gone.jsonl" in f"{done.output} {done.exception}"


def test_a_training_that_is_stopped_before_its_run_exists_offers_no_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "SETTINGS", SETTINGS.model_copy(update={"runs_dir": tmp_path}))
    monkeypatch.setattr(train, "train", stopped)
    done = CliRunner().invoke(__main__.app, ["train", "--name", "early"])
    assert done.exit_code == 130
    assert "Stopped" in done.output and "--resume" not in done.output


def test_a_rehearsal_that_is_stopped_leaves_no_files(tmp_path: Path) -> None:
    def stopped(stage: rehearse.Stage) -> str:
        stage.run.write(Record("tiny"))
        raise KeyboardInterrupt

    settings = SETTINGS.model_copy(update={"runs_dir": tmp_path})
    with pytest.raises(KeyboardInterrupt):
        rehearse.rehearse(settings, parts={"train": stopped})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("Error while serializing: No space left on device", "free some space"),
        ("Error while deserializing header: invalid header length", "copy its folder again"),
    ],
)
def test_weights_that_cannot_be_written_or_read_end_a_rehearsal_with_a_fix(
    said: str, fix: str, tmp_path: Path
) -> None:
    def broken(_: rehearse.Stage) -> str:
        raise type("SafetensorError", (Exception,), {})(said)

    settings = SETTINGS.model_copy(update={"runs_dir": tmp_path})
    how = rehearse.rehearse(settings, parts={"train": broken})
    assert not how.ok
    assert said in how.steps[0].says and fix in how.steps[0].says
