"""Finds the GPUs of this machine, by the tools of NVIDIA, AMD and macOS."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hackkit.errors import Problem
from hackkit.system.hardware import Memory
from hackkit.system.processes import Ran, Run

GB = 2**30  # as the memory of GPUs is counted
_PATIENCE = 2.5  # seconds for each of at most two commands


@dataclass(frozen=True)
class Gpu:
    """A GPU; `memory` is in bytes, 0 where it is unknown."""

    name: str
    memory: float
    quantizes: bool = True  # whether bitsandbytes, which QLoRA needs, works on it
    notes: tuple[str, ...] = ()


def find_gpus(run: Run, system: str, memory: Callable[[], Memory]) -> tuple[Gpu, ...] | Problem:
    """Return this machine's GPUs, or why a GPU that is there cannot be used.

    `system` is "linux", "darwin" or "windows"; `memory` measures the main memory.
    """
    if system == "darwin":
        return _apple(run, memory)
    return _nvidia(run, system) or _amd(run)


def _nvidia(run: Run, system: str) -> tuple[Gpu, ...] | Problem:
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    ran = run("nvidia-smi", *query, seconds=_PATIENCE)
    if ran is None:
        return ()
    if not ran.ok:
        return _driver_problem(ran, system)
    rows = [[cell.strip() for cell in row.split(",")] for row in ran.out.splitlines()]
    # Only the table that it prints without options names the version of CUDA.
    table = run("nvidia-smi", seconds=_PATIENCE)
    cuda = re.search(r"CUDA(?: \w+)? Version\s*:\s*(\d+\.\d+)", table.out if table else "")
    cudas = (f"CUDA {cuda[1]}",) if cuda else ()
    return tuple(
        Gpu(
            name=f"NVIDIA {name.removeprefix('NVIDIA ')}",
            memory=float(memory) * 2**20 if memory.isdecimal() else 0,
            notes=(f"driver {driver}", *cudas),
        )
        for name, memory, driver in (row for row in rows if len(row) == len(query) + 1)
    )


def _driver_problem(ran: Ran, system: str) -> Problem:
    if ran.timed_out:
        return Problem(f"NVIDIA: nvidia-smi did not answer in {_PATIENCE} s", "nvidia-smi")
    output = " ".join(f"{ran.out} {ran.err}".split())
    fix = "open https://www.nvidia.com/drivers"
    if "mismatch" in output:
        fix = "shutdown /r /t 60" if system == "windows" else "sudo reboot"
        return Problem("NVIDIA: the driver was updated, and the old one is still loaded", fix)
    if "No devices" in output:
        return Problem("NVIDIA: the driver is installed, but it finds no GPU", fix)
    if system == "linux":
        fix = "sudo modprobe nvidia"
    return Problem("NVIDIA: a driver is installed, but it does not run", fix)


def _apple(run: Run, memory: Callable[[], Memory]) -> tuple[Gpu, ...]:
    ran = run("sysctl", "-n", "machdep.cpu.brand_string")
    if ran is None or "Apple" not in ran.out:  # a Mac with an Intel processor
        return ()
    share = 0.7  # of the main memory: macOS gives a GPU 65 to 75 %
    name = "Apple silicon" if "Virtual" in ran.out else ran.out
    return (
        Gpu(name, memory().total * share, quantizes=False, notes=("shared with the processor",)),
    )


def _amd(run: Run) -> tuple[Gpu, ...]:
    """Ask AMD's older tool, then its newer one, whose key names vary by version."""
    ran = run(
        "rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json", seconds=_PATIENCE
    ) or run("amd-smi", "static", "--asic", "--vram", "--json", seconds=_PATIENCE)
    if ran is None or not ran.ok:
        return ()
    try:
        content = json.loads(ran.out)
    except ValueError:
        return ()
    cards = [dict(_leaves(card)) for card in _cards(content)]
    sizes = [(card, _amd_memory(card)) for card in cards]
    return tuple(Gpu(_amd_name(card), size, quantizes=False) for card, size in sizes if size)


def _cards(content: object) -> Iterator[object]:
    if isinstance(content, dict):
        inside = content.get("gpu_data")
        yield from inside if isinstance(inside, list) else content.values()
    elif isinstance(content, list):
        yield from content


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value of nested JSON with its path: "vram size value"."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name} {key}".strip().lower())
    else:
        yield name, str(value)


def _amd_name(card: dict[str, str]) -> str:
    names = (card.get(key, "") for key in ("card series", "asic market_name", "card model"))
    name = next((name for name in names if name and name != "N/A"), "GPU")
    return f"AMD {name.removeprefix('AMD ')}"


def _amd_memory(card: dict[str, str]) -> float:
    sizes = (("vram total memory (b)", 1), ("vram size value", 2**20), ("vram size", 2**20))
    for key, unit in sizes:
        number = card.get(key, "").split(" ")[0]
        if number.isdecimal():
            return int(number) * unit
    return 0
