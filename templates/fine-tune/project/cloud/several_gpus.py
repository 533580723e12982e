"""Trains on several GPUs of this machine: each has the whole model and its own examples.

uv run accelerate launch --config_file cloud/accelerate.yaml -m cloud.several_gpus --name night
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tune import screen
from tune import train as training
from tune.errors import TuneError, run_app
from tune.runs import Run
from tune.settings import SETTINGS, Settings
from tune.train import Job
from tune.trainer import Progress


def main(
    name: Annotated[str, typer.Option(help="The run's name; an unfinished run continues.")],
) -> None:
    """Train with the settings of .env; every process runs this function."""
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    run, settings, resume = training.choose(SETTINGS, name, resume=True)
    if resume and run.has_state("done"):
        return
    job = training.prepare(settings, state.num_processes)
    state.wait_for_everyone()  # before the record is written: all must choose alike
    with ExitStack() as lock, screen.training() as report:
        checkpoint = _open(lock, run, settings, job, resume)
        for note in job.notes if state.is_main_process else ():
            report(Progress(note=note))
        figures = training.fit(run, job, settings.method, checkpoint, report)
        if state.is_main_process:
            training.finish(run, job, figures)
            screen.show_trained(run)


def _open(lock: ExitStack, run: Run, settings: Settings, job: Job, resume: bool) -> Path | None:
    """Lock the run in the main process; send its checkpoint, or its error, to the others."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    outcome: list[Path | TuneError | None] = [None]
    if PartialState().is_main_process:
        try:
            opened = training.opened(run, settings, job, resume=resume)
            outcome = [lock.enter_context(opened)]
        except TuneError as error:
            outcome = [error]
    [found] = broadcast_object_list(outcome)
    if isinstance(found, TuneError):
        raise found
    return found


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    sys.exit(run_app(app, "python -m cloud.several_gpus"))
