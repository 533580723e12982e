"""The base models that can be tuned, by name, hub id or folder, with their known problems."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from tune.errors import TuneError

Method = Literal["lora", "qlora"]
METHODS: tuple[Method, ...] = get_args(Method)
REHEARSAL = "rehearsal"  # a key in the config.json of a tiny model with random weights

# LoRA changes the seven matrices of each layer that reads text. PEFT's "all-linear" would also
# change the vision part, which text cannot train.
ALL_SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TEXT_ONLY = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
VISION = 0.4e9  # parameters of the vision part of Mistral's models

_LIST = "uv run python -m tune plan --list"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


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

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of a layer's seven matrices: attention, then feed-forward."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, queries), *[(self.hidden, keys)] * 2, (queries, self.hidden))
        return (*attention, *[(self.hidden, self.inner)] * 2, (self.inner, self.hidden))

    @property
    def in_layers(self) -> int:
        """The parameters of all layers."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def ends(self) -> int:
        """The inputs and outputs of a layer's matrices."""
        return sum(inputs + outputs for inputs, outputs in self.matrices)

    @property
    def embeddings(self) -> int:
        """The parameters of the embeddings; of the output layer, too, if it is not tied."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> float:
        return self.in_layers + self.embeddings * (1 if self.tied else 2) + self.vision


@dataclass(frozen=True)
class Base:
    """A model to start from. `source` is an id on the hub or a folder; `shape` may be unknown."""

    name: str
    source: str
    shape: Shape | None = None
    note: str = ""  # what to know before training it
    image_text: bool = False  # loaded by AutoModelForImageTextToText
    licence: str = ""  # as the hub writes it; empty: look at the model's page
    tiny: bool = False  # for rehearsals, with random weights: its embeddings are trained, too

    @property
    def targets(self) -> str | tuple[str, ...]:
        """What LoRA changes: a pattern, or names."""
        return TEXT_ONLY if self.image_text else ALL_SEVEN

    @property
    def parameters(self) -> float:
        """Its number of parameters; 0 if its shape is not known."""
        return self.shape.parameters if self.shape else 0

    @property
    def local(self) -> bool:
        """Whether the weights are in a folder of this machine."""
        return Path(self.source).is_dir()

    @property
    def learning_rate(self) -> float:
        """A learning rate that works for most data; LEARNING_RATE in `.env` overrides it.

        Those of Dettmers et al. 2023, "QLoRA", table 9: half for large models.
        """
        if self.tiny:
            return 2e-3
        return 1e-4 if self.parameters > 10e9 else 2e-4


# The shapes are those of each config.json; they come to 3.4, 8.5, 13.5, 7.2 and 23.6 billion
# parameters without the vision part, as the model pages say.
_3B = Shape(26, 3072, 9216, 131072, tied=True, vision=VISION)
_8B = Shape(34, 4096, 14336, 131072, vision=VISION)
_14B = Shape(40, 5120, 16384, 131072, vision=VISION)
_7B = Shape(32, 4096, 14336, 32768)
_24B = Shape(40, 5120, 32768, 131072, vision=VISION)

_RAW = "raw: your examples must teach it the chat format, too"
_CHATS = "already tuned for chat"
_THINKS = "reasons before it answers; examples without reasoning make it forget that"
_OLDER = "an older tokenizer: learns system prompts and tool calls as plain text"

_base = partial(Base, licence="apache-2.0")


def _ministral(size: str, shape: Shape) -> tuple[Base, ...]:
    name, source = f"ministral-{size.lower()}", f"mistralai/Ministral-3-{size}"
    seeing = partial(_base, shape=shape, image_text=True)
    return (
        seeing(name, f"{source}-Base-2512", note=_RAW),
        seeing(f"{name}-instruct", f"{source}-Instruct-2512-BF16", note=_CHATS),
        seeing(f"{name}-reasoning", f"{source}-Reasoning-2512", note=_THINKS),
    )


_SMALL = "mistralai/Mistral-Small-3.1-24B-Base-2503"
_INSTRUCT_7B = "mistralai/Mistral-7B-Instruct-v0.3"
BASES: tuple[Base, ...] = (
    *_ministral("3B", _3B),
    *_ministral("8B", _8B),
    *_ministral("14B", _14B),
    _base("mistral-7b", "mistralai/Mistral-7B-v0.3", _7B, f"{_RAW}; {_OLDER}"),
    _base("mistral-7b-instruct", _INSTRUCT_7B, _7B, f"{_CHATS}; {_OLDER}"),
    _base("mistral-small", _SMALL, _24B, f"{_RAW}; {_OLDER}", image_text=True),
)


def find(name: str) -> Base:
    """The base with that name, hub id or folder (relative to here or to the project).

    Any other hub id is accepted; its shape is known once its config.json is in the hub's cache on
    this machine. Raises TuneError if there is no such base, or if it cannot be trained.
    """
    known = {key.lower(): base for base in BASES for key in (base.name, base.source)}
    if base := known.get(name.strip().lower()):
        return base
    from tune.settings import ROOT  # here: the shapes above can be used without any settings

    for folder in (Path(name).expanduser(), ROOT / name):
        if name and folder.is_dir():
            return _described(folder.name, str(folder), folder / "config.json")
    if _HUB_ID.fullmatch(name) and not (ROOT / name.split("/")[0]).exists():
        return _on_the_hub(name)
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    meant = f' Did you mean "{known[close[0]].name}"?' if close else ""
    raise TuneError(f'There is no base model or folder "{name}".{meant}', _LIST)


def _on_the_hub(name: str) -> Base:
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    short = name.rsplit("/", 1)[1]
    return _described(short, name, Path(cached)) if isinstance(cached, str) else Base(name, name)


def _described(name: str, source: str, file: Path) -> Base:
    """The base that a config.json describes."""
    try:
        config = json.loads(file.read_text("utf-8"))
        text = {**config, **config.get("text_config", {})}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        fix = "use a model that transformers can load: config.json and *.safetensors"
        raise TuneError(f"{file} cannot be read: {error}.", fix) from None
    if quantized := text.get("quantization_config"):
        kind = str(quantized.get("quant_method")).upper()
        problem = f"{source} has weights in {kind}, which cannot be trained on."
        raise TuneError(problem, "use the same model in BF16; QLoRA quantizes it")
    image_text, tiny = "vision_config" in config, bool(config.get(REHEARSAL))
    return Base(name, source, _shape(text), image_text=image_text, tiny=tiny)


def _shape(text: Mapping[str, Any]) -> Shape | None:
    """The dimensions in a config.json, if it has the usual keys; else, or with experts, None."""
    if int(text.get("num_local_experts") or 1) > 1:
        return None
    try:
        heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
        return Shape(
            layers=int(text["num_hidden_layers"]),
            hidden=hidden,
            inner=int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            tied=bool(text.get("tie_word_embeddings")),
            vision=VISION if "vision_config" in text else 0,
        )
    except (KeyError, TypeError, ValueError):
        return None
