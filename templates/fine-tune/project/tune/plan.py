"""Estimates a training's memory, time and cost, on this machine and on rented GPUs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tune import models
from tune.estimate import (
    ACCURACY,
    Rows,
    Term,
    Training,
    inference_memory,
    memory,
    seconds,
)
from tune.gpus import GB, RENTABLE, Gpu
from tune.models import Base, Method
from tune.settings import Settings

SAMPLE = 2_000  # rows whose tokens are counted
LIGHTER: dict[Method, tuple[Method, ...]] = {
    "full": ("lora", "qlora"),
    "lora": ("qlora",),
    "qlora": (),
}
LAUNCH = "accelerate launch --config_file cloud/accelerate.yaml"


@dataclass(frozen=True)
class Offer:
    """The estimate for one GPU; hours and cost are None if they are not known."""

    gpu: Gpu
    fits: bool
    hours: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Plan:
    """A training's memory terms, the offers (this machine and GPUs to rent), advice and notes."""

    training: Training
    terms: tuple[Term, ...]
    here: Offer | None
    offers: tuple[Offer, ...]
    advice: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> float:
        return sum(term.bytes for term in self.terms)

    @property
    def cheapest(self) -> Offer | None:
        """The GPU to rent with the lowest cost."""
        priced = [each for each in self.offers if each.fits and each.cost is not None]
        return min(priced, key=lambda offer: offer.cost or 0, default=None)

    def as_dict(self) -> dict[str, Any]:
        """The plan for `--json`."""
        return {
            **asdict(self),
            "bytes": self.bytes,
            "usable": self.here.gpu.usable if self.here else 0,
            "fits": bool(self.here and self.here.fits),
            "passes": self.training.passes,
            "steps": self.training.steps,
            "accuracy": ACCURACY,
        }


def training(settings: Settings, rows: Rows) -> Training:
    """The training that the settings describe. Raises TuneError if the base does not exist."""
    base = models.find(settings.base_model)
    length = settings.max_length if settings.packing else min(settings.max_length, rows.longest)
    batch, accumulate = settings.batch_size, settings.accumulate
    if settings.packing:  # one pack in a batch, and the same number of sequences in a step
        batch, accumulate = 1, batch * accumulate
    return Training(
        base,
        settings.method,
        settings.lora_rank,
        batch,
        length,
        rows,
        accumulate,
        settings.epochs,
        settings.packing,
    )


def make(training: Training, here: Gpu | None) -> Plan:
    """Estimate a training on this machine's GPU, if there is one, and on GPUs to rent."""
    mine = _offer(training, here) if here else None
    return Plan(
        training=training,
        terms=memory(training),
        here=mine,
        offers=tuple(_offer(training, gpu) for gpu in RENTABLE),
        advice=tuple(_advice(training, here)) if here and mine and not mine.fits else (),
        notes=tuple(_notes(training, here)),
    )


def can_merge(training: Training, gpu: Gpu) -> bool:
    """Whether the result can be merged on this GPU: merging loads the base in 16 bits."""
    return inference_memory(training.shape) <= gpu.usable


def measure(path: Path, settings: Settings) -> Rows:
    """Load the rows and count the tokens of up to 2,000 of them with Mistral's tokenizer."""
    from tune import dataset, tokens

    rows = dataset.load(path)
    sample = random.Random(settings.seed).sample(rows, min(SAMPLE, len(rows)))
    return Rows.of([tokens.count(row).total for row in sample], len(rows), settings)


def _offer(training: Training, gpu: Gpu) -> Offer:
    fits = _fits(training, gpu)
    took = seconds(training, gpu) if fits else None
    hours = took / 3600 if took is not None else None
    cost = hours * gpu.price if hours is not None and gpu.price else None
    return Offer(gpu, fits, hours, cost)


def _fits(training: Training, gpu: Gpu) -> bool:
    if training.method == "qlora" and not gpu.quantizes:
        return False
    return sum(term.bytes for term in memory(training)) <= gpu.usable


# What would help


def _advice(training: Training, gpu: Gpu) -> Iterator[str]:
    """The smallest changes that make it fit, as settings; then GPUs to rent."""
    changes = [
        _smaller_batch(training, gpu),
        _shorter(training, gpu),
        _lighter_method(training, gpu),
        _smaller_base(training, gpu),
    ]
    found = [change for change in changes if change]
    yield from found or [change for change in [_all_together(training, gpu)] if change]
    rentable = [each for each in RENTABLE if _fits(training, each)]
    if rentable:
        yield f"or rent a larger GPU: {', '.join(each.name for each in rentable[:3])}"
    else:
        yield "it fits no single GPU listed here with these settings"


def _smaller_batch(training: Training, gpu: Gpu) -> str:
    for batch in _halves(training.batch, 1):
        if _fits(replace(training, batch=batch), gpu):
            accumulate = training.accumulate * math.ceil(training.batch / batch)
            return f"BATCH_SIZE={batch} ACCUMULATE={accumulate}: the same step in smaller batches"
    return ""


def _shorter(training: Training, gpu: Gpu) -> str:
    for length in _halves(training.length, 256):
        if _fits(replace(training, length=length), gpu):
            lost = "" if training.packing else "; longer rows are left out"
            return f"MAX_LENGTH={length}: at most half the tokens in a batch{lost}"
    return ""


def _lighter_method(training: Training, gpu: Gpu) -> str:
    for method in LIGHTER[training.method]:
        if _fits(replace(training, method=method), gpu):
            return f"METHOD={method}: {'weights in 4 bits' if method == 'qlora' else 'an adapter'}"
    return ""


def _smaller_base(training: Training, gpu: Gpu) -> str:
    smaller = [base for base in models.BASES if _size(base) < training.shape.parameters]
    smaller = [base for base in smaller if _fits(replace(training, base=base), gpu)]
    if not smaller:
        return ""
    kind = _kind(training.base)
    nearest = max(smaller, key=lambda base: (_size(base), _kind(base) == kind))
    return f"BASE_MODEL={nearest.name}"


def _size(base: Base) -> float:
    return base.shape.parameters if base.shape else 0


def _kind(base: Base) -> str:
    """The model's kind: "instruct" or "reasoning"; other models have only their size here."""
    return base.name.rsplit("-", 1)[-1]


def _all_together(training: Training, gpu: Gpu) -> str:
    lightest = replace(training, batch=1, method="qlora" if gpu.quantizes else "lora")
    if _fits(lightest, gpu):
        accumulate = training.batch * training.accumulate
        return f"METHOD={lightest.method} BATCH_SIZE=1 ACCUMULATE={accumulate}"
    smallest = replace(lightest, base=models.BASES[0])
    if _fits(smallest, gpu):
        return f"BASE_MODEL={models.BASES[0].name} METHOD={lightest.method} BATCH_SIZE=1"
    return ""


def _halves(number: int, least: int) -> Iterator[int]:
    while number > least:
        number = max(least, number // 2)
        yield number


def _notes(training: Training, here: Gpu | None) -> Iterator[str]:
    if here and here.count > 1:
        count = f"--num_processes {here.count}"
        yield f"All {here.count} GPUs: uv run {LAUNCH} {count} -m tune train"
    if not training.base.local:
        size = training.shape.parameters * 2 / 1e9
        yield f"Plan half an hour to install 2 to 7 GB and to download {size:.0f} GB."
    for line in (training.base.note, training.base.trap):
        if line:
            yield f"{training.base.name}: {line}."
    if training.method == "qlora":
        yield "QLoRA needs an NVIDIA GPU and the extra `qlora`."
        whole = f"{inference_memory(training.shape) / GB:.1f} GB of GPU memory"
        yield f"Merging, also for GGUF, takes {whole}; with less, the model answers in 4 bits."
