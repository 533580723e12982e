"""The GPUs: this machine's own, and some to rent, with prices."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

GB, MIB = 2**30, 2.0**20  # memory is counted in powers of two, as on the GPUs' labels
LEFT = 0.05  # share of the memory for the desktop and other programs
LENT = 0.7  # share of a Mac's memory for the GPU: macOS allows 65 to 75 %
PATIENCE = 2.5  # seconds: a sleeping driver needs time to wake up

Run = Callable[..., str]


@dataclass(frozen=True)
class Gpu:
    """A GPU. 0 means that a speed or a price is not known.

    memory: bytes, as the driver reports them. tflops: from the data sheet, for 16-bit matrices
    without sparsity. bandwidth: bytes per second. price: dollars per hour at `seller`, on the date
    `read`. flavor: its name at Hugging Face Jobs.
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
    quantizes: bool = True  # whether bitsandbytes works on it, which QLoRA needs

    @property
    def usable(self) -> float:
        return self.memory * (1 - LEFT)


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


def here(run: Run | None = None, system: str = sys.platform) -> Gpu | None:
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
