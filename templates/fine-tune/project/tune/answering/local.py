"""The two models on this machine: found, loaded once for everybody, and asked in turns."""

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
from tune.errors import TuneError, can_load
from tune.rows.row import Message
from tune.runs import Run
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from tune.answering.generate import Generator

try:
    import spaces  # on the hub's ZeroGPU, which lends a GPU to functions that are marked
except ImportError:

    class spaces:  # type: ignore[no-redef]  # noqa: N801
        """Elsewhere the mark means nothing."""

        @staticmethod
        def GPU(function: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802
            return function


log = logging.getLogger(__name__)
Side = Literal["base", "tuned"]


@dataclass(frozen=True)
class Pair:
    """Both models, ready to answer; no base where merged weights came without theirs."""

    tuned: Generator
    base: Generator | None
    device: str


_door = threading.Lock()  # one visitor loads, the others wait
_shelf: dict[str, Pair] = {}  # one pair at a time: a second might not fit
_failed: dict[str, tuple[float, Exception]] = {}


def wanted(settings: Settings = SETTINGS) -> str:
    """What this machine would load as the tuned model: a run's folder, another, an id; or ""."""
    if not can_load():
        return ""
    name = settings.tuned_model
    run = Run(settings.runs / name) if name else runs.latest(settings.runs)
    if run and (run.folder / "run.json").is_file():
        return str(run.folder) if _has_weights(run.model) else ""
    return name


def name(side: Side, settings: Settings = SETTINGS) -> str:
    """What people call the model in this column."""
    source = wanted(settings)
    return Path(source).name if side == "tuned" else _base_of(source)


def device(settings: Settings = SETTINGS) -> str:
    """What the models run on: "cpu", "cuda, 4 bits" or the like; empty until they are loaded."""
    ready = _shelf.get(_edition(wanted(settings)))
    return ready.device if ready else ""


def has(side: Side, settings: Settings = SETTINGS) -> bool:
    """Tell whether this column's model is on this machine: before it is loaded, as far as known."""
    source = wanted(settings)
    ready = _shelf.get(_edition(source))
    return bool(source) and (side == "tuned" or ready is None or ready.base is not None)


def is_ready(settings: Settings = SETTINGS) -> bool:
    """Tell whether the models are loaded."""
    return _edition(wanted(settings)) in _shelf


def load(settings: Settings = SETTINGS) -> Pair:
    """Both models, loaded at the first call. Raises TuneError, and again for a while."""
    source = wanted(settings)
    with _door:
        failed, error = _failed.get(source, (0.0, None))
        if error and time.monotonic() < failed + settings.cooldown:
            raise error
        edition = _edition(source)
        if edition not in _shelf:
            _shelf.clear()
            try:
                _shelf[edition] = _load(source, settings)
            except Exception as error:
                _failed[source] = time.monotonic(), error
                raise
        return _shelf[edition]


def speak(
    side: Side,
    messages: Sequence[Message],
    settings: Settings = SETTINGS,
    tools: Sequence[Any] = (),
) -> Iterator[str]:
    """Stream an answer word by word. It returns when the models are loaded. Raises TuneError."""
    load(settings)  # here: what follows may run in a process that was lent a GPU
    return _generate(side, list(messages), settings, list(tools))


@spaces.GPU
def _generate(
    side: Side, messages: list[Message], settings: Settings, tools: list[Any]
) -> Iterator[str]:
    generator = getattr(load(settings), side)
    if generator is None:
        raise TuneError("These weights came without their base.", "set BASE_CHAT_MODEL in .env")
    yield from generator.stream(messages, tools=tools)


def _load(source: str, settings: Settings) -> Pair:
    from tune.answering.generate import Generator
    from tune.training import weights

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
    """A model that no run here made: an adapter with the base that it names, or all weights."""
    from peft import PeftConfig, PeftModel

    from tune.training import weights

    if "/" not in source and not Path(source).is_dir():  # at once: the hub is slow to say no
        problem = f'TUNED_MODEL says "{source}": no run, no folder and no id on the hub.'
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
    """The folder of an adapter: the source, or the hub's copy here. Empty for other weights."""
    from huggingface_hub import auth_check, snapshot_download

    folder = Path(source)
    if not folder.is_dir():
        take = partial(snapshot_download, source, allow_patterns="adapter_*")
        try:  # what is here needs no network
            folder = Path(take(local_files_only=True))
            if not any(folder.glob("*.safetensors")):
                raise FileNotFoundError(source)
        except FileNotFoundError:
            try:
                auth_check(source)  # at once; a download would try for half a minute
            except Exception:
                return ""  # load_base says why
            folder = Path(take())
    return str(folder) if (folder / "adapter_config.json").is_file() else ""


def _edition(source: str) -> str:
    """The source and when its weights were written: a run trained anew is loaded anew."""
    run = Run(Path(source))
    folder = run.model if run.model.is_dir() else run.folder
    try:
        written = max((file.stat().st_mtime_ns for file in folder.glob("*.safetensors")), default=0)
    except OSError:  # deleted while it is looked at
        written = 0
    return f"{source} {written}"


def _has_weights(folder: Path) -> bool:
    return any((folder / each).is_file() for each in ("adapter_config.json", "config.json"))


def _base_of(source: str) -> str:
    try:
        return Path(Run(Path(source)).record.base).name
    except TuneError:
        return f"base of {Path(source).name}"
