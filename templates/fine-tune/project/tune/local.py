"""The two models on this machine: found, loaded once, and shared by all visitors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tune import models, runs
from tune.dataset import Message
from tune.errors import TuneError, can_load
from tune.runs import Run
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from tune.generate import Generator

try:
    import spaces  # on the hub's ZeroGPU, which gives decorated functions a GPU
except ImportError:

    class spaces:  # type: ignore[no-redef]  # noqa: N801
        """Elsewhere the decorator does nothing."""

        @staticmethod
        def GPU(function: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802
            return function


log = logging.getLogger(__name__)
Side = Literal["base", "tuned"]


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
        return str(run.folder) if _has_weights(run.model) else ""
    return name


def name(side: Side, settings: Settings = SETTINGS) -> str:
    """The display name of this column's model."""
    source = wanted(settings)
    return Path(source).name if side == "tuned" else _base_of(source)


def device(settings: Settings = SETTINGS) -> str:
    """The models' device: "cpu", "cuda, 4 bits" or the like; empty until they are loaded."""
    ready = _loaded.get(_edition(wanted(settings)))
    return ready.device if ready else ""


def has(side: Side, settings: Settings = SETTINGS) -> bool:
    """Whether this column's model is on this machine; before it is loaded, this is a guess."""
    source = wanted(settings)
    ready = _loaded.get(_edition(source))
    return bool(source) and (side == "tuned" or ready is None or ready.base is not None)


def is_ready(settings: Settings = SETTINGS) -> bool:
    """Whether the models are loaded."""
    return _edition(wanted(settings)) in _loaded


def load(settings: Settings = SETTINGS) -> Pair:
    """Both models, loaded at the first call. A failure is raised again until COOLDOWN is over."""
    source = wanted(settings)
    with _loading:
        failed, error = _failed.get(source, (0.0, None))
        if error and time.monotonic() < failed + settings.cooldown:
            raise error
        edition = _edition(source)
        if edition not in _loaded:
            _loaded.clear()
            try:
                _loaded[edition] = _load(source, settings)
            except Exception as error:
                _failed[source] = time.monotonic(), error
                raise
        return _loaded[edition]


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


def _load(source: str, settings: Settings) -> Pair:
    from tune import weights
    from tune.generate import Generator

    weights.quiet()
    run = Run(Path(source))
    if (run.folder / "run.json").is_file():
        base, full = models.find(run.record.base), run.record.method == "full"
        four_bit = weights.answers_in_4_bits(base, copies=2 if full else 1)
        model = weights.load_tuned(run, four_bit=four_bit)
    else:
        model, base = _load_foreign(source)
    tokenizer = weights.load_tokenizer(base)
    tuned = Generator(model, tokenizer, settings.max_tokens, settings.temperature)
    where = weights.device() + (", 4 bits" if tuned.four_bit else "")
    if hasattr(model, "disable_adapter"):  # the base is the same weights without the adapter
        return Pair(tuned, tuned.without_adapter(), where)
    if base.source == source:
        return Pair(tuned, None, where)
    model = weights.load_base(base, four_bit=tuned.four_bit)
    own = Generator(model, tokenizer, settings.max_tokens, settings.temperature)
    return Pair(tuned, own, where)


def _load_foreign(source: str) -> tuple[Any, models.Base]:
    """Load a model that is no run of this project: an adapter on its base, or full weights."""
    from peft import PeftConfig, PeftModel

    from tune import weights

    if "/" not in source and not Path(source).is_dir():  # fail fast: the hub is slow to answer
        problem = f'TUNED_MODEL="{source}" is no run, no folder and no id on the hub.'
        raise TuneError(problem, "uv run python -m tune runs")
    adapter = _adapter(source)
    if not adapter:
        base = models.find(source)
        return weights.load_base(base, four_bit=weights.answers_in_4_bits(base)), base
    config: Any = PeftConfig.from_pretrained(adapter)
    base = models.find(config.base_model_name_or_path)
    model = weights.load_base(base, four_bit=weights.answers_in_4_bits(base))
    return PeftModel.from_pretrained(model, adapter).eval(), base


def _adapter(source: str) -> str:
    """The folder of an adapter: the source, or the hub's download. Empty for full weights."""
    from huggingface_hub import auth_check, snapshot_download

    folder = Path(source)
    if not folder.is_dir():
        take = partial(snapshot_download, source, allow_patterns="adapter_*")
        try:  # use the cache first, without the network
            folder = Path(take(local_files_only=True))
            if not any(folder.glob("*.safetensors")):
                raise FileNotFoundError(source)
        except FileNotFoundError:
            try:
                auth_check(source)  # fail fast: a download would retry for half a minute
            except Exception:
                return ""  # load_base reports the reason
            folder = Path(take())
    return str(folder) if (folder / "adapter_config.json").is_file() else ""


def _edition(source: str) -> str:
    """The source and the time of its weights, so that a run that is trained again is reloaded."""
    run = Run(Path(source))
    folder = run.model if run.model.is_dir() else run.folder
    try:
        written = max((file.stat().st_mtime_ns for file in folder.glob("*.safetensors")), default=0)
    except OSError:  # deleted in the meantime
        written = 0
    return f"{source} {written}"


def _has_weights(folder: Path) -> bool:
    return any((folder / each).is_file() for each in ("adapter_config.json", "config.json"))


def _base_of(source: str) -> str:
    try:
        return Path(Run(Path(source)).record.base).name
    except TuneError:
        return f"base of {Path(source).name}"
