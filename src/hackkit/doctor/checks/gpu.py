"""Which GPU is there, and which models can be fine-tuned on it?

Warns when a GPU is there that cannot be used. In a fine-tuning project it warns when there is none,
or none that takes what the project is about to train: as its own `plan` reckons, or, before its
environment is installed, by BASE_MODEL and METHOD. Nothing else needs a GPU. The arithmetic is
shown by `--verbose`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding, ok, warning
from hackkit.project.context import Context
from hackkit.system.processes import Ran

TITLE = "GPU"
CATEGORY = Category.ACCELERATOR
SECONDS = 9.0  # a driver that is asleep takes seconds to wake, and so does a project's plan

_GB = 2**30  # memory is counted as cards are sold
_PATIENCE = 2.5  # seconds for each of at most two commands
_PLANS = 3.5  # seconds for the project's own plan
_DEFAULT = "ministral-3b"  # what a project trains that sets no BASE_MODEL

# What is counted for a fine-tune, in bytes:
#
# weights      LoRA keeps them in 16 bits: 2 each. QLoRA keeps the matrices of the layers and of the
#              eyes in 4 bits with doubly quantized constants, 8/64 + 32/(64*256) bits each
#              (Dettmers et al. 2023, "QLoRA", section 3), and the embeddings and the output in 16.
# adapter      rank * (inputs + outputs) of each of a layer's seven matrices (Hu et al. 2021,
#              "LoRA"), each number with its gradient and Adam's two moments, all in 32 bits, as
#              PEFT keeps them: 16.
# activations  with checkpoints: one 16-bit state for each token and layer, and while a layer is
#              computed again its matrices' inputs and outputs, in 16 bits and in the adapter's 32.
# output       TRL computes the loss of 4,096 tokens and 32,768 words at a time, in 16 bits; it
#              keeps each token's last state (in 16 bits) and its gradient (in 32 and in 16).
# overhead     about 1 GB for the driver's context, libraries and workspace; a tenth of the rest is
#              lost to fragmentation. Both are experience, not derived.
#
# Full tuning has no adapter. It keeps the weights in 32 bits, of the layers a 16-bit copy, and for
# each but the eyes, which it does not train, its gradient and Adam's two moments in 32.
#
# A twentieth of the memory is left to the desktop and to whatever else draws on the GPU.
_RANK, _TOKENS = 16, 2048
_SETTING = (
    f"a fine-tune of {_TOKENS:,} tokens at a time, rank {_RANK}, gradient checkpoints, one GPU:"
)
_FULL, _QUARTER = 2.0, (4 + 8 / 64 + 32 / (64 * 256)) / 8
_TRAINED = 16
_METHODS = {"lora": "LoRA", "qlora": "QLoRA", "full": "full tuning"}
_OUTPUT, _TILE = 2 + 4 + 2, (4096, 32768)
_FIXED, _LOST, _LEFT = 1 * _GB, 0.1, 0.05


@dataclass(frozen=True)
class _Model:
    """A model's shape, as its config.json has it; `eyes` are the parameters that see images."""

    name: str
    layers: int
    hidden: int
    inner: int
    vocabulary: int
    tied: bool = False  # the output uses the embeddings
    eyes: float = 0.4e9
    queries: int = 32 * 128
    keys: int = 8 * 128

    @property
    def size(self) -> str:
        return self.name.rsplit(" ", 1)[-1]

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """The inputs and outputs of each matrix of a layer."""
        into, out = (self.hidden, self.inner), (self.inner, self.hidden)
        keys = (self.hidden, self.keys)
        return (
            (self.hidden, self.queries),
            keys,
            keys,
            (self.queries, self.hidden),
            into,
            into,
            out,
        )

    @property
    def in_layers(self) -> int:
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def elsewhere(self) -> float:
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.eyes


# Their parameters come to 3.4, 7.2, 8.5, 13.5 and 23.6 billion without the eyes, as published.
_MODELS = (
    _Model("Ministral 3 3B", 26, 3072, 9216, 131072, tied=True),
    _Model("Mistral 7B", 32, 4096, 14336, 32768, eyes=0),
    _Model("Ministral 3 8B", 34, 4096, 14336, 131072),
    _Model("Ministral 3 14B", 40, 5120, 16384, 131072),
    _Model("Mistral Small 24B", 40, 5120, 32768, 131072),
)


@dataclass(frozen=True)
class _Gpu:
    """A GPU: `memory` in bytes is 0 where it is not told."""

    name: str
    memory: float
    quantizes: bool = True  # whether bitsandbytes, which QLoRA needs, works on it
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> float:
        return self.memory * (1 - _LEFT)


@dataclass(frozen=True)
class _Broken:
    """A GPU that cannot be used: why, and what may mend it."""

    words: str
    fix: str


def check(context: Context) -> Finding:
    seen = _apple(context) if context.system == "darwin" else _nvidia(context) or _amd(context)
    if isinstance(seen, _Broken):
        return warning(seen.words, seen.fix)
    if not seen:
        return _none(context)
    best = max(seen, key=lambda gpu: gpu.memory)
    name = f"{len(seen)} x {best.name}" if len({gpu.name for gpu in seen}) == 1 else best.name
    more = "" if len({gpu.name for gpu in seen}) == 1 else f" and {len(seen) - 1} more"
    words = [name.removeprefix("1 x ") + more, _size(best), *best.notes]
    wish = _wish(context) if context.needs.gpu else None
    if wish is None or not best.memory:
        return ok(f"{', '.join(words)}: {_meaning(best)}", _arithmetic(best))
    message = f"{', '.join(words)}: {wish.verdict(best)}"
    if wish.fits(best):
        return ok(message, _arithmetic(best))
    return warning(message, _plan(context), details=_arithmetic(best))


def _none(context: Context) -> Finding:
    if not context.needs.gpu:
        return ok("none seen: only fine-tuning would need one", _arithmetic(None))
    wish = _wish(context)
    message = f"none: a rehearsal works without one, {wish.words} needs one with {wish.size}"
    return warning(message, _plan(context), details=_arithmetic(None))


def _plan(context: Context) -> str:
    """Return the command that shows the arithmetic, what would help, and what can be rented."""
    return f"uv run python -m {_package(context)} plan"


def _package(context: Context) -> str:
    return (context.project.package if context.project else "") or "tune"


def _size(gpu: _Gpu) -> str:
    return f"{gpu.memory / _GB:.0f} GB" if gpu.memory else "memory not told"


# What the project is about to train


@dataclass(frozen=True)
class _Wish:
    """A base and a method, and the bytes that they take; 0 where nobody can tell."""

    base: str
    method: str
    takes: float

    @property
    def words(self) -> str:
        return f"{self.base} by {_METHODS.get(self.method, self.method)}"

    @property
    def size(self) -> str:
        return f"{self.takes / _GB / (1 - _LEFT):.0f} GB" if self.takes else "enough memory"

    def fits(self, gpu: _Gpu) -> bool:
        return self.takes <= gpu.usable and (self.method != "qlora" or gpu.quantizes)

    def verdict(self, gpu: _Gpu) -> str:
        """Tell whether it fits there, and by how much."""
        if self.method == "qlora" and not gpu.quantizes:
            return f"{self.words} does not work on it, as bitsandbytes needs an NVIDIA GPU"
        if not self.takes:
            return f"nobody can tell here whether {self.words} fits"
        fits = "fits" if self.fits(gpu) else "does not fit"
        return f"{self.words} takes {self.takes / _GB:.1f} GB and {fits}"


def _wish(context: Context) -> _Wish:
    """Return what the project's plan says, or what its variables do."""
    planned = _planned(context)
    if planned:
        return planned
    base = context.value("BASE_MODEL") or _DEFAULT
    method = context.value("METHOD").lower() or "lora"
    size = re.search(r"(?<![\w.])(3|7|8|14|24)b(?![a-z0-9])", base.lower())
    number = f"{size[1]}B" if size else "24B" if "mistral-small" in base.lower() else ""
    model = next((each for each in _MODELS if each.size == number), None)
    known = model is not None and method in _METHODS
    takes = sum(_shares(model, _METHODS[method])) if model and known else 0
    return _Wish(base.rsplit("/", 1)[-1], method, takes)


def _planned(context: Context) -> _Wish | None:
    """Ask the project's own code, which knows its rows and every setting."""
    project = context.project
    if project is None or not project.installed:
        return None
    words = (str(project.python), "-m", _package(context), "plan", "--json")
    ran = context.run(*words, folder=project.folder, seconds=_PLANS)
    if ran is None or not ran.ok:
        return None
    try:
        said = json.loads(ran.out)
        training = said["training"]
        return _Wish(training["base"]["name"], training["method"], float(said["bytes"]))
    except (ValueError, TypeError, KeyError):
        return None


# What fits


def _fitting(gpu: _Gpu) -> dict[str, list[_Model]]:
    methods = ("LoRA", "QLoRA") if gpu.quantizes else ("LoRA",)
    return {
        method: [model for model in _MODELS if sum(_shares(model, method)) <= gpu.usable]
        for method in methods
    }


def _meaning(gpu: _Gpu) -> str:
    if not gpu.memory:
        return "see --verbose for what a fine-tune needs"
    words, covered = [], 0
    for method, models in _fitting(gpu).items():
        if len(models) > covered:
            words.append(f"{method} up to {models[-1].size}")
        covered = max(covered, len(models))
    return ", ".join(words) or f"too small to fine-tune even {_MODELS[0].size}"


def _shares(model: _Model, method: str) -> tuple[float, float, float, float, float]:
    """Return the bytes of weights, adapter, activations, output and overhead, as counted above."""
    per_token = sum(inputs + outputs for inputs, outputs in model.matrices)
    full = method == _METHODS["full"]
    each = _QUARTER if method == "QLoRA" else _FULL
    unquantized = model.elsewhere - model.eyes
    weights = (model.in_layers + model.eyes) * each + unquantized * _FULL
    adapter = _RANK * per_token * model.layers * _TRAINED
    if full:
        trained = model.in_layers + unquantized
        weights = model.in_layers * _FULL + trained * _TRAINED + model.eyes * 4
        adapter = 0
    activations = _TOKENS * (model.layers * model.hidden * 2 + per_token * (2 if full else 2 + 4))
    tile = min(_TOKENS, _TILE[0]) * min(model.vocabulary, _TILE[1]) * 2
    output = _TOKENS * model.hidden * _OUTPUT + tile
    rest = weights + adapter + activations + output
    return weights, adapter, activations, output, _FIXED + _LOST * rest


def _arithmetic(gpu: _Gpu | None) -> tuple[str, ...]:
    methods = ("LoRA", "QLoRA") if gpu is None or gpu.quantizes else ("LoRA",)
    lines = [_line(model, method, gpu) for model in _MODELS for method in methods]
    without = () if len(methods) > 1 else ("QLoRA: bitsandbytes needs an NVIDIA GPU",)
    return (_SETTING, *lines, *without)


def _line(model: _Model, method: str, gpu: _Gpu | None) -> str:
    names = ("weights", "adapter", "activations", "output", "overhead")
    shares = _shares(model, method)
    terms = " + ".join(
        f"{name} {share / _GB:.1f}" for name, share in zip(names, shares, strict=True)
    )
    fits = "fits" if gpu and sum(shares) <= gpu.usable else "too large"
    verdict = f", {fits}" if gpu and gpu.memory else ""
    return f"{model.name}, {method}: {terms} = {sum(shares) / _GB:.1f} GB{verdict}"


# What is there


def _nvidia(context: Context) -> tuple[_Gpu, ...] | _Broken:
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    ran = context.run("nvidia-smi", *query, seconds=_PATIENCE)
    if ran is None:
        return ()
    if not ran.ok:
        return _broken(ran, context)
    rows = [[cell.strip() for cell in row.split(",")] for row in ran.out.splitlines()]
    # The table that it prints when asked nothing is the one place that names CUDA's version.
    table = context.run("nvidia-smi", seconds=_PATIENCE)
    cuda = re.search(r"CUDA(?: \w+)? Version\s*:\s*(\d+\.\d+)", table.out if table else "")
    cudas = (f"CUDA {cuda[1]}",) if cuda else ()
    return tuple(
        _Gpu(
            name=f"NVIDIA {name.removeprefix('NVIDIA ')}",
            memory=float(memory) * 2**20 if memory.isdecimal() else 0,
            notes=(f"driver {driver}", *cudas),
        )
        for name, memory, driver in (row for row in rows if len(row) == len(query) + 1)
    )


def _broken(ran: Ran, context: Context) -> _Broken:
    if ran.timed_out:
        return _Broken(f"NVIDIA: nvidia-smi did not answer in {_PATIENCE} s", "nvidia-smi")
    said = " ".join(f"{ran.out} {ran.err}".split())
    fix = "open https://www.nvidia.com/drivers"
    if "mismatch" in said:
        fix = "shutdown /r /t 60" if context.system == "windows" else "sudo reboot"
        return _Broken("NVIDIA: the driver was updated, and the old one still runs", fix)
    if "No devices" in said:
        return _Broken("NVIDIA: the driver is there, but it sees no GPU", fix)
    if context.system == "linux":
        fix = "sudo modprobe nvidia"
    return _Broken("NVIDIA: a driver is installed, but it does not run", fix)


def _apple(context: Context) -> tuple[_Gpu, ...]:
    ran = context.run("sysctl", "-n", "machdep.cpu.brand_string")
    if ran is None or "Apple" not in ran.out:  # a Mac with an Intel processor
        return ()
    lent = 0.7  # of the memory that GPU and processor share: macOS lends 65 to 75 %
    memory = context.memory().total * lent
    name = "Apple silicon" if "Virtual" in ran.out else ran.out
    return (_Gpu(name, memory, quantizes=False, notes=("shared with the processor",)),)


def _amd(context: Context) -> tuple[_Gpu, ...]:
    """Ask AMD's older tool, then its newer one, in whose answers the names vary by version."""
    ran = context.run(
        "rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json", seconds=_PATIENCE
    ) or context.run("amd-smi", "static", "--asic", "--vram", "--json", seconds=_PATIENCE)
    if ran is None or not ran.ok:
        return ()
    try:
        said = json.loads(ran.out)
    except ValueError:
        return ()
    cards = [dict(_leaves(card)) for card in _cards(said)]
    found = [
        _Gpu(_amd_name(card), _amd_memory(card), quantizes=False)
        for card in cards
        if _amd_memory(card)
    ]
    return tuple(found)


def _cards(said: object) -> Iterator[object]:
    if isinstance(said, dict):
        inside = said.get("gpu_data")
        yield from inside if isinstance(inside, list) else said.values()
    elif isinstance(said, list):
        yield from said


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield what a nested answer says, each under its path: "vram size value"."""
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
