"""What a training leaves behind, and what it refuses."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Tuned
from filelock import FileLock

from tune import train
from tune.errors import TuneError
from tune.runs import Record, Run, read_log
from tune.settings import Settings
from tune.trainer import Events, Progress

pytest.importorskip("trl")


@pytest.fixture
def quick(tiny_settings: Settings, tmp_path: Path) -> Settings:
    """The same rows and base, and a run of a few steps in its own folder."""
    return tiny_settings.model_copy(update={"runs_dir": tmp_path, "epochs": 0.1})


@pytest.fixture
def started(tuned: Tuned, tmp_path: Path) -> Iterator[Run]:
    """A run that looks as if it was killed before its first checkpoint."""
    run = Run(tmp_path / "started")
    run.write(tuned.run.record)
    run.update(state="training")
    yield run


def test_a_training_leaves_a_model_that_learned(tuned: Tuned) -> None:
    figures = tuned.run.record.figures
    assert figures["eval_loss"] < figures["eval_loss_first"] / 5
    names = {path.name for path in tuned.run.model.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names


def test_the_record_has_the_settings_the_data_and_the_versions(tuned: Tuned) -> None:
    record = tuned.run.record
    assert record.state == "done" and record.method == "lora" and record.started
    assert record.settings["learning_rate"] == 3e-3 and record.settings["seed"] == 42
    assert record.data["train"]["used"] == record.data["train"]["rows"] > 300
    assert len(record.data["validation"]["sha256"]) == 64
    assert {"torch", "trl", "peft"} <= record.versions.keys()
    assert record.figures["seconds"] > 0


def test_the_log_has_a_line_for_each_logged_step(tuned: Tuned) -> None:
    entries = read_log(tuned.run.log)
    assert [entry["step"] for entry in entries] == sorted(entry["step"] for entry in entries)
    assert entries[-1]["step"] == tuned.run.record.figures["steps"]
    assert {"loss", "learning_rate", "seconds", "epoch"} <= entries[0].keys()
    assert min(each["eval_loss"] for each in entries if "eval_loss" in each) == pytest.approx(
        tuned.run.record.figures["eval_loss"]
    )


def test_a_done_run_keeps_no_checkpoints(tuned: Tuned) -> None:
    assert not tuned.run.checkpoints.exists()


def test_every_step_is_reported_with_the_time_that_is_left(quick: Settings) -> None:
    reported: list[Progress] = []
    train.train(Run(quick.runs / "reported"), quick, report=reported.append)
    assert reported[-1].step == reported[-1].steps > 1
    assert reported[0].seconds_left > 0 == reported[-1].seconds_left
    assert any(each.checked and each.eval_loss for each in reported)


def test_a_run_that_exists_is_never_overwritten(tuned: Tuned) -> None:
    before = tuned.run.record
    with pytest.raises(TuneError, match="already"):
        train.train(tuned.run, tuned.settings)
    assert tuned.run.record == before


def test_resuming_a_done_run_changes_nothing(tuned: Tuned) -> None:
    model = tuned.run.model / "adapter_model.safetensors"
    before = model.stat().st_mtime_ns
    assert train.train(tuned.run, tuned.settings, resume=True) == tuned.run.record
    assert model.stat().st_mtime_ns == before


def test_a_run_whose_data_changed_does_not_resume(started: Run, tuned: Tuned) -> None:
    shorter = started.folder / "train.jsonl"
    lines = tuned.settings.train.read_text("utf-8").splitlines(keepends=True)
    shorter.write_text("".join(lines[1:]), "utf-8")
    settings = tuned.settings.model_copy(update={"train_file": shorter})
    with pytest.raises(TuneError, match="train.jsonl was changed"):
        train.train(started, settings, resume=True)


def test_a_run_whose_settings_changed_does_not_resume(started: Run, tuned: Tuned) -> None:
    settings = tuned.settings.model_copy(update={"lora_rank": 8})
    with pytest.raises(TuneError, match="rank was changed"):
        train.train(started, settings, resume=True)


def test_a_run_resumes_with_the_settings_it_started_with(started: Run, tuned: Tuned) -> None:
    changed = tuned.settings.model_copy(update={"max_length": 99, "learning_rate": 0})
    assert train.saved_settings(started, changed, {}) == tuned.settings


def test_an_option_that_a_run_did_not_start_with_is_refused(started: Run, tuned: Tuned) -> None:
    with pytest.raises(TuneError, match="started with lora_rank 16"):
        train.saved_settings(started, tuned.settings, {"lora_rank": 8})


def test_resume_takes_the_newest_unfinished_run(started: Run, tuned: Tuned) -> None:
    settings = tuned.settings.model_copy(update={"runs_dir": started.folder.parent})
    run, _, goes_on = train.choose(settings, "", resume=True)
    assert (run, goes_on) == (started, True)
    started.update(state="done")
    Run(started.folder.parent / "rehearsal-1").write(Record("tiny"))  # a power cut in a rehearsal
    with pytest.raises(TuneError, match="no unfinished run"):
        train.choose(settings, "", resume=True)


def test_resume_with_a_new_name_starts_a_run(quick: Settings) -> None:
    assert train.choose(quick, "night", resume=True) == (Run(quick.runs / "night"), quick, False)
    Run(quick.runs / "night").write(Record("other"))
    run, settings, goes_on = train.choose(quick, "night", resume=True)
    assert (run.name, settings.base_model, goes_on) == ("night", "other", True)


@pytest.mark.parametrize("name", ["../night", "/night", ".night", "night 2", "a/b"])
def test_a_name_that_cannot_be_a_folder_in_runs_is_refused(name: str, quick: Settings) -> None:
    for resume in (False, True):
        with pytest.raises(TuneError, match="cannot be named"):
            train.choose(quick, name, resume)


def test_a_run_is_named_after_the_hour_and_the_base(quick: Settings) -> None:
    run, *_ = train.choose(quick, "", resume=False)
    assert run.name.endswith("-tiny") and len(run.name) == len("2026-11-25-1432-tiny")


def test_a_training_that_no_longer_improves_stops_early(quick: Settings) -> None:
    still = {"learning_rate": 1e-12, "early_stop": 1, "epochs": 1}
    record = train.train(Run(quick.runs / "still"), quick.model_copy(update=still))
    assert record.state == "done"
    assert record.figures["steps"] < record.figures["steps_planned"]
    assert record.figures["kept_step"] < record.figures["steps"]


def test_a_loss_that_is_not_a_number_names_the_learning_rate(
    quick: Settings, tuned: Tuned, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    base = Path(shutil.copytree(tuned.base, tmp_path / "broken"))
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))  # whatever comes after it is NaN, too
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(TuneError, match="The loss became NaN at step 1") as caught:
        train.train(Run(quick.runs / "wild"), quick.model_copy(update={"base_model": str(base)}))
    assert "LEARNING_RATE" in caught.value.fix


def test_missing_validation_rows_are_reported(quick: Settings) -> None:
    alone = quick.model_copy(update={"validation_file": Path("none.jsonl")})
    reported: list[Progress] = []
    record = train.train(Run(quick.runs / "alone"), alone, report=reported.append)
    assert "No validation rows" in reported[0].note
    assert record.figures["eval_loss"] is None and "validation" not in record.data


def test_qlora_trains_an_adapter_for_the_base_in_full_precision(quick: Settings) -> None:
    pytest.importorskip("bitsandbytes")
    from tune import weights

    if weights.device() == "mps":
        pytest.skip("bitsandbytes does not work there")
    run = Run(quick.runs / "small")
    record = train.train(run, quick.model_copy(update={"method": "qlora"}))
    model = weights.load_tuned(run)
    assert model.num_parameters() == record.figures["parameters"]  # four bits count as a number
    assert not getattr(model, "is_loaded_in_4bit", False)
    assert {each.dtype for each in model.parameters()} == {weights.precision()}


@pytest.mark.parametrize("where", ["cuda", "mps"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_16_bits_meet_an_adapter_of_32(where: str, dtype: str) -> None:
    """Without mixed precision a product of the two fails; `plan` counts on the checkpoints."""
    torch = pytest.importorskip("torch")
    from tune import trainer

    how = trainer.hardware(where, getattr(torch, dtype))
    assert (how["bf16"], how["fp16"]) == (dtype == "bfloat16", dtype == "float16")
    assert how["gradient_checkpointing"] and not how["use_cpu"]
    plain = trainer.hardware("cpu", torch.float32)
    assert plain["use_cpu"] and not plain["bf16"] and not plain["fp16"]


def test_a_log_that_a_crash_has_cut_off_is_read_without_its_last_line(
    tuned: Tuned, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    shutil.copy(tuned.run.log, log)
    whole = len(read_log(log))
    log.write_text(log.read_text("utf-8") + json.dumps({"step": 9})[:5], "utf-8")
    assert len(read_log(log)) == whole


def test_a_run_that_another_process_trains_is_left_alone(
    tiny_settings: Settings, tmp_path: Path
) -> None:
    run = Run(tmp_path / "busy")
    run.folder.mkdir()
    with (
        FileLock(run.folder / ".lock"),
        pytest.raises(TuneError, match="is being trained by another process"),
    ):
        train.train(run, tiny_settings)
    assert not (run.folder / "run.json").exists()


def test_a_loss_that_explodes_ends_the_training(quick: Settings) -> None:
    from transformers import TrainerState

    events = Events(quick.runs / "log.jsonl", lambda now: None, 0, threading.Event())
    state = TrainerState(max_steps=9)
    events.on_train_begin(None, state, None)
    with pytest.raises(TuneError, match=r"exploded at step 4 \(28; it began at 2\)") as caught:
        for state.global_step, loss in enumerate([2.0, 25.0, 26.0, 28.0, 29.0], 1):
            state.log_history.append({"loss": loss, "step": state.global_step, "epoch": 0})
            events.on_log(None, state, None, processing_class=range(32_000))
    assert "LEARNING_RATE" in caught.value.fix


def test_full_memory_says_which_settings_to_lower(quick: Settings) -> None:
    def full(_: Progress) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def broken(_: Progress) -> None:
        raise RuntimeError("another error")

    with pytest.raises(TuneError, match="Out of memory") as caught:
        train.train(Run(quick.runs / "full"), quick, report=full)
    assert "BATCH_SIZE" in caught.value.fix
    with pytest.raises(RuntimeError, match="another"):
        train.train(Run(quick.runs / "broken"), quick, report=broken)
