"""The two models on this machine: loaded once, and shared by all visitors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune import models, runs
from tune.dataset import Message
from tune.errors import TuneError, can_load
from tune.generate import Generator
from tune.known import Side
from tune.runs import Run
from tune.settings import SETTINGS, Settings

try:
    import spaces  # on the hub's ZeroGPU, which gives decorated functions a GPU
except ImportError:

    class spaces:  # type: ignore[no-redef]  # noqa: N801
        """Elsewhere the decorator does nothing."""

        @staticmethod
        def GPU(function: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802
            return function


@dataclass(frozen=True)
class Pair:
    """Both models, ready to answer; without a base if merged weights have none here."""

    tuned: Generator
    base: Generator | None
    device: str


_loading = threading.Lock()  # one visitor loads, the others wait
_loaded: dict[str, Pair] = {}  # one pair at a time: a second might not fit
_failed: dict[str, tuple[float, Exception]] = {}


def wanted(settings: Settings = SETTINGS) -> str:
    """The tuned model to load here: a run's folder, another folder, an id on the hub, or ""."""
    if not can_load():
        return ""
    name = settings.tuned_model
    run = Run(settings.runs / name) if name else runs.latest(settings.runs)
    if run and (run.folder / "run.json").is_file():
        return str(run.folder) if (run.model / "adapter_config.json").is_file() else ""
    return name


def name(side: Side, settings: Settings = SETTINGS) -> str:
    """The name of this column's model."""
    source = wanted(settings)
    if side == "tuned":
        return Path(source).name
    try:
        return Path(Run(Path(source)).record.base).name
    except TuneError:
        return f"base of {Path(source).name}"


def ready(settings: Settings = SETTINGS) -> Pair | None:
    """The models, if they are loaded."""
    source = wanted(settings)
    return _loaded.get(f"{source} {edition(source)}")


def has(side: Side, settings: Settings = SETTINGS) -> bool:
    """Whether this column's model is on this machine; before it is loaded, this is a guess."""
    pair = ready(settings)
    return bool(wanted(settings)) and (side == "tuned" or pair is None or pair.base is not None)


def load(settings: Settings = SETTINGS) -> Pair:
    """Both models, loaded at the first call. A failure is raised again until COOLDOWN is over."""
    source = wanted(settings)
    with _loading:
        failed, error = _failed.get(source, (0.0, None))
        if error and time.monotonic() < failed + settings.cooldown:
            raise error
        if pair := ready(settings):
            return pair
        _loaded.clear()
        run = Run(Path(source))
        is_run = (run.folder / "run.json").is_file()
        try:
            pair = load_run(run, settings) if is_run else _load_foreign(source, settings)
        except Exception as error:
            _failed[source] = time.monotonic(), error
            raise
        return _loaded.setdefault(f"{source} {edition(source)}", pair)


def stream(
    side: Side,
    messages: Sequence[Message],
    settings: Settings = SETTINGS,
    tools: Sequence[Any] = (),
) -> Iterator[str]:
    """Load the models, then return the stream of an answer. Raises TuneError."""
    load(settings)  # here, as `_generate` may run in another process, on ZeroGPU
    return _generate(side, list(messages), settings, list(tools))


@spaces.GPU
def _generate(
    side: Side, messages: list[Message], settings: Settings, tools: list[Any]
) -> Iterator[str]:
    generator = getattr(load(settings), side)
    if generator is None:
        problem = "The base of these weights is not on this machine."
        raise TuneError(problem, "set BASE_CHAT_MODEL in .env")
    yield from generator.stream(messages, tools=tools)


def in_4_bits(run: Run) -> bool:
    """Whether both models of a run must answer in 4 bits, as 16 do not fit on the GPU."""
    from tune import weights

    return weights.answers_in_4_bits(models.find(run.record.base))


def load_run(run: Run, settings: Settings = SETTINGS, four_bit: bool | None = None) -> Pair:
    """Load a run's model; its base is the same weights without the adapter."""
    from tune import weights

    base, four_bit = models.find(run.record.base), in_4_bits(run) if four_bit is None else four_bit
    return _pair(weights.load_tuned(run, four_bit=four_bit), base, settings, four_bit)


def _load_foreign(source: str, settings: Settings) -> Pair:
    """Load a model that is no run of this project: an adapter on its base, or full weights."""
    from peft import PeftConfig, PeftModel

    from tune import weights

    if "/" not in source and not Path(source).is_dir():  # fail fast: the hub is slow to answer
        problem = f'TUNED_MODEL="{source}" is no run, no folder and no id on the hub.'
        raise TuneError(problem, "uv run python -m tune runs")
    try:
        config: Any = PeftConfig.from_pretrained(source)
    except (OSError, ValueError):  # full weights; load_base reports it if it is neither
        config = None
    base = models.find(config.base_model_name_or_path if config else source)
    four_bit = weights.answers_in_4_bits(base)
    model = weights.load_base(base, four_bit=four_bit)
    if config:
        model = PeftModel.from_pretrained(model, source).eval()
    return _pair(model, base, settings, four_bit)


def _pair(model: Any, base: models.Base, settings: Settings, four_bit: bool) -> Pair:
    from tune import weights

    tokenizer = weights.load_tokenizer(base)
    tuned = Generator(model, tokenizer, settings.max_tokens, settings.temperature)
    plain = tuned.without_adapter() if hasattr(model, "disable_adapter") else None
    return Pair(tuned, plain, weights.device() + (", 4 bits" if four_bit else ""))


def edition(source: str) -> list[Any]:
    """Identifies the weights in a folder, so that a run that is trained again is loaded again."""
    run = Run(Path(source))
    folder = run.model if run.model.is_dir() else run.folder
    files = sorted(folder.glob("*.safetensors"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
