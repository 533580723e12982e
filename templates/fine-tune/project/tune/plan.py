"""Plans a training: does it fit here, what would help, and what do rented GPUs cost?"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tune import models
from tune.estimate import GB, DataSize, Gpu, Term, Training, inference_memory, memory, seconds
from tune.settings import Settings

SAMPLE = 2_000  # examples whose tokens are counted
MIB = 2.0**20
LENT = 0.7  # share of a Mac's memory for the GPU: macOS allows 65 to 75 %
PATIENCE = 2.5  # seconds: a sleeping driver needs time to wake up

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

Run = Callable[..., str]  # runs a command and returns its output


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
            "fits": bool(self.here and self.here.fits),
            "steps": self.training.steps,
        }


def measure(path: Path, settings: Settings) -> DataSize:
    """Load the examples and count the tokens of up to 2,000 of them with Mistral's tokenizer."""
    from tune import dataset, tokens

    examples = dataset.load(path)
    sample = random.Random(settings.seed).sample(examples, min(SAMPLE, len(examples)))
    return size([tokens.count(each).total for each in sample], len(examples), settings)


def size(lengths: list[int], count: int, settings: Settings) -> DataSize:
    """The size of `count` examples, from the lengths of some in random order."""
    kept = [length for length in lengths if length <= settings.max_length] or [0]
    starts = range(0, len(kept), settings.batch_size)
    batches = [kept[start : start + settings.batch_size] for start in starts]
    padded = sum(max(batch) * len(batch) for batch in batches) / len(kept)
    share = count / len(lengths)
    return DataSize(round(len(kept) * share), round(sum(kept) * share), max(kept), padded)


def training(settings: Settings, data: DataSize) -> Training:
    """The training that the settings describe. Raises TuneError if the base does not exist."""
    return Training(
        base=models.find(settings.base_model),
        method=settings.method,
        rank=settings.lora_rank,
        batch=settings.batch_size,
        length=min(settings.max_length, data.longest),
        data=data,
        accumulate=settings.accumulate,
        epochs=settings.epochs,
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


def _advice(training: Training, gpu: Gpu) -> Iterator[str]:
    """The changes that make it fit, each alone; then GPUs to rent."""
    accumulate = training.batch * training.accumulate
    half = max(256, training.length // 2)
    changes: dict[str, dict[str, Any]] = {
        f"BATCH_SIZE=1 ACCUMULATE={accumulate}: the same step in smaller batches": {"batch": 1},
        f"MAX_LENGTH={half}: longer examples are left out": {"length": half},
        "METHOD=qlora: weights in 4 bits": {"method": "qlora"},
    }
    yield from (text for text, it in changes.items() if _fits(replace(training, **it), gpu))
    kind, limit = training.base.name.rpartition("-")[2], training.base.parameters
    order = sorted(models.BASES, key=lambda base: (-base.parameters, not base.name.endswith(kind)))
    smaller = (base for base in order if base.parameters < limit)
    if base := next((each for each in smaller if _fits(replace(training, base=each), gpu)), None):
        yield f"BASE_MODEL={base.name}"
    rentable = [each.name for each in RENTABLE if _fits(training, each)][:3]
    yield f"or rent a larger GPU: {', '.join(rentable) or 'none of those listed is large enough'}"


def _notes(training: Training, here: Gpu | None) -> Iterator[str]:
    base = training.base
    if here and here.count > 1:
        yield f"It trains on one of the {here.count} GPUs of this machine."
    if not base.local:
        size = training.shape.parameters * 2 / 1e9
        yield f"Plan half an hour to install 2 to 7 GB and to download {size:.0f} GB."
    if base.note:
        yield f"{base.name}: {base.note}."
    if base.image_text:
        yield "Some versions of vLLM silently ignore its adapters: serve merged weights."
    if training.method == "qlora":
        whole = f"{inference_memory(training.shape) / GB:.1f} GB of GPU memory"
        yield f"QLoRA needs an NVIDIA GPU and the extra `qlora`. Merging its result takes {whole}."


# This machine's GPU


def local_gpu(run: Run | None = None, system: str = sys.platform) -> Gpu | None:
    """This machine's GPU, the largest of several; None if no GPU here can train."""
    ask = run or _output
    return _apple(ask) if system == "darwin" else _nvidia(ask)


def _output(*words: str) -> str:
    """A command's output; empty if it is missing, fails, or takes too long."""
    try:
        ran = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.decode("utf-8", "replace")


def _nvidia(run: Run) -> Gpu | None:
    table = run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    found = re.findall(r"^(.+), (\d+)\s*$", table, re.MULTILINE)
    if not found:
        return None
    name, size = max(found, key=lambda each: int(each[1]))
    name, memory = f"NVIDIA {name.removeprefix('NVIDIA ')}", int(size) * MIB
    count = [each[1] for each in found].count(size)
    words = set(re.split(r"[\s-]+", name))
    alike = [gpu for gpu in RENTABLE if {*gpu.name.split()} - {"40GB", "80GB"} <= words]
    like = min(alike, key=lambda gpu: abs(gpu.memory - memory), default=Gpu("", 0))
    return Gpu(name, memory, like.tflops, like.bandwidth, count=count)


def _apple(run: Run) -> Gpu | None:
    """Apple silicon: the GPU uses a share of the machine's memory; its speed is not known."""
    chip = run("sysctl", "-n", "machdep.cpu.brand_string").strip()
    memory = run("sysctl", "-n", "hw.memsize").strip()
    if "Apple" not in chip or not memory.isdecimal():
        return None
    return Gpu(chip, int(memory) * LENT, quantizes=False)
