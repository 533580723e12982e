"""The only module that uses TRL: builds its trainer, and runs it."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune import tokens, weights
from tune.progress import Events, Report, stale

if TYPE_CHECKING:
    from tune.dataset import Example
    from tune.train import Job

LR_SCHEDULE = "cosine"
WARM_UP = 0.05  # share of the steps in which the learning rate rises
DROPOUT = 0.05  # of LoRA, against overfitting; 0 for the tiny base, which has everything to learn
EVALUATIONS = 12  # in one training; each ends with a checkpoint
LOGS = 10  # log lines between two evaluations
KEEP = 2  # checkpoints: the best and the newest
Encoded = dict[str, list[int]]  # input_ids, and labels: the answers' tokens, IGNORED elsewhere
IGNORED = -100  # PyTorch's label for "no loss here"


class Stopped(KeyboardInterrupt):
    """Ctrl-C, raised after the current step was finished and saved."""


def build(job: Job, method: str, folder: Path) -> Any:
    """Load the base model and build TRL's trainer; checkpoints go to the folder."""
    weights.quiet()
    from transformers import PrinterCallback
    from trl import SFTTrainer

    sft: Any = SFTTrainer(
        model=weights.load_base(job.base, four_bit=method == "qlora"),
        args=_arguments(job, folder),
        train_dataset=_dataset(job.train),
        eval_dataset=_dataset(job.validation) if job.validation else None,
        processing_class=job.tokenizer,
        peft_config=_lora(job),
    )
    sft.remove_callback(PrinterCallback)
    for each in sft.model.parameters():
        if each.requires_grad:  # TRL keeps QLoRA's in bfloat16, which older GPUs and CPUs lack
            each.data = each.data.float()
    return sft


def fit(sft: Any, job: Job, checkpoint: Path | None, log: Path, report: Report) -> dict[str, Any]:
    """Train to the last step, or until early stopping; return the figures.

    Raises Stopped after Ctrl-C, and TuneError if the loss diverges.
    """
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
            raise Stopped
    return _figures(sft)


def steps(values: Mapping[str, Any], examples: int) -> int:
    """The number of optimizer steps for so many examples with these hyperparameters."""
    batches = math.ceil(examples / (values["batch_size"] * values["processes"]))
    return max(1, math.ceil(values["epochs"] * math.ceil(batches / values["accumulate"])))


def encode(examples: Sequence[Example], tokenizer: Any) -> list[Encoded]:
    """Turn examples into tokens, with labels where the template marks the assistant's text."""
    found = []
    for example in examples:
        ids, marks = tokens.encode(tokenizer, example)
        labels = [token if mark else IGNORED for token, mark in zip(ids, marks, strict=True)]
        found.append({"input_ids": ids, "labels": labels})
    return found


def _dataset(examples: list[Encoded]) -> Any:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    return Dataset.from_list(examples)


def _lora(job: Job) -> Any:
    from peft import LoraConfig

    base, rank = job.base, job.hyperparameters["rank"]
    exact = base.tiny or weights.device() == "mps"  # a Mac drops other values when it recomputes
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0 if exact else DROPOUT,
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
    about |= {"lr_scheduler_type": LR_SCHEDULE, "warmup_steps": math.ceil(WARM_UP * last)}
    evaluate = math.ceil(last / EVALUATIONS)
    about |= {"eval_steps": evaluate, "save_steps": evaluate, "save_total_limit": KEEP}
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
    """Trainer arguments for a device and a number format; the adapter is in 32 bits."""
    import torch

    return {
        "use_cpu": where == "cpu",
        "bf16": where != "cpu" and dtype == torch.bfloat16,
        "fp16": where != "cpu" and dtype == torch.float16,
        "gradient_checkpointing": where != "cpu",  # a third more compute, a fraction of the memory
        "dataloader_pin_memory": where == "cuda",
    }


def _figures(sft: Any) -> dict[str, Any]:
    """Sizes, steps, losses and time of a training that is over."""
    import torch

    state, history = sft.state, sft.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    checked = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
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

    kinds = [signal.SIGINT, signal.SIGTERM] if processes == 1 else []
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield requested
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
