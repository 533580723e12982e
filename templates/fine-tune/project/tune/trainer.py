"""The only module that uses TRL: builds its trainer, runs it, and reports its progress."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune import weights
from tune.errors import TuneError
from tune.runs import LOGGED, log_line

if TYPE_CHECKING:
    from tune.train import Job

EVALUATIONS = 12  # in one training; each ends with a checkpoint
LOGS = 10  # log lines between two evaluations


@dataclass(frozen=True)
class Progress:
    """A progress report; if `note` is set, it is only that message."""

    step: int = 0
    steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    seconds_left: float = 0
    checked: bool = False  # an evaluation has just finished
    note: str = ""


Report = Callable[[Progress], None]


def build(job: Job, method: str, folder: Path) -> Any:
    """Load the base model and build TRL's trainer; checkpoints go to the folder."""
    weights.quiet()
    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback
    from trl import SFTTrainer

    disable_progress_bars()
    sft: Any = SFTTrainer(
        model=weights.load_base(job.base, four_bit=method == "qlora"),
        args=_arguments(job, folder),
        train_dataset=Dataset.from_list(job.train),
        eval_dataset=Dataset.from_list(job.validation) if job.validation else None,
        processing_class=job.tokenizer,
        peft_config=_lora(job),
    )
    sft.remove_callback(PrinterCallback)
    for each in sft.model.parameters():
        if each.requires_grad:  # TRL keeps QLoRA's in bfloat16, which older GPUs and CPUs lack
            each.data = each.data.float()
    return sft


def fit(sft: Any, job: Job, checkpoint: Path | None, log: Path, report: Report) -> dict[str, Any]:
    """Train to the end, and return the figures. Raises KeyboardInterrupt after Ctrl-C."""
    from transformers import TrainerCallback, TrainerState

    patience = job.hyperparameters["early_stop"] if job.validation else 0
    if checkpoint:
        sft.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    stopped_early = checkpoint and stale(sft.state.log_history) >= patience > 0
    if not stopped_early and sft.state.global_step < sft.args.max_steps:
        with _stoppable(sft.args.world_size) as stop:
            events = type("Callback", (Events, TrainerCallback), {})
            sft.add_callback(events(log, report, patience, stop))
            sft.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if stop.is_set() and sft.state.global_step < sft.args.max_steps:
            raise KeyboardInterrupt
    return _figures(sft)


def steps(values: Mapping[str, Any], examples: int) -> int:
    """The number of optimizer steps for so many examples with these hyperparameters."""
    batches = math.ceil(examples / (values["batch_size"] * values["processes"]))
    return max(1, math.ceil(values["epochs"] * math.ceil(batches / values["accumulate"])))


def _lora(job: Job) -> Any:
    from peft import LoraConfig

    base, rank = job.base, job.hyperparameters["rank"]
    exact = base.tiny or weights.device() == "mps"  # a Mac drops other values when it recomputes
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0 if exact else 0.05,  # against overfitting
        target_modules=base.targets if isinstance(base.targets, str) else list(base.targets),
        modules_to_save=["embed_tokens", "lm_head"] if base.tiny else None,
        task_type="CAUSAL_LM",
    )


def _arguments(job: Job, folder: Path) -> Any:
    from trl import SFTConfig

    values, last = job.hyperparameters, steps(job.hyperparameters, len(job.train))
    size, times = values["batch_size"], values["accumulate"]
    about = {"output_dir": str(folder), "max_steps": last, "seed": values["seed"]}
    about |= {"per_device_train_batch_size": size, "per_device_eval_batch_size": size}
    about |= {"gradient_accumulation_steps": times, "learning_rate": values["learning_rate"]}
    about |= {"lr_scheduler_type": "cosine", "warmup_steps": math.ceil(0.05 * last)}
    evaluate = math.ceil(last / EVALUATIONS)
    about |= {"eval_steps": evaluate, "save_steps": evaluate, "save_total_limit": 2}
    if job.validation:
        about |= {"eval_strategy": "steps", "metric_for_best_model": "loss"}
    return SFTConfig(
        **about,
        greater_is_better=False,
        logging_steps=max(1, evaluate // LOGS),
        logging_nan_inf_filter=False,  # keep NaN losses visible
        max_length=None,  # longer examples are already left out, and counted
        dataset_kwargs={"skip_prepare_dataset": True},  # they are tokens and labels already
        ddp_find_unused_parameters=False,  # every trained parameter is used
        disable_tqdm=True,
        report_to="none",
        **hardware(weights.device(), weights.precision()),
    )


def hardware(where: str, dtype: Any) -> dict[str, Any]:
    """Trainer arguments for a device and the base's number format; the adapter is in 32 bits."""
    import torch

    return {
        "use_cpu": where == "cpu",
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "gradient_checkpointing": where != "cpu",  # a third more compute, a fraction of the memory
        "dataloader_pin_memory": where == "cuda",
    }


def _figures(sft: Any) -> dict[str, Any]:
    """Sizes, steps, losses and time of a training that is over."""
    import torch

    state, history = sft.state, sft.state.log_history
    losses, checked = _all(history, "loss"), _all(history, "eval_loss")
    trained = (each.numel() for each in sft.model.parameters() if each.requires_grad)
    return {
        "trained_parameters": sum(trained),
        "parameters": sft.model.num_parameters(),
        "steps": state.global_step,
        "steps_planned": state.max_steps,
        "kept_step": state.best_global_step or state.global_step,
        "epochs": round(state.epoch, 2),
        "loss_first": losses[0] if losses else None,
        "loss": losses[-1] if losses else None,
        "eval_loss_first": checked[0] if checked else None,
        "eval_loss": min(checked, default=None),
        "seconds": max((entry.get("seconds", 0) for entry in history), default=0),
        "peak_memory": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    }


@contextmanager
def _stoppable(processes: int) -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a request to stop after this step.

    A second Ctrl-C stops immediately. So do several processes: they cannot agree on a step.
    """
    requested = threading.Event()

    def stop(kind: int, frame: Any) -> None:
        requested.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, stop) for kind in kinds if processes == 1}
    try:
        yield requested
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class Events:
    """The callback for TRL's events: writes the log, stops early, and saves after Ctrl-C."""

    def __init__(self, log: Path, report: Report, patience: int, stop: threading.Event) -> None:
        self.log, self.report, self.patience, self.stop = log, report, patience, stop

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started, self.first = time.monotonic(), state.global_step
        self.before = state.log_history[-1].get("seconds", 0) if state.log_history else 0

    def on_log(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        entry, history = state.log_history[-1], state.log_history
        if LOGGED.keys().isdisjoint(entry):
            return
        taken = time.monotonic() - self.started
        entry["seconds"] = round(self.before + taken, 2)  # the checkpoints keep it, too
        if state.is_world_process_zero:
            self.log.write_text("".join(map(log_line, history)), "utf-8", newline="\n")
            self._report(state, entry, taken)
        words, losses = len(about["processing_class"]), _all(history, "loss")
        if "loss" in entry and (why := loss_problem(losses, words, state.global_step)):
            raise TuneError(why, "set a lower LEARNING_RATE in .env, a tenth to begin with")

    def _report(self, state: Any, entry: dict[str, Any], taken: float) -> None:
        step, steps = state.global_step, state.max_steps
        seen = {name: value for each in state.log_history for name, value in each.items()}
        left = taken / max(1, step - self.first) * (steps - step)
        losses = seen.get("loss"), seen.get("eval_loss")
        self.report(Progress(step, steps, *losses, left, checked="eval_loss" in entry))

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if stale(state.log_history) >= self.patience > 0:
            control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stop.is_set():
            control.should_save = control.should_training_stop = True


def _all(history: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [entry[name] for entry in history if name in entry]


def stale(history: Sequence[dict[str, Any]]) -> int:
    """The number of evaluations since the best loss."""
    losses = _all(history, "eval_loss")
    return len(losses) - 1 - losses.index(min(losses)) if losses else 0


def loss_problem(losses: Sequence[float], vocabulary: int, step: int) -> str:
    """What went wrong with the loss by this step, in a sentence; empty while it is healthy.

    A loss has exploded when three in a row are above three times the first one, where noise does
    not take them, and above half of ln(vocabulary), which is half the loss of a blind guess.
    """
    first, last = losses[0], losses[-1]
    if math.isnan(last):
        return f"The loss became NaN at step {step}."
    limit = max(3 * first, math.log(vocabulary) / 2)
    if math.isinf(last) or (len(losses) > 3 and min(losses[-3:]) > limit):
        return f"The loss exploded at step {step} ({last:.3g}; it began at {first:.3g})."
    return ""
