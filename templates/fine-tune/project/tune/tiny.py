"""Creates a tiny Mistral with random weights, so that a rehearsal needs no download."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tune import weights
from tune.errors import TuneError
from tune.models import REHEARSAL

VOCABULARY = 2048  # tokens at most, with the control tokens; with fewer it learns worse
LENGTH = 4096  # tokens of one conversation
# In the order of Mistral's own tokenizer (Tekken, version 13): [INST] is token 3 in both
_CONTROL = """
<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]
[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT]
[/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID] [THINK] [/THINK]
"""
CONTROL = _CONTROL.split()
# Small enough for a laptop's processor. Widths are multiples of 64, which 4-bit weights need
SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": LENGTH,
}


def make(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a model in Transformers' format, with a tokenizer trained on the texts.

    The same texts and seed give the same files. Raises TuneError if the folder holds anything else.
    """
    weights.quiet()
    if folder.exists() and not is_tiny(folder):
        problem = f"{folder} exists and is not a rehearsal model."
        raise TuneError(problem, "choose another folder")
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = learn_words(texts)
    config = MistralConfig(**SHAPE, **_ids(tokenizer), sliding_window=None)
    _save(folder, _seeded(MistralForCausalLM, config, seed), tokenizer)
    return folder


def make_image_text(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a tiny Ministral 3, with a vision tower; otherwise like `make`."""
    weights.quiet()
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    tokenizer = learn_words(texts)
    tower: dict[str, Any] = {
        "model_type": "pixtral",
        "image_size": 56,
        "patch_size": 14,
        "num_hidden_layers": 1,
        "hidden_size": 64,
    }
    tower |= {"intermediate_size": 128, "num_attention_heads": 2, "head_dim": 32}
    ids, image = _ids(tokenizer), CONTROL.index("[IMG]")
    text = {"model_type": "ministral3", "sliding_window": None, **SHAPE, **ids}
    config = Mistral3Config(text_config=text, vision_config=tower, image_token_index=image, **ids)
    _save(folder, _seeded(Mistral3ForConditionalGeneration, config, seed), tokenizer)
    return folder


def is_tiny(folder: Path) -> bool:
    """Whether a folder holds a rehearsal model (random weights before training)."""
    try:
        return bool(json.loads((folder / "config.json").read_text("utf-8")).get(REHEARSAL))
    except (OSError, ValueError, AttributeError):
        return False


def learn_words(texts: Iterable[str]) -> Any:
    """Train a BPE tokenizer on the texts, with Mistral's control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # any text can be encoded
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=LENGTH, clean_up_tokenization_spaces=False, **names
    )


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _seeded(model: Any, config: Any, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):  # the caller's random state does not change
        torch.manual_seed(seed)
        return model(config)


def _save(folder: Path, model: Any, tokenizer: Any) -> None:
    setattr(model.config, REHEARSAL, True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
