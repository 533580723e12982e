"""Which GPU is there, and which models can be fine-tuned on it?

Warns when a GPU is there but cannot be used. In a fine-tuning project it also warns when there is
no GPU, or none with enough memory for the planned training: as the project's own `plan` estimates
it or, before the project is installed, by its BASE_MODEL and METHOD. Nothing else needs a GPU.
`--verbose` lists how much memory each model needs.
"""

import json
import re
from dataclasses import dataclass

from hackkit.doctor.findings import Category, Finding, Status, ok, warning
from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.system import uv
from hackkit.system.gpus import GB, Gpu, find_gpus
from hackkit.system.wording import listed

TITLE = "GPU"
CATEGORY = Category.ACCELERATOR
SECONDS = 9.0  # a sleeping driver takes seconds to wake up, and so does a project's plan

_PLAN_SECONDS = 3.5  # for the project's own plan
_DEFAULT = "ministral-3b"  # what a project without a BASE_MODEL trains
_METHODS = {"lora": "LoRA", "qlora": "QLoRA"}
# GB that each method takes: what the fine-tune template's plan estimates for 2,048 tokens at a
# time, rank 16 and gradient checkpoints on one GPU.
_NEEDS = {
    "Ministral 3 3B": (10.5, 5.3),
    "Mistral 7B": (18.3, 7.7),
    "Ministral 3 8B": (21.8, 9.9),
    "Ministral 3 14B": (32.8, 13.7),
    "Mistral Small 24B": (54.5, 20.1),
}
_SETTING = "a fine-tune of 2,048 tokens at a time, rank 16, gradient checkpoints, one GPU needs:"
_LEFT = 0.05  # of the memory: for the desktop, and other programs that use the GPU


def _usable(gpu: Gpu) -> float:
    """Return the memory in GB that a training can use."""
    return gpu.memory / GB * (1 - _LEFT)


def _methods(gpu: Gpu | None) -> tuple[str, ...]:
    return ("lora", "qlora") if gpu is None or gpu.quantizes else ("lora",)


@dataclass(frozen=True)
class _Training:
    """A base model, a method, and the GB that they take; 0 where that is unknown."""

    base: str
    method: str
    takes: float

    def __str__(self) -> str:
        return f"{self.base} by {_METHODS.get(self.method, self.method)}"

    @property
    def size(self) -> str:
        return f"{self.takes / (1 - _LEFT):.0f} GB" if self.takes else "enough memory"

    def fits(self, gpu: Gpu) -> bool:
        return self.takes <= _usable(gpu) and (self.method != "qlora" or gpu.quantizes)

    def verdict(self, gpu: Gpu) -> str:
        """Return whether it fits on a GPU, in words."""
        if self.method == "qlora" and not gpu.quantizes:
            return f"{self} does not work on it, as bitsandbytes needs an NVIDIA GPU"
        if not self.takes:
            return f"cannot estimate whether {self} fits"
        fits = "fits" if self.fits(gpu) else "does not fit"
        return f"{self} takes {self.takes:.1f} GB and {fits}"


def check(context: Context) -> Finding:
    seen = find_gpus(context.run, context.system, context.memory)
    if isinstance(seen, Problem):
        return Finding(Status.WARN, seen)
    if not seen:
        return _none(context)
    best = max(seen, key=lambda gpu: gpu.memory)
    alike = len(seen) > 1 and len({gpu.name for gpu in seen}) == 1
    name = f"{len(seen)} x {best.name}" if alike else listed([best.name] * len(seen), 1)
    size = f"{best.memory / GB:.0f} GB" if best.memory else "memory size unknown"
    about = ", ".join([name, size, *best.notes])
    if not context.needs.gpu or not best.memory:
        return ok(f"{about}: {_largest(best)}", _details(best))
    training = _training(context)
    message = f"{about}: {training.verdict(best)}"
    if training.fits(best):
        return ok(message, _details(best))
    return warning(message, _plan_command(context), details=_details(best))


def _none(context: Context) -> Finding:
    if not context.needs.gpu:
        return ok("none found: only fine-tuning needs one", _details(None))
    training = _training(context)
    message = f"none: a rehearsal works without one, {training} needs one with {training.size}"
    return warning(message, _plan_command(context), details=_details(None))


# What the project is going to train


def _plan_command(context: Context) -> str:
    """Return the command that shows the estimate, what would help, and GPUs to rent."""
    return uv.typed("run", "python", "-m", _package(context), "plan")


def _package(context: Context) -> str:
    return (context.project.package if context.project else "") or "tune"


def _training(context: Context) -> _Training:
    """Return what the project's plan estimates, or what its variables ask for."""
    planned = _planned(context)
    if planned:
        return planned
    base = context.value("BASE_MODEL") or _DEFAULT
    method = context.value("METHOD").lower() or "lora"
    size = re.search(r"(?<![\w.])(3|7|8|14|24)b(?![a-z0-9])", base.lower())
    number = f"{size[1]}B" if size else "24B" if "mistral-small" in base.lower() else "?"
    needs = next((each for name, each in _NEEDS.items() if name.endswith(f" {number}")), None)
    takes = needs[[*_METHODS].index(method)] if needs and method in _METHODS else 0
    return _Training(base.rsplit("/", 1)[-1], method, takes)


def _planned(context: Context) -> _Training | None:
    """Ask the project's own code, which uses its examples and every setting."""
    project = context.project
    if project is None or not project.installed:
        return None
    words = (str(project.python), "-m", _package(context), "plan", "--json")
    ran = context.run(*words, folder=project.folder, seconds=_PLAN_SECONDS)
    if ran is None or not ran.ok:
        return None
    try:
        plan = json.loads(ran.out)
        training = plan["training"]
        return _Training(training["base"]["name"], training["method"], float(plan["bytes"]) / GB)
    except (ValueError, TypeError, KeyError):
        return None


# What fits


def _largest(gpu: Gpu) -> str:
    """Name the largest model that fits, by each method: "LoRA up to 3B, QLoRA up to 8B"."""
    if not gpu.memory:
        return "--verbose lists what a fine-tune needs"
    words, covered = [], ""
    for number, method in enumerate(_methods(gpu)):
        fitting = [name for name, needs in _NEEDS.items() if needs[number] <= _usable(gpu)]
        if fitting and fitting[-1] != covered:
            covered = fitting[-1]
            words.append(f"{_METHODS[method]} up to {covered.rsplit(' ', 1)[-1]}")
    return ", ".join(words) or "too small to fine-tune even 3B"


def _details(gpu: Gpu | None) -> tuple[str, ...]:
    methods = _methods(gpu)
    lines = [
        f"{name}, {_METHODS[method]}: {takes:.1f} GB{_verdict(takes, gpu)}"
        for name, needs in _NEEDS.items()
        for method, takes in zip(methods, needs, strict=False)
    ]
    without = () if "qlora" in methods else ("QLoRA: bitsandbytes needs an NVIDIA GPU",)
    return (_SETTING, *lines, *without)


def _verdict(takes: float, gpu: Gpu | None) -> str:
    if gpu is None or not gpu.memory:
        return ""
    return ", fits" if takes <= _usable(gpu) else ", too large"
