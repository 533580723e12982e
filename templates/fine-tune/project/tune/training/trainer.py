"""The only module that talks to TRL: builds its trainer, and listens to it."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tune.errors import TuneError
from tune.settings import Settings
from tune.training import checkpoints, job, processes, weights
from tune.training.job import Job, Pace
from tune.training.progress import Log, failure

SCHEDULE = "cosine"  # how the learning rate falls
WARM_UP = 0.05  # of all steps: it rises first
DROPOUT = 0.05  # of LoRA, against learning by heart; none where all is to be learned


class Stopped(KeyboardInterrupt):
    """Ctrl-C, after the step at hand was finished and saved."""


@dataclass(frozen=True)
class Fitting:
    """TRL's trainer, its pace, and what it trains."""

    sft: Any
    pace: Pace
    patience: int
    trained: int  # parameters that change
    parameters: int  # all of them

    @property
    def figures(self) -> dict[str, Any]:
        return {"trained_parameters": self.trained, "parameters": self.parameters}


def build(work: Job, settings: Settings, folder: Path) -> Fitting:
    """Load the base and set everything up; checkpoints go to the folder."""
    weights.quiet()
    from transformers import PrinterCallback
    from trl import SFTTrainer

    train = dataset(work.train, work)
    pace = job.pace(work, len(train))
    model = _model(work, settings.method)
    sft: Any = SFTTrainer(
        model=model,
        args=_arguments(work, pace, folder),
        train_dataset=train,
        eval_dataset=dataset(work.validation, work) if work.validation else None,
        processing_class=work.tokenizer,
        peft_config=None if settings.method == "full" else _lora(work),
    )
    sft.remove_callback(PrinterCallback)
    trained = [each for each in sft.model.parameters() if each.requires_grad]
    for each in trained:  # TRL keeps QLoRA's in bfloat16, which older GPUs and processors lack
        each.data = each.data.float()
    patience = work.knobs["early_stop"] if work.validation else 0
    count, parameters = sum(each.numel() for each in trained), model.num_parameters()
    return Fitting(sft, pace, patience, count, parameters)


def fit(fitting: Fitting, checkpoint: Path | None, log: Log, board: Path) -> None:
    """Train until the last step, or until nothing gets better. Raises Stopped after Ctrl-C."""
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
    """Whether a run was killed after its last step, before its model was put in place."""
    state = checkpoints.state(checkpoint)
    enough = checkpoints.stale(state["log_history"]) >= fitting.patience > 0
    return enough or state["global_step"] >= fitting.pace.steps


def _model(work: Job, method: str) -> Any:
    import torch

    # All weights are trained in 32 bits: in 16, small steps of the optimizer would be lost
    dtype = torch.float32 if method == "full" else None
    model = weights.load_base(work.base, four_bit=method == "qlora", dtype=dtype)
    if method == "full" and work.base.image_text:  # what sees learns nothing from text
        for name, each in model.named_parameters():
            each.requires_grad_("vision_tower" not in name and "projector" not in name)
    return model


def _lora(work: Job) -> Any:
    from peft import LoraConfig

    targets, rank = work.base.targets, work.knobs["rank"]
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0 if work.base.tiny else _dropout(weights.device()),
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=["embed_tokens", "lm_head"] if work.base.tiny else None,
        task_type="CAUSAL_LM",
    )


def _dropout(where: str) -> float:
    """None on a Mac's GPU: PyTorch throws other dice there when it computes a layer again."""
    return 0 if where == "mps" else DROPOUT


def _arguments(work: Job, pace: Pace, folder: Path) -> Any:
    from trl import SFTConfig

    knobs, (size, times) = work.knobs, work.batch
    return SFTConfig(
        output_dir=str(folder),
        max_steps=pace.steps,
        per_device_train_batch_size=size,
        per_device_eval_batch_size=size,
        gradient_accumulation_steps=times,
        learning_rate=knobs["learning_rate"],
        lr_scheduler_type=SCHEDULE,
        warmup_steps=math.ceil(WARM_UP * pace.steps),
        seed=knobs["seed"],
        eval_strategy="steps" if work.validation else "no",
        eval_steps=pace.evaluate,
        save_steps=pace.evaluate,
        save_total_limit=checkpoints.KEEP,
        metric_for_best_model="loss" if work.validation else None,
        greater_is_better=False,
        logging_steps=pace.log,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        max_length=None,  # longer rows are already left out, and counted
        padding_free=knobs["packing"],
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are tokens and labels already
        ddp_find_unused_parameters=False,  # all that is trained is used
        disable_tqdm=True,
        report_to="none",
        **hardware(weights.device(), weights.precision()),
    )


def hardware(where: str, dtype: Any) -> dict[str, Any]:
    """How a training runs there on weights of that kind; 16-bit ones meet the adapter's 32 bits."""
    import torch

    return {
        "use_cpu": where == "cpu",
        "bf16": where != "cpu" and dtype == torch.bfloat16,
        "fp16": where != "cpu" and dtype == torch.float16,
        "gradient_checkpointing": where != "cpu",  # a third more work for a fraction of the memory
        "dataloader_pin_memory": where == "cuda",
    }


def dataset(examples: list[job.Example], work: Job) -> Any:
    """Rows for TRL; with packing several to a sequence, which do not see each other."""
    from datasets import Dataset, disable_progress_bars
    from trl import pack_dataset

    disable_progress_bars()
    rows = Dataset.from_list([asdict(example) for example in examples])
    return pack_dataset(rows, work.knobs["max_length"]) if work.knobs["packing"] else rows


def _board(folder: Path, checkpoint: Path | None) -> Any:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    step = checkpoints.state(checkpoint)["global_step"] + 1 if checkpoint else None
    return TensorBoardCallback(SummaryWriter(str(folder), purge_step=step))


def _listener(patience: int, log: Log, stop: threading.Event) -> Any:
    """What reacts to TRL's events: keeps the log, and ends a training that gets no better."""
    from transformers import TrainerCallback

    class Listener(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            log.begin()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **at: Any) -> None:
            if processes.is_main():
                log.add(state.global_step, state.max_steps, logs)
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            words = len(at["processing_class"])  # of the vocabulary
            if "loss" in logs and (problem := failure(losses, words, state.global_step)):
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
    """Turn Ctrl-C, and a machine that is taken away, into a wish to stop after this step.

    A second Ctrl-C stops at once. Several processes stop at once as well: they could not agree on
    a step.
    """
    wish = threading.Event()
    kinds = [signal.SIGINT, signal.SIGTERM]
    if threading.current_thread() is not threading.main_thread() or processes.count() > 1:
        yield wish
        return
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def stop(kind: int, frame: Any) -> None:
        wish.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for kind in kinds:
        signal.signal(kind, stop)
    try:
        yield wish
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
