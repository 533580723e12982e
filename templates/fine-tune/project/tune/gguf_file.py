"""Writes merged weights as a GGUF file, and reads it back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tune.errors import TuneError

# Types that this module writes. llama-quantize makes the others (q4_k_m, q5_k_m, …) from f16.
OWN = {"f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
LLAMA = "https://github.com/ggml-org/llama.cpp"
CONVERT = f"python convert_hf_to_gguf.py FOLDER   (in a clone of {LLAMA})"

# Ministral 3 has its own name in llama.cpp, for its rope and for its attention's temperature.
ARCHITECTURES = {
    "MistralForCausalLM": "llama",
    "Ministral3ForCausalLM": "mistral3",
    "Mistral3ForConditionalGeneration": "mistral3",
}
ENDS = ("bos", "eos", "unk", "pad")
ROPES = {"default": "none", "linear": "linear", "yarn": "yarn"}
# Identifies Tekken's pre-tokenizer: a part of its pattern that no other tokenizer has.
_TEKKEN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"


def write(folder: Path, target: Path, kind: str = "f16") -> Path:
    """Convert a merged model's folder to a GGUF file.

    Raises TuneError if the architecture or the tokenizer is not supported.
    """
    from gguf import GGUFWriter, LlamaFileType

    config, arch = _config(folder)
    writer = GGUFWriter(target, arch)
    writer.add_file_type(LlamaFileType[OWN[kind]])
    writer.add_quantization_version(2)
    _add_shape(writer, config)
    _add_rope(writer, config, arch)
    _add_tokenizer(writer, folder, config["vocab_size"])
    for name, weight in _weights(folder, config):
        _add_tensor(writer, name, weight, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def load(file: Path, model: Any) -> None:
    """Copy the file's weights into a loaded model of the same architecture."""
    import torch
    from gguf import GGUFReader, dequantize

    text = model.config.get_text_config()
    heads = {"attn_q": text.num_attention_heads, "attn_k": text.num_key_value_heads}
    stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    with torch.no_grad():
        for key, own in model.named_parameters():
            if name := _name(key):
                tensor = stored[name]
                weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
                own.copy_(_permute(weight, heads.get(name.split(".")[-2], 0), back=True))


def _config(folder: Path) -> tuple[dict[str, Any], str]:
    """The language model's configuration, and its architecture's name in llama.cpp."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    name = next(iter(config.get("architectures") or ()), "unknown")
    if name not in ARCHITECTURES:
        problem = f"{name} is not supported by our GGUF export, only {', '.join(ARCHITECTURES)}."
        raise TuneError(problem, CONVERT)
    text = {**config, **config.get("text_config", {})}
    text["head_dim"] = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    return text, ARCHITECTURES[name]


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_rope(writer: Any, config: dict[str, Any], arch: str) -> None:
    """Write the rope parameters; for Ministral 3 also those that extend it to 256k tokens."""
    from gguf import RopeScalingType

    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPES:
        raise TuneError(f'Rope type "{kind}" is not supported by our GGUF export.', CONVERT)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(rope["rope_theta"])
    if kind == "default":
        return
    writer.add_rope_scaling_type(RopeScalingType(ROPES[kind]))
    writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_beta_fast(rope.get("beta_fast", 32.0))
        writer.add_rope_scaling_yarn_beta_slow(rope.get("beta_slow", 1.0))
    if arch == "mistral3" and kind == "yarn":
        writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])


def _add_tokenizer(writer: Any, folder: Path, size: int) -> None:
    """Write the tokens with their types, the merges and the chat template."""
    from gguf import SpecialVocab

    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    except FileNotFoundError:
        raise TuneError(f"{folder} has no tokenizer.json.", CONVERT) from None
    pieces = tokenizer["model"].get("byte_fallback", False)  # SentencePiece, as in Mistral 7B v0.3
    texts, types = _texts(tokenizer, size)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_tokenizer_pre("default" if pieces else _pre(tokenizer))
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if pieces:
        writer.add_token_scores(_scores(tokenizer, texts))
        writer.add_add_space_prefix(_adds_space(tokenizer))
    # The chat template adds the first token, too; llama.cpp removes a duplicate.
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    special = SpecialVocab(folder, load_merges=not pieces, special_token_types=ENDS, n_vocab=size)
    special.add_special_token = {}
    special.add_to_gguf(writer, quiet=True)


def _texts(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Every token by its id, and its type: normal, control, a single byte, unused."""
    from gguf import TokenType

    texts = [f"[PAD{number}]" for number in range(size)]
    types = [int(TokenType.UNUSED)] * size
    bytes_too = tokenizer["model"].get("byte_fallback", False)
    for token, number in tokenizer["model"]["vocab"].items():
        byte = bytes_too and re.fullmatch(r"<0x[0-9A-F]{2}>", token)
        texts[number], types[number] = token, int(TokenType.BYTE if byte else TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        texts[added["id"]], types[added["id"]] = added["content"], int(kind)
    if bytes_too and "<unk>" in texts:
        types[texts.index("<unk>")] = int(TokenType.UNKNOWN)
    return texts, types


def _pre(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name for the pre-tokenizer."""
    steps = tokenizer.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    if any(_TEKKEN in str(step.get("pattern", {}).get("Regex")) for step in steps):
        return "tekken"
    if [(step.get("type"), step.get("use_regex", True)) for step in steps] == [("ByteLevel", True)]:
        return "gpt-2"
    raise TuneError("This tokenizer is not supported by our GGUF export.", CONVERT)


def _adds_space(tokenizer: dict[str, Any]) -> bool:
    """Whether the tokenizer adds a space after a control token such as [INST]."""
    steps = [tokenizer.get("pre_tokenizer") or {}, tokenizer.get("normalizer") or {}]
    for step in list(steps):
        steps += step.get("pretokenizers", []) + step.get("normalizers", [])
    return any(
        step.get("type") == "Prepend" or step.get("prepend_scheme") == "always" for step in steps
    )


def _scores(tokenizer: dict[str, Any], texts: list[str]) -> list[float]:
    """SentencePiece merges by score, highest first: an earlier merge gets a higher score."""
    ranks: dict[str, float] = {}
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        ranks.setdefault(left + right, -float(rank))
    return [ranks.get(token, 0.0) for token in texts]


def _weights(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each weight of the language model, with llama.cpp's name and row order."""
    from safetensors import safe_open

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                if name := _name(key):
                    weight = opened.get_tensor(key)
                    yield name, _permute(weight, heads.get(name.split(".")[-2], 0))


def _name(key: str) -> str:
    """llama.cpp's name of a weight; empty for the vision tower, which is a separate file there."""
    if re.search(r"vision_tower|multi_modal_projector", key):
        return ""
    key = key.replace("language_model.", "")
    key = key if key.startswith(("model.", "lm_head")) else f"model.{key}"
    name = _names().get_name(key, try_suffixes=(".weight",))
    if not name:
        raise TuneError(f'The weight "{key}" is not supported by our GGUF export.', CONVERT)
    return str(name)


@cache
def _names() -> Any:
    from gguf import MODEL_ARCH, get_tensor_name_map

    return get_tensor_name_map(MODEL_ARCH.LLAMA, 256)  # layers, at most


def _permute(weight: Any, heads: int, *, back: bool = False) -> Any:
    """Reorder the rows for rope: llama.cpp rotates neighbours, Transformers a head's halves."""
    if not heads:
        return weight
    rows, half = weight.shape[0], weight.shape[0] // heads // 2
    parts = (heads, half, 2, -1) if back else (heads, 2, half, -1)
    return weight.reshape(parts).swapaxes(1, 2).reshape(rows, -1)


def _add_tensor(writer: Any, name: str, weight: Any, kind: str) -> None:
    """Norms stay in 32 bits; rows that do not fill blocks of 32, in 16."""
    import torch
    from gguf import GGMLQuantizationType, quantize

    if weight.ndim == 1:
        kind = "f32"
    elif kind == "q8_0" and weight.shape[-1] % 32:
        kind = "f16"
    dtype = GGMLQuantizationType[kind.upper()]
    writer.add_tensor(name, quantize(weight.to(torch.float32).numpy(), dtype), raw_dtype=dtype)
