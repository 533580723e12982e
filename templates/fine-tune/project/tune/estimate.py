"""Estimates a training's GPU memory (bytes) and time (seconds)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tune.errors import TuneError
from tune.models import Base, Method, Shape

if TYPE_CHECKING:
    from tune.settings import Settings

GB = 2**30  # memory is counted in powers of two, as on the GPUs' labels
LEFT = 0.05  # share of the memory for the desktop and other programs

# Memory, in bytes:
#
# weights      LoRA: 16 bits, 2 bytes each. QLoRA: the matrices of the layers and the vision part
#              in 4 bits with doubly quantized constants, 8/64 + 32/(64*256) bits each (Dettmers et
#              al. 2023, "QLoRA", section 3); the embeddings and the output layer in 16 bits. Full
#              tuning: 32 bits, 4 bytes each; layers have a 16-bit copy for the multiplications.
# trained      each trainable parameter, with its gradient and Adam's two moments, all in 32 bits:
#              16 bytes. With full tuning the weights are counted above: 12 bytes, and the vision
#              part is not trained. LoRA trains rank * (inputs + outputs) parameters for each
#              matrix (Hu et al. 2021, "LoRA").
# activations  with gradient checkpointing: one 16-bit state for each token and layer, and while a
#              layer is recomputed, its matrices' inputs and outputs, in 16 bits and in the
#              adapter's 32.
# output       TRL computes the loss of 4,096 tokens and 32,768 words at a time, in 16 bits; it
#              keeps each token's last state (in 16 bits) and its gradient (in 32 and in 16).
# overhead     about 1 GB for the driver's context, libraries and workspace; a tenth of the rest is
#              lost to fragmentation. Both are from experience, not derived.
QUARTER = (4 + 8 / 64 + 32 / (64 * 256)) / 8
TILE = (4096, 32768)
FIXED, LOST = 1 * GB, 0.1

# Time, for each batch:
#
# computing    the forward pass takes 2 operations for each parameter and token, the backward pass 2
#              more for LoRA and 4 for full tuning, and gradient checkpointing a second forward
#              pass: 6 and 8. Attention is left out: a tenth at 4,096 tokens.
# sustained    the share of the data sheet's speed that training reaches.
# least        the minimum for a layer, however short the examples: launching its kernels.
# unpacking    QLoRA converts its weights to 16 bits in each of three passes: 0.5 bytes read, 2
#              written, 2 read, at the share of the bandwidth that this reaches.
#
# The shares and the minimum are fitted to the single-GPU figures in Qwen's README (an A100, 1.8B to
# 14B, LoRA and QLoRA, 256 to 8,192 tokens): all 36 times are within 35 %.
SUSTAINED = 0.43
LEAST = 0.005  # seconds
UNPACKED, UNPACKING = 3 * (0.5 + 2 + 2), 0.18
ACCURACY = "an estimate: within 35 % of published figures for an A100, not compared on others"


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


@dataclass(frozen=True)
class DataSize:
    """The size of the data; `padded` is an example's mean length in tokens, with padding."""

    examples: int
    tokens: int
    longest: int
    padded: float

    @classmethod
    def of(cls, lengths: Sequence[int], count: int, settings: Settings) -> DataSize:
        """Estimate from the lengths of `count` examples, or of a sample of them."""
        kept = [length for length in lengths if length <= settings.max_length] or [0]
        random.Random(settings.seed).shuffle(kept)
        size = settings.batch_size
        batches = [kept[start : start + size] for start in range(0, len(kept), size)]
        padded = sum(max(batch) * len(batch) for batch in batches) / len(kept)
        share = count / max(1, len(lengths))
        return cls(round(len(kept) * share), round(sum(kept) * share), max(kept), padded)


@dataclass(frozen=True)
class Training:
    """A training on one GPU; `length` is the longest example's, in tokens."""

    base: Base
    method: Method
    rank: int
    batch: int
    length: int
    data: DataSize
    accumulate: int = 1
    epochs: float = 1
    packing: bool = False

    @property
    def shape(self) -> Shape:
        """The base's shape. Raises TuneError if it is not known."""
        if self.base.shape is None:
            problem = f"The shape of {self.base.source} is not known on this machine."
            raise TuneError(problem, f"uv run hf download {self.base.source} config.json")
        return self.base.shape

    @property
    def tokens(self) -> int:
        """The tokens of the largest batch."""
        return self.batch * self.length

    @property
    def sequences(self) -> int:
        """The sequences of one epoch: examples, or packs of them."""
        packed = math.ceil(self.data.tokens / self.length) if self.length else 0
        return packed if self.packing else self.data.examples

    @property
    def batches(self) -> int:
        """The batches of one epoch."""
        return math.ceil(self.sequences / self.batch)

    @property
    def steps(self) -> int:
        """The steps of the optimizer; no step crosses the end of an epoch."""
        return math.ceil(self.epochs * math.ceil(self.batches / self.accumulate))


@dataclass(frozen=True)
class Term:
    """One line of the memory estimate: bytes, and the formula as text."""

    name: str
    bytes: float
    formula: str


# Memory


def memory(training: Training) -> tuple[Term, ...]:
    """The memory estimate for one GPU, term by term."""
    counted = [part(training) for part in (_weights, _trained, _activations, _output)]
    rest = sum(term.bytes for term in counted)
    formula = f"{FIXED / GB:.0f} GB + {LOST:.0%} of the rest"
    return (*counted, Term("overhead", FIXED + LOST * rest, formula))


def inference_memory(shape: Shape, copies: int = 1) -> float:
    """The bytes that a model takes on a GPU to answer, or to be exported, in 16 bits."""
    return copies * shape.parameters * 2 + FIXED


def needs_4_bits(shape: Shape | None, free: float, quantizes: bool, copies: int = 1) -> bool:
    """Whether a model fits the free memory only in 4 bits, which needs bitsandbytes.

    False if the shape is not known: then 16 bits are tried.
    """
    return quantizes and shape is not None and inference_memory(shape, copies) > free


def _weights(training: Training) -> Term:
    shape = training.shape
    if training.method == "lora":
        formula = f"{_billions(shape.parameters)} x 2 bytes"
        return Term("weights", shape.parameters * 2, formula)
    parts = {"qlora": (shape.in_layers + shape.vision, QUARTER, 2), "full": (shape.in_layers, 6, 4)}
    first, each, other = parts[training.method]
    rest = shape.parameters - first
    formula = f"{_billions(first)} x {each:.3g} bytes + {_billions(rest)} x {other}"
    return Term("weights", first * each + rest * other, formula)


def _trained(training: Training) -> Term:
    shape = training.shape
    if training.method == "full":
        numbers = shape.parameters - shape.vision
        return Term("trained", numbers * 12, f"{_billions(numbers)} x 12 bytes (gradient, Adam)")
    numbers = training.rank * shape.layers * _ends(shape)
    return Term("adapter", numbers * 16, f"rank {training.rank}: {_billions(numbers)} x 16 bytes")


def _activations(training: Training) -> Term:
    shape, tokens = training.shape, training.tokens
    ends, each = _ends(shape), 2 if training.method == "full" else 2 + 4
    total = tokens * (shape.layers * shape.hidden * 2 + ends * each)
    states = f"{shape.layers} layers x {shape.hidden:,} x 2 bytes"
    return Term("activations", total, f"{tokens:,} tokens x ({states} + {ends:,} x {each})")


def _output(training: Training) -> Term:
    shape, tokens = training.shape, training.tokens
    tile = min(tokens, TILE[0]) * min(shape.vocabulary, TILE[1]) * 2
    total = tokens * shape.hidden * (2 + 4 + 2) + tile
    formula = f"{tokens:,} tokens x {shape.hidden:,} x 8 bytes + a tile of {tile / GB:.2f} GB"
    return Term("output", total, formula)


def _ends(shape: Shape) -> int:
    return sum(inputs + outputs for inputs, outputs in shape.matrices)


def _billions(number: float) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.1f} million"


# Time


def seconds(training: Training, gpu: Gpu) -> float | None:
    """The time of all batches, without evaluations; None if the GPU's speed is not known."""
    if not gpu.tflops:
        return None
    shape = training.shape
    length = training.length if training.packing else training.data.padded
    each = 8 if training.method == "full" else 6
    multiplied = shape.in_layers + shape.embeddings  # parameters, for each token
    computing = each * multiplied * training.batch * length / (SUSTAINED * gpu.tflops * 1e12)
    batch = max(computing, shape.layers * LEAST)
    if training.method == "qlora":
        batch += shape.in_layers * UNPACKED / (UNPACKING * gpu.bandwidth)
    return batch * math.ceil(training.batches * training.epochs) / gpu.count
