"""The only module that loads weights: a base model, a tuned model, and their tokenizer."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from typing import Any

from httpx2 import TransportError
from huggingface_hub import auth_check, errors, hf_hub_download

from tune import estimate, models, tokens
from tune.errors import TuneError, is_memory_full, need_loading
from tune.models import Base
from tune.runs import Run

log = logging.getLogger(__name__)
QLORA = "uv pip install --torch-backend auto -r pyproject.toml --extra train --extra qlora"
PADS = ("<pad>", "[PAD]", "<unk>")  # never the end token: the model would not learn to stop
NOISY = ["bitsandbytes", "torch", "torchao", "accelerate", "peft", "trl", "datasets"]
NOISY += ["huggingface_hub"]  # it logs every retry


def device() -> str:
    """The device for models on this machine: "cuda", "mps" or "cpu"."""
    need_loading()
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision() -> Any:
    """The weights' number format: bfloat16, on older GPUs float16, without a GPU float32."""
    import torch

    if device() == "cuda":  # a T4 reports bfloat16, but only emulates it
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    return torch.bfloat16 if device() == "mps" else torch.float32


def known(base: Base) -> Base:
    """The base with its shape, which for an unlisted model comes from the hub."""
    if base.shape or base.local:
        return base
    with _explaining(base):
        auth_check(base.source)
        hf_hub_download(base.source, "config.json")
    return models.find(base.source)


def answers_in_4_bits(base: Base) -> bool:
    """Whether base and tuned model must run in 4 bits, as 16 bits do not fit on this GPU.

    Call it before they are loaded; if true, it logs a warning.
    """
    if device() != "cuda":
        return False
    import torch

    free()
    room, _ = torch.cuda.mem_get_info(_place())
    needed = estimate.needs_4_bits(known(base).shape, room, _quantizes())
    if needed:
        log.warning("Answering in 4 bits: 16 bits do not fit in the free memory of this GPU.")
    return needed


def load_tokenizer(base: Base) -> Any:
    """The base's tokenizer with our chat template, which marks the answers.

    Raises TuneError if it cannot be loaded.
    """
    quiet()
    from transformers import PreTrainedTokenizerFast

    with _explaining(base):  # not AutoTokenizer: it picks a Mistral class that cannot mark answers
        tokenizer = _load(base, PreTrainedTokenizerFast, {})
    if "{% generation %}" not in (tokenizer.chat_template or ""):
        tokenizer.chat_template = tokens.training_template()
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = _pad(tokenizer, base)
    return tokenizer


def load_base(base: Base, *, four_bit: bool = False) -> Any:
    """Load the base model for inference; `four_bit` takes a quarter of the memory.

    It goes onto the GPU if there is one. Raises TuneError if it cannot be loaded or does not fit.
    """
    quiet()
    import transformers

    auto = "AutoModelForImageTextToText" if base.image_text else "AutoModelForCausalLM"
    how: dict[str, Any] = {"dtype": precision(), "device_map": {"": _place()}}
    if four_bit:
        how["quantization_config"] = _four_bit()
    with _explaining(base):
        return _load(base, getattr(transformers, auto), how).eval()


def load_tuned(run: Run, *, four_bit: bool = False) -> Any:
    """Load a run's model: its adapter on the base.

    The base is always loaded again. Merging needs full precision, without `four_bit`: a base in
    4 bits that has been used once gives useless weights when merged.
    """
    record = run.record
    if not (run.model / "adapter_config.json").is_file():
        fix = f"uv run python -m tune train --resume {run.name}"
        raise TuneError(f"The run {run.name} has no model yet.", fix)
    from peft import PeftModel

    base = load_base(models.find(record.base), four_bit=four_bit)
    return PeftModel.from_pretrained(base, str(run.model)).eval()


def quiet() -> None:
    """Hide the libraries' progress bars and warnings; our own messages say what matters."""
    need_loading()
    warnings.filterwarnings("ignore", module=r"torch|transformers|trl|peft|datasets|bitsandbytes")
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    enable_progress_bars()  # a download of gigabytes must show progress


def free() -> None:
    """Release the memory of models that are no longer used."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _load(base: Base, kind: Any, how: dict[str, Any]) -> Any:
    """Load from this machine, or download from the hub."""
    if not base.local:
        with suppress(OSError, ValueError):  # without a network, if all files are here
            return kind.from_pretrained(base.source, local_files_only=True, **how)
        auth_check(base.source)  # if the hub denies access, a download would retry for minutes
    return kind.from_pretrained(base.source, **how)


def _place() -> str | int:
    """The device of this process: one GPU for each, by the number from `accelerate launch`."""
    return int(os.environ.get("LOCAL_RANK", 0)) if device() == "cuda" else device()


def _quantizes() -> bool:
    return find_spec("bitsandbytes") is not None


def _four_bit() -> Any:
    if not _quantizes():
        raise TuneError("QLoRA needs bitsandbytes, which is not installed.", QLORA)
    if device() == "mps":
        raise TuneError("QLoRA needs an NVIDIA GPU or a CPU.", "set METHOD=lora in .env")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision(),
    )


def _pad(tokenizer: Any, base: Base) -> str:
    known = tokenizer.get_vocab()
    for pad in PADS:
        if pad in known:
            return pad
    problem = f"The tokenizer of {base.name} has no padding token."
    raise TuneError(problem, "use another base model: uv run python -m tune plan --list")


@contextmanager
def _explaining(base: Base) -> Iterator[None]:
    """Turn loading errors into a TuneError with a fix."""
    try:
        yield
    except Exception as error:
        explained = _explained(base, list(_causes(error)))
        if explained is None:
            raise
        raise explained from error


def _explained(base: Base, causes: list[BaseException]) -> TuneError | None:
    """The fix for an error, from the errors that caused it; None for a bug of ours."""
    caused_by = partial(_any, causes)
    page = f"https://huggingface.co/{base.source}"
    if caused_by(errors.GatedRepoError):
        problem = f"{base.source} is a gated model: its licence must be accepted first."
        return TuneError(problem, f"accept it at {page}, then: uv run hf auth login")
    if caused_by(errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        problem = f"The hub has no model {base.source}, or your token has no access to it."
        return TuneError(problem, "correct BASE_MODEL in .env, or: uv run hf auth login")
    if is_memory_full(causes[0]):
        problem = f"{base.name} does not fit in the memory of this machine."
        return TuneError(problem, "uv run python -m tune plan")
    if caused_by(errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, TransportError):
        first = "unset HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "go online"
        problem = f"{base.source} is not on this machine, and the hub cannot be reached."
        return TuneError(problem, f"{first}, then: uv run hf download {base.source}")
    damaged = type(causes[0]).__name__ == "SafetensorError"
    if damaged or isinstance(causes[0], OSError | ValueError):
        why = str(causes[0]).strip().partition("\n")[0] or type(causes[0]).__name__
        again = "copy the folder again" if base.local else f"uv run hf download {base.source}"
        problem = f"{base.source} cannot be loaded: {why}"
        return TuneError(problem, f"a file may be missing: {again}")
    return None


def _any(causes: list[BaseException], *kinds: type[BaseException]) -> bool:
    return any(isinstance(each, kinds) for each in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
