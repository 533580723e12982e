"""A training that was stopped, killed or interrupted resumes to exactly the same model."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Tuned

from tune import runs, train
from tune.errors import TuneError
from tune.runs import Run, read_log
from tune.settings import ROOT, Settings
from tune.trainer import Progress

pytest.importorskip("trl")

PATIENCE = 600  # seconds until a process counts as stuck
MIDDLE = 50  # a step after several checkpoints, and before the last


class Enough(BaseException):
    """Ends a training immediately, as a power cut does."""


@pytest.fixture(scope="module")
def killed(tuned: Tuned) -> Run:
    """The same training in a separate process, killed after its second checkpoint."""
    run = Run(tuned.settings.runs / "killed")
    process = _started(tuned.settings, run.name)
    deadline = time.monotonic() + PATIENCE
    while not any(entry["step"] > MIDDLE for entry in read_log(run.log)):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"It is not past its middle: {process.communicate()}")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    return run


@pytest.fixture
def copy(killed: Run, tmp_path: Path) -> Run:
    """A copy of the killed process's run."""
    return Run(Path(shutil.copytree(killed.folder, tmp_path / "copy")))


def test_a_killed_run_resumes_to_the_same_bits(copy: Run, tuned: Tuned) -> None:
    assert copy.record.state == "training"
    assert train.train(copy, tuned.settings, resume=True).state == "done"
    assert _bits(copy) == _bits(tuned.run)
    assert _losses(copy) == _losses(tuned.run)


def test_a_damaged_checkpoint_is_deleted_and_the_one_before_it_used(
    copy: Run, tuned: Tuned
) -> None:
    last = runs.newest_checkpoint(copy.checkpoints)
    assert last
    whole = (last / "adapter_model.safetensors").read_bytes()
    (last / "adapter_model.safetensors").write_bytes(whole[:-9])
    assert runs.newest_checkpoint(copy.checkpoints) != last and not last.exists()
    train.train(copy, tuned.settings, resume=True)
    assert _bits(copy) == _bits(tuned.run)


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_with_a_file_that_is_cut_off_is_not_used(copy: Run, name: str) -> None:
    last = runs.newest_checkpoint(copy.checkpoints)
    assert last
    (last / name).write_bytes((last / name).read_bytes()[:50])
    assert runs.newest_checkpoint(copy.checkpoints) != last


def test_a_run_killed_before_its_model_was_written_only_writes_it(copy: Run, tuned: Tuned) -> None:
    in_the_way = copy.folder / "model.part"
    in_the_way.touch()
    with pytest.raises(FileExistsError):
        train.train(copy, tuned.settings, resume=True)
    in_the_way.unlink()
    reported: list[Progress] = []
    train.train(copy, tuned.settings, resume=True, report=reported.append)
    assert reported == [] and _bits(copy) == _bits(tuned.run)


def test_ctrl_c_saves_the_step_and_the_run_resumes(tuned: Tuned) -> None:
    run = Run(tuned.settings.runs / "ctrl-c")

    def interrupt(now: Progress) -> None:
        if now.step == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train.train(run, tuned.settings, report=interrupt)
    state = runs.trainer_state(runs.best_checkpoint(run.checkpoints))
    assert 0 < state["global_step"] < tuned.run.record.figures["steps"]
    train.train(run, tuned.settings, resume=True)
    assert _bits(run) == _bits(tuned.run)


def test_a_run_without_a_complete_checkpoint_starts_again(copy: Run, tuned: Tuned) -> None:
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(TuneError, match="no complete checkpoint"):
        runs.best_checkpoint(copy.checkpoints)

    def enough(now: Progress) -> None:
        raise Enough

    with pytest.raises(Enough):
        train.train(copy, tuned.settings, resume=True, report=enough)
    assert [each["step"] for each in read_log(copy.log)] == [1]


def _started(settings: Settings, name: str) -> subprocess.Popen[str]:
    """Train in a process of its own with these settings, as from `.env`."""
    names = ("base_model", "train_file", "validation_file", "runs_dir")
    names += ("batch_size", "accumulate", "learning_rate", "epochs")
    variables = {each.upper(): str(getattr(settings, each)) for each in names}
    return subprocess.Popen(
        [sys.executable, "-m", "tune", "train", "--name", name],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def _bits(run: Run) -> bytes:
    return (run.model / "adapter_model.safetensors").read_bytes()


def _losses(run: Run) -> list[tuple[float, float]]:
    entries = read_log(run.log)
    return [(each["step"], each.get("loss", each.get("eval_loss"))) for each in entries]
