"""Estimates a training's memory, time and cost, on this machine and on rented GPUs."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tune import models
from tune.estimate import (
    ACCURACY,
    GB,
    MIB,
    DataSize,
    Gpu,
    Term,
    Training,
    inference_memory,
    memory,
    seconds,
)
from tune.models import Base, Method
from tune.settings import Settings

SAMPLE = 2_000  # rows whose tokens are counted
LIGHTER: dict[Method, tuple[Method, ...]] = {
    "full": ("lora", "qlora"),
    "lora": ("qlora",),
    "qlora": (),
}
LAUNCH = "accelerate launch --config_file cloud/accelerate.yaml"
LENT = 0.7  # share of a Mac's memory for the GPU: macOS allows 65 to 75 %
PATIENCE = 2.5  # seconds: a sleeping driver needs time to wake up

Run = Callable[..., str]

# Speeds: NVIDIA's data sheets. Prices: one GPU on demand, from the sellers' public lists (RunPod:
# its secure cloud). They change every week, so each has the date on which it was read.
HUB = "Hugging Face Jobs"
_HUB, _RUNPOD = (HUB, "2026-11"), ("RunPod", "2026-11-09")
RENTABLE: tuple[Gpu, ...] = (
    Gpu("T4", 15360 * MIB, 65, 320e9, 0.40, *_HUB, flavor="t4-small"),
    Gpu("L4", 23034 * MIB, 121, 300e9, 0.80, *_HUB, flavor="l4x1"),
    Gpu("A10G", 23028 * MIB, 70, 600e9, 1.00, *_HUB, flavor="a10g-small"),
    Gpu("RTX 4090", 24564 * MIB, 165, 1008e9),
    Gpu("A100 40GB", 40960 * MIB, 312, 1555e9, 1.99, "Lambda", "2026-11-09"),
    Gpu("L40S", 46068 * MIB, 362, 864e9, 1.80, *_HUB, flavor="l40sx1"),
    Gpu("A100 80GB", 81920 * MIB, 312, 2039e9, 1.79, *_RUNPOD, flavor="a100-large"),
    Gpu("H100", 81559 * MIB, 989, 3350e9, 3.99, *_RUNPOD),
    Gpu("H200", 143771 * MIB, 989, 4800e9, 4.59, "RunPod", "2026-10-07", flavor="h200"),
)
FREE = {"T4": "free on Colab, Kaggle"}


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


def training(settings: Settings, data: DataSize) -> Training:
    """The training that the settings describe. Raises TuneError if the base does not exist."""
    base = models.find(settings.base_model)
    length = settings.max_length if settings.packing else min(settings.max_length, data.longest)
    batch, accumulate = settings.batch_size, settings.accumulate
    if settings.packing:  # one pack in a batch, and the same number of sequences in a step
        batch, accumulate = 1, batch * accumulate
    return Training(
        base,
        settings.method,
        settings.lora_rank,
        batch,
        length,
        data,
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


def measure(path: Path, settings: Settings) -> DataSize:
    """Load the rows and count the tokens of up to 2,000 of them with Mistral's tokenizer."""
    from tune import dataset, tokens

    rows = dataset.load(path)
    sample = random.Random(settings.seed).sample(rows, min(SAMPLE, len(rows)))
    return DataSize.of([tokens.count(row).total for row in sample], len(rows), settings)


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


# This machine's GPU


def local_gpu(run: Run | None = None, system: str = sys.platform) -> Gpu | None:
    """This machine's GPU, the largest of several; None if no GPU here can train."""
    ask = run or _output
    return _apple(ask) if system == "darwin" else _nvidia(ask)


def _output(*words: str) -> str:
    """A command's output; empty if it is missing, fails, or takes too long."""
    try:
        ran = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.decode("utf-8", "replace")


def _nvidia(run: Run) -> Gpu | None:
    table = run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.rsplit(",", 1)] for line in table.splitlines()]
    found = [(row[0], int(row[1]) * MIB) for row in rows if len(row) == 2 and row[1].isdecimal()]
    if not found:
        return None
    name, memory = max(found, key=lambda each: each[1])
    name = f"NVIDIA {name.removeprefix('NVIDIA ')}"
    return replace(_like(name, memory), count=[each[1] for each in found].count(memory))


def _like(name: str, memory: float) -> Gpu:
    """The GPU with the speed of a listed one that has the same name; without a price."""
    words = set(re.split(r"[\s-]+", name))
    alike = [gpu for gpu in RENTABLE if _key(gpu) <= words]
    if not alike:
        return Gpu(name, memory)
    nearest = min(alike, key=lambda gpu: abs(gpu.memory - memory))
    return Gpu(name, memory, nearest.tflops, nearest.bandwidth)


def _key(gpu: Gpu) -> set[str]:
    """The words to look for in the driver's name: {"RTX", "4090"}, {"A100"}."""
    return {word for word in gpu.name.split() if not word.endswith("GB")}


def _apple(run: Run) -> Gpu | None:
    """Apple silicon: the GPU uses a share of the machine's memory; its speed is not known."""
    chip = run("sysctl", "-n", "machdep.cpu.brand_string").strip()
    memory = run("sysctl", "-n", "hw.memsize").strip()
    if "Apple" not in chip or not memory.isdecimal():
        return None
    return Gpu(chip, int(memory) * LENT, quantizes=False)
