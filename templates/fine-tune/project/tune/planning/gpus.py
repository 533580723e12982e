"""The GPUs: the one in this machine, and some that can be rented, with what they cost."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

GB, MIB = 2**30, 2.0**20  # memory is counted as cards are sold
LEFT = 0.05  # of the memory is left to the desktop and to whatever else draws on the GPU
LENT = 0.7  # of the memory that a Mac's GPU and processor share: macOS lends 65 to 75 %
PATIENCE = 2.5  # seconds: a driver that is asleep takes some to wake

Run = Callable[..., str]


@dataclass(frozen=True)
class Gpu:
    """A GPU. 0 stands for a speed or a price that is not known.

    memory: bytes, as the driver reports them. tflops: a trillion operations a second of 16-bit
    matrices without sparsity, from the data sheet. bandwidth: bytes a second. price: dollars an
    hour, at `seller`, read on `read`. flavor: its name at Hugging Face Jobs.
    """

    name: str
    memory: float
    tflops: float = 0
    bandwidth: float = 0
    price: float = 0
    seller: str = ""
    read: str = ""
    flavor: str = ""
    count: int = 1
    quantizes: bool = True  # whether bitsandbytes, which QLoRA needs, works on it

    @property
    def usable(self) -> float:
        return self.memory * (1 - LEFT)


# Speeds: NVIDIA's data sheets. Prices: of one GPU on demand, from copies of the sellers' public
# lists (of RunPod, its secure cloud). They change from week to week, so each says when it was read.
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


def here(run: Run | None = None, system: str = sys.platform) -> Gpu | None:
    """This machine's GPU, the largest of several; None where there is none that trains."""
    ask = run or _said
    return _apple(ask) if system == "darwin" else _nvidia(ask)


def _said(*words: str) -> str:
    """What a command prints; nothing where it is not there, fails, or takes too long."""
    try:
        ran = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.decode("utf-8", "replace")


def _nvidia(run: Run) -> Gpu | None:
    said = run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    rows = [[cell.strip() for cell in line.rsplit(",", 1)] for line in said.splitlines()]
    found = [(row[0], int(row[1]) * MIB) for row in rows if len(row) == 2 and row[1].isdecimal()]
    if not found:
        return None
    name, memory = max(found, key=lambda each: each[1])
    name = f"NVIDIA {name.removeprefix('NVIDIA ')}"
    return replace(_like(name, memory), count=[each[1] for each in found].count(memory))


def _like(name: str, memory: float) -> Gpu:
    """What is known of a GPU of that name: its speed, not its price."""
    words = set(re.split(r"[\s-]+", name))
    alike = [gpu for gpu in RENTABLE if _key(gpu) <= words]
    if not alike:
        return Gpu(name, memory)
    nearest = min(alike, key=lambda gpu: abs(gpu.memory - memory))
    return Gpu(name, memory, nearest.tflops, nearest.bandwidth)


def _key(gpu: Gpu) -> set[str]:
    """The words by which a driver's name for it is known: {"RTX", "4090"}, {"A100"}."""
    return {word for word in gpu.name.split() if not word.endswith("GB")}


def _apple(run: Run) -> Gpu | None:
    """Apple silicon: its GPU takes a share of the machine's memory; its speed is not known."""
    chip = run("sysctl", "-n", "machdep.cpu.brand_string").strip()
    memory = run("sysctl", "-n", "hw.memsize").strip()
    if "Apple" not in chip or not memory.isdecimal():
        return None
    return Gpu(chip, int(memory) * LENT, quantizes=False)
