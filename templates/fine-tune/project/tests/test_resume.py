"""A training that was stopped, killed or interrupted resumes to exactly the same model."""

import _thread
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer

from conftest import Tuned
from tune import __main__ as main
from tune import checkpoints, train
from tune.errors import TuneError
from tune.progress import Progress
from tune.runs import Run, read_log
from tune.settings import ROOT, Settings

pytest.importorskip("trl")

PATIENCE = 600  # seconds that a process may take
MIDDLE = 50  # a step after several checkpoints, and before the last


class Enough(BaseException):
    """Ends a training immediately, as a power cut does."""


@pytest.fixture(scope="module")
def killed(tuned: Tuned) -> Run:
    """The same training in a separate process, killed after its second checkpoint."""
    run = Run(tuned.settings.runs / "killed")
    process = _command(tuned.settings, "-m", "tune", "train", "--name", run.name)
    _wait(process, run)
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
    last = checkpoints.newest(copy.checkpoints)
    assert last
    whole = (last / "adapter_model.safetensors").read_bytes()
    (last / "adapter_model.safetensors").write_bytes(whole[:-9])
    assert checkpoints.newest(copy.checkpoints) != last and not last.exists()
    train.train(copy, tuned.settings, resume=True)
    assert _bits(copy) == _bits(tuned.run)


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt", "rng_state.pth"])
def test_a_checkpoint_is_complete_only_with_every_file(copy: Run, name: str) -> None:
    last = checkpoints.newest(copy.checkpoints)
    assert last and checkpoints.is_whole(last)
    (last / name).write_bytes((last / name).read_bytes()[:50])
    assert not checkpoints.is_whole(last)


def test_a_run_killed_before_its_model_was_written_only_writes_it(copy: Run, tuned: Tuned) -> None:
    in_the_way = copy.folder / "model.part"
    in_the_way.touch()
    with pytest.raises(FileExistsError):
        train.train(copy, tuned.settings, resume=True)
    in_the_way.unlink()
    reported: list[Progress] = []
    train.train(copy, tuned.settings, resume=True, report=reported.append)
    assert reported == [] and _bits(copy) == _bits(tuned.run)


def test_two_processes_train_like_one_and_only_one_reports(tuned: Tuned) -> None:
    run = Run(tuned.settings.runs / "two")
    settings = tuned.settings.model_copy(update={"batch_size": 4})
    launch = ["-m", "accelerate.commands.launch", "--config_file", "cloud/accelerate.yaml", "-m"]
    process = _command(settings, *launch, "tune", "train", "--name", run.name)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert out.count("is done") == 1
    one, two = (each.record.figures["eval_loss"] for each in (tuned.run, run))
    assert two == pytest.approx(one, rel=0.05)


def test_ctrl_c_saves_the_step_and_says_how_to_resume(
    tuned: Tuned, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "SETTINGS", tuned.settings)
    run = Run(tuned.settings.runs / "ctrl-c")
    person = threading.Thread(target=_interrupt_once, args=(run,), daemon=True)
    person.start()
    with pytest.raises(typer.Exit) as exit:
        main.train(name=run.name)
    assert exit.value.exit_code == 130
    how = "uv run python -m tune train --resume ctrl-c"
    assert capsys.readouterr().err == f"Stopped. Continue: {how}\n"
    at = checkpoints.state(checkpoints.best(run.checkpoints))["global_step"]
    assert 0 < at < tuned.run.record.figures["steps"]
    train.train(run, tuned.settings, resume=True)
    assert _bits(run) == _bits(tuned.run)


def test_a_run_without_a_complete_checkpoint_starts_again(copy: Run, tuned: Tuned) -> None:
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(TuneError, match="no complete checkpoint"):
        checkpoints.best(copy.checkpoints)
    with pytest.raises(Enough) as enough:
        train.train(copy, tuned.settings, resume=True, report=_enough)
    assert enough.value.args == (1,)
    assert [each["step"] for each in read_log(copy.log)] == [1]


def _command(settings: Settings, *words: str) -> subprocess.Popen[str]:
    """Start Python with these settings, as from `.env`."""
    names = ("base_model", "train_file", "validation_file", "runs_dir")
    names += ("batch_size", "accumulate", "learning_rate", "epochs")
    variables = {name.upper(): str(getattr(settings, name)) for name in names}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def _wait(process: subprocess.Popen[str], run: Run) -> None:
    """Wait until a run is past its middle."""
    while not any(entry["step"] > MIDDLE for entry in read_log(run.log)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def _interrupt_once(run: Run) -> None:
    while not read_log(run.log):
        time.sleep(0.01)
    _thread.interrupt_main()


def _enough(now: Progress) -> None:
    raise Enough(now.step)


def _bits(run: Run) -> bytes:
    return (run.model / "adapter_model.safetensors").read_bytes()


def _losses(run: Run) -> list[tuple[float, float]]:
    entries = read_log(run.log)
    return [(each["step"], each.get("loss", each.get("eval_loss"))) for each in entries]
