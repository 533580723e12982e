"""The base models that can be tuned, by name, hub id or folder, with their known problems."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from tune.errors import TuneError

Method = Literal["lora", "qlora", "full"]
METHODS: tuple[Method, ...] = ("lora", "qlora", "full")

REHEARSAL = (
    "rehearsal"  # in config.json: the weights are random, so the embeddings are trained, too
)
LIST = "uv run python -m tune plan --list"

# LoRA changes the seven matrices of each layer that reads text. PEFT's "all-linear" would also
# change the vision part, which rows of text cannot train.
ALL_SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TEXT_ONLY = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
ATTENTION_ONLY = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
)  # the experts are one block, which LoRA leaves alone


@dataclass(frozen=True)
class Shape:
    """A model's dimensions, from its config.json; `vision`: the parameters of its vision part."""

    layers: int
    hidden: int
    inner: int
    vocabulary: int
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    tied: bool = False  # the output uses the embeddings
    vision: float = 0
    experts: int = 1
    active: int = 1  # experts that one token goes through

    @property
    def attention(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's four attention matrices."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        keys_and_values = ((self.hidden, keys), (self.hidden, keys))
        return ((self.hidden, queries), *keys_and_values, (queries, self.hidden))

    @property
    def feed_forward(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of the three feed-forward matrices, of each expert in a mixture."""
        return ((self.hidden, self.inner), (self.hidden, self.inner), (self.inner, self.hidden))

    @property
    def in_layers(self) -> int:
        """The parameters of all layers."""
        return self.layers * (_size(self.attention) + self.experts * _size(self.feed_forward))

    @property
    def elsewhere(self) -> float:
        """The parameters of the embeddings, the output and the vision part."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.vision

    @property
    def quantized(self) -> float:
        """The parameters that QLoRA keeps in 4 bits: not a mixture's experts."""
        experts = self.experts * _size(self.feed_forward) if self.experts > 1 else 0
        return self.in_layers - self.layers * experts + self.vision

    @property
    def parameters(self) -> float:
        return self.in_layers + self.elsewhere

    @property
    def multiplied(self) -> int:
        """The parameters that one token is multiplied with in a forward pass."""
        layer = _size(self.attention) + self.active * _size(self.feed_forward)
        return self.layers * layer + self.vocabulary * self.hidden


def _size(matrices: tuple[tuple[int, int], ...]) -> int:
    return sum(inputs * outputs for inputs, outputs in matrices)


@dataclass(frozen=True)
class Base:
    """A model to start from. `source` is an id on the hub or a folder; `shape` may be unknown."""

    name: str
    source: str
    licence: str = ""  # as the hub writes it; empty: look at the model's page
    shape: Shape | None = None
    image_text: bool = False  # loaded by AutoModelForImageTextToText
    targets: str | tuple[str, ...] = ALL_SEVEN  # what LoRA changes: a pattern, or names
    note: str = ""  # what to know before training it
    tiny: bool = False  # for rehearsals, with random weights: its embeddings are trained, too

    @property
    def trap(self) -> str:
        """A known problem that shows up later; empty if there is none."""
        if self.image_text:
            return "some versions of vLLM silently ignore its adapters: serve merged weights"
        return ""

    @property
    def local(self) -> bool:
        """Whether the weights are in a folder of this machine."""
        return Path(self.source).is_dir()

    def learning_rate(self, method: Method) -> float:
        """A learning rate that works for most data; LEARNING_RATE in `.env` overrides it.

        LoRA's rates are those of Dettmers et al. 2023, "QLoRA", table 9: half for large models.
        """
        if self.tiny:
            return 2e-3
        if method == "full":
            return 1e-5
        return 1e-4 if self.shape and self.shape.parameters > 10e9 else 2e-4


# The shapes are those of each config.json; they come to 3.4, 8.5, 13.5, 7.2 and 23.6 billion
# parameters without the vision part, as the model pages say.
_3B = Shape(26, 3072, 9216, 131072, tied=True, vision=0.4e9)
_8B = Shape(34, 4096, 14336, 131072, vision=0.4e9)
_14B = Shape(40, 5120, 16384, 131072, vision=0.4e9)
_7B = Shape(32, 4096, 14336, 32768)
_24B = Shape(40, 5120, 32768, 131072, vision=0.4e9)

_RAW = "raw: your rows must teach it the chat format, too"
_CHATS = "already tuned for chat"
_NO_TOOLS = "cannot learn rows with tools"
_THINKS = "reasons before it answers; rows without reasoning make it forget that"


def _ministral(size: str, shape: Shape) -> tuple[Base, ...]:
    kinds = {
        "": ("Base-2512", _RAW),
        "-instruct": ("Instruct-2512-BF16", _CHATS),
        "-reasoning": ("Reasoning-2512", _THINKS),
    }
    common = Base("", "", "apache-2.0", shape, image_text=True, targets=TEXT_ONLY)
    return tuple(
        replace(
            common,
            name=f"ministral-{size}{kind}".lower(),
            source=f"mistralai/Ministral-3-{size}-{copy}",
            note=note,
        )
        for kind, (copy, note) in kinds.items()
    )


BASES: tuple[Base, ...] = (
    *_ministral("3B", _3B),
    *_ministral("8B", _8B),
    *_ministral("14B", _14B),
    Base("mistral-7b", "mistralai/Mistral-7B-v0.3", "apache-2.0", _7B, note=f"{_RAW}; {_NO_TOOLS}"),
    Base(
        "mistral-7b-instruct",
        "mistralai/Mistral-7B-Instruct-v0.3",
        "apache-2.0",
        _7B,
        note=f"{_CHATS}; {_NO_TOOLS}",
    ),
    Base(
        "mistral-small",
        "mistralai/Mistral-Small-3.1-24B-Base-2503",
        "apache-2.0",
        _24B,
        image_text=True,
        targets=TEXT_ONLY,
        note=f"{_RAW}; {_NO_TOOLS}",
    ),
)

# Published with weights in 8 bits, which cannot be trained on.
_IN_8_BITS = re.compile(r"mistralai/Ministral-3-(3B|8B|14B)-Instruct-2512", re.IGNORECASE)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def find(name: str) -> Base:
    """The base with that name, hub id or folder (relative to here or to the project).

    Any other hub id is accepted; its shape is known once its config.json is in the hub's cache on
    this machine. Raises TuneError if there is no such base, or if it cannot be trained.
    """
    known = {key.lower(): base for base in BASES for key in (base.name, base.source)}
    if base := known.get(name.strip().lower()):
        return base
    if eight := _IN_8_BITS.fullmatch(name.strip()):
        raise _refused(name, "8-bit weights", f"BASE_MODEL=ministral-{eight[1].lower()}")
    from tune.settings import ROOT  # here: the shapes above can be used without any settings

    for folder in dict.fromkeys((Path(name).expanduser(), ROOT / name)):
        if name and folder.is_dir():
            return _folder(folder)
    if _HUB_ID.fullmatch(name) and not (ROOT / name.split("/")[0]).exists():
        return _on_the_hub(name)
    if any(mark in name for mark in "/\\~"):
        raise TuneError(f'There is no folder "{name}".', LIST)
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    meant = f' Did you mean "{known[close[0]].name}"?' if close else ""
    raise TuneError(f'There is no base named "{name}".{meant}', LIST)


def _folder(folder: Path) -> Base:
    config = _config(folder / "config.json")
    if config is None:
        own = folder / "params.json"
        why = "weights in Mistral's own format" if own.is_file() else "no config.json"
        fix = "use a model that transformers can load: config.json and *.safetensors"
        raise TuneError(f"{folder} has {why}.", fix)
    return _described(folder.name, str(folder), config)


def _on_the_hub(name: str) -> Base:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    config = _config(Path(cached)) if isinstance(cached, str) else None
    return _described(name.rsplit("/", 1)[1], name, config) if config else Base(name, name)


def _config(path: Path) -> dict[str, Any] | None:
    """A config.json; None if it is missing. Raises TuneError if it cannot be read."""
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TuneError(f"{path} cannot be read: {error}.", "download the model again") from None
    if not isinstance(config, dict):
        raise TuneError(f"{path} does not describe a model.", "download the model again")
    return config


def _described(name: str, source: str, config: Mapping[str, Any]) -> Base:
    text = config.get("text_config") or config
    quantized = config.get("quantization_config") or text.get("quantization_config")
    if quantized:
        kind = str(quantized.get("quant_method") or "quantized").upper()
        raise _refused(source, f"{kind} weights", "use the same model in BF16; QLoRA quantizes it")
    shape = _shape({**config, **text}, config.get("vision_config"))
    image_text = "vision_config" in config
    targets: str | tuple[str, ...] = TEXT_ONLY if image_text else ALL_SEVEN
    if shape and shape.experts > 1:
        targets = ATTENTION_ONLY
    tiny = bool(config.get(REHEARSAL))
    return Base(name, source, "", shape, image_text, targets, tiny=tiny)


def _refused(name: str, why: str, fix: str) -> TuneError:
    return TuneError(f"{name} has {why}, which cannot be trained on.", fix)


def _shape(text: Mapping[str, Any], vision: Mapping[str, Any] | None) -> Shape | None:
    """The dimensions in a config.json, if it has the usual keys; else None."""
    try:
        heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
        experts = text.get("num_local_experts") or 1
        return Shape(
            layers=int(text["num_hidden_layers"]),
            hidden=hidden,
            inner=int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            tied=bool(text.get("tie_word_embeddings")),
            vision=_seeing(vision) if vision else 0,
            experts=int(experts),
            active=int(text.get("num_experts_per_tok") or 1) if experts > 1 else 1,
        )
    except (KeyError, TypeError, ValueError):
        return None


def _seeing(vision: Mapping[str, Any]) -> float:
    """The parameters of the vision part's layers; the rest is a hundredth of them."""
    try:
        hidden, inner = int(vision["hidden_size"]), int(vision["intermediate_size"])
        return int(vision["num_hidden_layers"]) * (4.0 * hidden * hidden + 3 * hidden * inner)
    except (KeyError, TypeError, ValueError):
        return 0.4e9
