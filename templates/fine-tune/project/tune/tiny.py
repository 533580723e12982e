"""Creates a tiny Mistral with random weights, so that a rehearsal needs no download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tune import weights
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
ENDS = ("bos", "eos", "pad")
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

    The same texts and seed give the same files.
    """
    weights.quiet()
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = learn_words(texts)
    config = MistralConfig(**SHAPE, **vocabulary(tokenizer), sliding_window=None)
    setattr(config, REHEARSAL, True)
    with torch.random.fork_rng(devices=[]):  # the caller's random state does not change
        torch.manual_seed(seed)
        MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def vocabulary(tokenizer: Any) -> dict[str, Any]:
    """What a model's configuration says about its tokenizer."""
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ENDS}
    return {"vocab_size": -(-len(tokenizer) // 64) * 64, **ends}


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
