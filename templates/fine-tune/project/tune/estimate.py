"""Estimates a training's GPU memory (bytes) and time (seconds)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tune.errors import TuneError
from tune.models import Base, Method, Shape

GB = 2**30  # memory is counted in powers of two, as on the GPUs' labels
LEFT = 0.05  # share of the memory for the desktop and other programs

# Bytes for each parameter: 16 bits; QLoRA has the layers and the vision part in 4 bits, with doubly
# quantized constants (Dettmers et al. 2023, "QLoRA", section 3). LoRA trains rank * (inputs +
# outputs) parameters for each matrix (Hu et al. 2021, "LoRA"), with a gradient and Adam's two
# moments, all in 32 bits.
QUARTER = (4 + 8 / 64 + 32 / (64 * 256)) / 8
TILE = (4096, 32768)  # TRL computes the loss of that many tokens and words at a time
# The driver's context, libraries and workspace, and the share of the rest that is lost to
# fragmentation: from experience, not derived.
FIXED, LOST = 1 * GB, 0.1
# Time: 2 operations for each parameter and token, 2 more for the backward pass, and 2 again for
# gradient checkpointing. QLoRA unpacks its weights in each of the three passes: 0.5
# bytes read, 2 written, 2 read. The shares of a GPU's speed and bandwidth that are reached, and the
# least time for a layer, are fitted to the figures for an A100 in Qwen's README (1.8B to 14B).
SUSTAINED, UNPACKING = 0.43, 0.18
LEAST = 0.005  # seconds
UNPACKED = 3 * (0.5 + 2 + 2)
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

    @property
    def shape(self) -> Shape:
        """The base's shape. Raises TuneError if it is not known."""
        if self.base.shape is None:
            problem = f"The shape of {self.base.source} is not known on this machine."
            raise TuneError(problem, f"uv run hf download {self.base.source} config.json")
        return self.base.shape

    @property
    def batches(self) -> int:
        """The batches of one epoch."""
        return math.ceil(self.data.examples / self.batch)

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


def memory(training: Training) -> tuple[Term, ...]:
    """The memory estimate for one GPU, term by term."""
    terms = (_weights(training), _adapter(training), *_activations(training))
    rest = sum(term.bytes for term in terms)
    formula = f"{FIXED / GB:.0f} GB + {LOST:.0%} of the rest"
    return (*terms, Term("overhead", FIXED + LOST * rest, formula))


def inference_memory(shape: Shape) -> float:
    """The bytes that a model takes on a GPU to answer, or to be exported, in 16 bits."""
    return shape.parameters * 2 + FIXED


def needs_4_bits(shape: Shape | None, free: float, quantizes: bool) -> bool:
    """Whether a model fits the free memory only in 4 bits, which needs bitsandbytes.

    False if the shape is not known: then 16 bits are tried.
    """
    return quantizes and shape is not None and inference_memory(shape) > free


def seconds(training: Training, gpu: Gpu) -> float | None:
    """The time of all batches, without evaluations; None if the GPU's speed is not known."""
    if not gpu.tflops:
        return None
    shape = training.shape
    tokens = training.batch * training.data.padded
    multiplied = shape.in_layers + shape.embeddings  # parameters, for each token
    computing = 6 * multiplied * tokens / (SUSTAINED * gpu.tflops * 1e12)
    batch = max(computing, shape.layers * LEAST)
    if training.method == "qlora":
        batch += shape.in_layers * UNPACKED / (UNPACKING * gpu.bandwidth)
    return batch * math.ceil(training.batches * training.epochs) / gpu.count


def _weights(training: Training) -> Term:
    shape = training.shape
    if training.method == "lora":
        numbers = shape.parameters
        return Term("weights", numbers * 2, f"{_billions(numbers)} x 2 bytes")
    first = shape.in_layers + shape.vision
    rest = shape.parameters - first
    formula = f"{_billions(first)} x {QUARTER:.3g} bytes + {_billions(rest)} x 2"
    return Term("weights", first * QUARTER + rest * 2, formula)


def _adapter(training: Training) -> Term:
    numbers = training.rank * training.shape.layers * training.shape.ends
    return Term("adapter", numbers * 16, f"rank {training.rank}: {_billions(numbers)} x 16 bytes")


def _activations(training: Training) -> tuple[Term, Term]:
    """With gradient checkpointing: a state for each token and layer, and one whole layer."""
    shape, tokens = training.shape, training.batch * training.length
    each = 2 + 4  # bytes: in 16 bits, and in the adapter's 32
    total = tokens * (shape.layers * shape.hidden * 2 + shape.ends * each)
    states = f"{shape.layers} layers x {shape.hidden:,} x 2 bytes"
    formula = f"{tokens:,} tokens x ({states} + {shape.ends:,} x {each})"
    tile = min(tokens, TILE[0]) * min(shape.vocabulary, TILE[1]) * 2
    output = f"{tokens:,} tokens x {shape.hidden:,} x 8 bytes + a tile of {tile / GB:.2f} GB"
    last = tokens * shape.hidden * (2 + 4 + 2) + tile
    return Term("activations", total, formula), Term("output", last, output)


def _billions(number: float) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e8 else f"{number / 1e6:.1f} million"
