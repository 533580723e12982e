"""The only module that uses TRL: builds its trainer, runs it, and handles its events."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune import checkpoints, job, processes, weights
from tune.errors import TuneError
from tune.job import Job, Schedule
from tune.progress import Log, loss_problem
from tune.settings import Settings

LR_SCHEDULE = "cosine"
WARM_UP = 0.05  # share of the steps in which the learning rate rises
DROPOUT = 0.05  # of LoRA, against overfitting; 0 for the tiny base, which has everything to learn


class Stopped(KeyboardInterrupt):
    """Ctrl-C, raised after the current step was finished and saved."""


@dataclass(frozen=True)
class Fitting:
    """TRL's trainer, its schedule, and the number of parameters."""

    sft: Any
    schedule: Schedule
    patience: int
    trained: int  # trainable parameters
    parameters: int  # all parameters

    @property
    def figures(self) -> dict[str, Any]:
        return {"trained_parameters": self.trained, "parameters": self.parameters}


def build(work: Job, settings: Settings, folder: Path) -> Fitting:
    """Load the base model and build the trainer; checkpoints go to the folder."""
    weights.quiet()
    from transformers import PrinterCallback
    from trl import SFTTrainer

    train = dataset(work.train, work)
    schedule = job.schedule(work, len(train))
    model = _model(work, settings.method)
    sft: Any = SFTTrainer(
        model=model,
        args=_arguments(work, schedule, folder),
        train_dataset=train,
        eval_dataset=dataset(work.validation, work) if work.validation else None,
        processing_class=work.tokenizer,
        peft_config=None if settings.method == "full" else _lora(work),
    )
    sft.remove_callback(PrinterCallback)
    trained = [each for each in sft.model.parameters() if each.requires_grad]
    for each in trained:  # TRL keeps QLoRA's in bfloat16, which older GPUs and CPUs lack
        each.data = each.data.float()
    patience = work.hyperparameters["early_stop"] if work.validation else 0
    count, parameters = sum(each.numel() for each in trained), model.num_parameters()
    return Fitting(sft, schedule, patience, count, parameters)


def fit(fitting: Fitting, checkpoint: Path | None, log: Log, board: Path) -> None:
    """Train to the last step, or until early stopping. Raises Stopped after Ctrl-C."""
    if checkpoint and _is_over(fitting, checkpoint):
        return
    sft = fitting.sft
    with _stoppable() as stop:
        sft.add_callback(_listener(fitting.patience, log, stop))
        if processes.is_main():
            sft.add_callback(_board(board, checkpoint))
        sft.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.is_set() and sft.state.global_step < sft.state.max_steps:
        raise Stopped


def _is_over(fitting: Fitting, checkpoint: Path) -> bool:
    """Whether training is complete: the run was killed after its last step."""
    state = checkpoints.state(checkpoint)
    enough = checkpoints.stale(state["log_history"]) >= fitting.patience > 0
    return enough or state["global_step"] >= fitting.schedule.steps


def _model(work: Job, method: str) -> Any:
    import torch

    # Full tuning needs 32 bits: in 16, small updates of the optimizer would be lost
    dtype = torch.float32 if method == "full" else None
    model = weights.load_base(work.base, four_bit=method == "qlora", dtype=dtype)
    if method == "full" and work.base.image_text:  # text does not train the vision tower
        for name, each in model.named_parameters():
            each.requires_grad_("vision_tower" not in name and "projector" not in name)
    return model


def _lora(work: Job) -> Any:
    from peft import LoraConfig

    targets, rank = work.base.targets, work.hyperparameters["rank"]
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0 if work.base.tiny else _dropout(weights.device()),
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=["embed_tokens", "lm_head"] if work.base.tiny else None,
        task_type="CAUSAL_LM",
    )


def _dropout(where: str) -> float:
    """0 on a Mac's GPU: there PyTorch drops different values when it recomputes a layer."""
    return 0 if where == "mps" else DROPOUT


def _arguments(work: Job, schedule: Schedule, folder: Path) -> Any:
    from trl import SFTConfig

    values, (size, times) = work.hyperparameters, work.batch
    return SFTConfig(
        output_dir=str(folder),
        max_steps=schedule.steps,
        per_device_train_batch_size=size,
        per_device_eval_batch_size=size,
        gradient_accumulation_steps=times,
        learning_rate=values["learning_rate"],
        lr_scheduler_type=LR_SCHEDULE,
        warmup_steps=math.ceil(WARM_UP * schedule.steps),
        seed=values["seed"],
        eval_strategy="steps" if work.validation else "no",
        eval_steps=schedule.evaluate,
        save_steps=schedule.evaluate,
        save_total_limit=checkpoints.KEEP,
        metric_for_best_model="loss" if work.validation else None,
        greater_is_better=False,
        logging_steps=schedule.log,
        logging_nan_inf_filter=False,  # keep NaN losses visible
        max_length=None,  # longer rows are already left out, and counted
        padding_free=values["packing"],
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are tokens and labels already
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


def dataset(examples: list[job.Encoded], work: Job) -> Any:
    """The examples as a dataset for TRL. Packed examples do not attend to each other."""
    from datasets import Dataset, disable_progress_bars
    from trl import pack_dataset

    disable_progress_bars()
    rows = Dataset.from_list([asdict(example) for example in examples])
    values = work.hyperparameters
    return pack_dataset(rows, values["max_length"]) if values["packing"] else rows


def _board(folder: Path, checkpoint: Path | None) -> Any:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    step = checkpoints.state(checkpoint)["global_step"] + 1 if checkpoint else None
    return TensorBoardCallback(SummaryWriter(str(folder), purge_step=step))


def _listener(patience: int, log: Log, stop: threading.Event) -> Any:
    """The callback for TRL's events: writes the log, stops early, and saves after Ctrl-C."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            log.begin()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **at: Any) -> None:
            if processes.is_main():
                log.add(state.global_step, state.max_steps, logs)
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            vocabulary = len(at["processing_class"])
            if "loss" in logs and (problem := loss_problem(losses, vocabulary, state.global_step)):
                raise TuneError(problem, "set a lower LEARNING_RATE in .env, a tenth to begin with")

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if checkpoints.stale(state.log_history) >= patience > 0:
                control.should_training_stop = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if stop.is_set():
                control.should_save = control.should_training_stop = True

    return Listener()


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a request to stop after this step.

    A second Ctrl-C stops immediately. So do several processes: they cannot agree on a step.
    """
    requested = threading.Event()
    kinds = [signal.SIGINT, signal.SIGTERM]
    if threading.current_thread() is not threading.main_thread() or processes.count() > 1:
        yield requested
        return
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def stop(kind: int, frame: Any) -> None:
        requested.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for kind in kinds:
        signal.signal(kind, stop)
    try:
        yield requested
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
