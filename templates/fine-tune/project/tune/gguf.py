"""Writes a merged model as one GGUF file, for llama.cpp and Ollama."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tune.errors import TuneError, need_loading

# Types that this module writes. llama.cpp makes the others (q4_k_m, q5_k_m, …) from the f16 file.
OWN = ("f32", "f16", "bf16", "q8_0")

SCRIPT = "convert_hf_to_gguf.py"  # llama.cpp's own script, which supports every architecture
LLAMA = "https://github.com/ggml-org/llama.cpp"
CONVERT = f"use {SCRIPT} from {LLAMA}"

# Ministral 3 has its own name in llama.cpp, for its rope and for its attention's temperature.
ARCHITECTURES = {
    "MistralForCausalLM": "llama",
    "Ministral3ForCausalLM": "mistral3",
    "Mistral3ForConditionalGeneration": "mistral3",
}
ROPES = {"default": "none", "linear": "linear", "yarn": "yarn"}

_TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")

# Identifies Tekken's pre-tokenizer: a part of its pattern that no other tokenizer has.
_TEKKEN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"


def write(folder: Path, target: Path, kind: str = "f16") -> Path:
    """Convert a merged model's folder to a GGUF file. One tensor is in memory at a time.

    Raises TuneError if the architecture, the tokenizer or the type is not supported.
    """
    need_loading()
    if kind not in OWN:
        return _quantize(folder, target, kind)
    from gguf import GGUFWriter, LlamaFileType

    config, arch = _config(folder)
    writer = GGUFWriter(None, arch)
    writer.add_file_type(LlamaFileType[_FILE_TYPES[kind]])
    writer.add_quantization_version(2)
    _add_shape(writer, config)
    _add_rope(writer, config, arch)
    _add_tokenizer(writer, folder, config["vocab_size"])
    _add_tensors(writer, folder, config, kind)
    writer.write_header_to_file(path=target)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, weight in _weights(folder, config):
        writer.write_tensor_data(_as_kind(weight, _kind_of(weight.shape, kind)))
    writer.close()
    return target


def read(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield the file's weights with their names in Transformers."""
    import torch
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(file)
    heads = {
        part: int(_value(reader, f"attention.head_count{suffix}"))
        for part, suffix in (("attn_q", ""), ("attn_k", "_kv"))
    }
    names = {short: long for long, short in _TENSORS.items()}
    for tensor in reader.tensors:
        layer, part = _split(tensor.name)
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if part in heads:
            weight = _unpermute(weight, heads[part])
        prefix = f"model.layers.{layer}." if layer else ""
        yield f"{prefix}{names[part]}.weight", weight


def can_quantize() -> bool:
    """Whether llama.cpp is installed, for the types that are not written here."""
    return bool(shutil.which("llama-quantize") or find_spec("llama_cpp"))


def check_kind(kind: str) -> None:
    """Raise TuneError if this GGUF type cannot be written here."""
    if kind in OWN:
        return
    if kind.upper() not in _known_kinds():
        kinds = ", ".join([*OWN, "q4_k_m", "q5_k_m", "q6_k"])
        raise TuneError(f'There is no GGUF type "{kind}".', f"choose one of {kinds}")
    if not can_quantize():
        problem = f"{kind} needs llama.cpp, which is not installed; q8_0 does not need it."
        raise TuneError(problem, "uv pip install llama-cpp-python")


def size(folder: Path, kind: str) -> int:
    """The approximate size of the file in bytes, to check the disk first."""
    made_of_f16 = 16 + 6.6  # the f16 file exists at the same time
    bits = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5}.get(kind, made_of_f16)
    from safetensors import safe_open

    numbers = 0
    for file in _files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                rows, *rest = opened.get_slice(name).get_shape()
                numbers += rows * (rest[0] if rest else 1)
    return int(numbers * bits / 8) + 20_000_000


# The model's configuration


def _config(folder: Path) -> tuple[dict[str, Any], str]:
    """The language model's configuration, and its architecture's name in llama.cpp."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    name = next(iter(config.get("architectures") or ()), "unknown")
    if name not in ARCHITECTURES:
        problem = f"{name} is not supported by our GGUF export, only {', '.join(ARCHITECTURES)}."
        raise TuneError(problem, f"python {SCRIPT} {folder}   (in a clone of {LLAMA})")
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


# The tokenizer


def _add_tokenizer(writer: Any, folder: Path, size: int) -> None:
    """Write the tokens with their types, the merges and the chat template."""
    from gguf import SpecialVocab

    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    except FileNotFoundError:
        fix = f"python {SCRIPT} {folder}   (in a clone of {LLAMA})"
        raise TuneError(f"{folder} has no tokenizer.json.", fix) from None
    pieces = tokenizer["model"].get("byte_fallback", False)  # SentencePiece, as in Mistral 7B v0.3
    tokens, types = _tokens(tokenizer, size)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_tokenizer_pre("default" if pieces else _pre(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pieces:
        writer.add_token_scores(_scores(tokenizer, tokens))
        writer.add_add_space_prefix(_adds_space(tokenizer))
    # The chat template adds the first token, too; llama.cpp removes a duplicate.
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    special = SpecialVocab(folder, load_merges=not pieces, special_token_types=_ENDS, n_vocab=size)
    special.add_special_token = {}
    special.add_to_gguf(writer, quiet=True)


_ENDS = ("bos", "eos", "unk", "pad")


def _tokens(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Every token by its id, and its type: normal, control, a single byte, unused."""
    from gguf import TokenType

    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [int(TokenType.UNUSED)] * size
    bytes_too = tokenizer["model"].get("byte_fallback", False)
    for token, number in tokenizer["model"]["vocab"].items():
        byte = bytes_too and re.fullmatch(r"<0x[0-9A-F]{2}>", token)
        tokens[number], types[number] = token, int(TokenType.BYTE if byte else TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], int(kind)
    if bytes_too and "<unk>" in tokens:
        types[tokens.index("<unk>")] = int(TokenType.UNKNOWN)
    return tokens, types


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


def _scores(tokenizer: dict[str, Any], tokens: list[str]) -> list[float]:
    """SentencePiece merges by score, highest first: an earlier merge gets a higher score."""
    ranks: dict[str, float] = {}
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        ranks.setdefault(left + right, -float(rank))
    return [ranks.get(token, 0.0) for token in tokens]


# The weights


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _weights(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each weight of the language model, with llama.cpp's name and row order."""
    from safetensors import safe_open

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for file in _files(folder):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                name = _name(key)
                if not name:
                    continue
                weight = opened.get_tensor(key)
                part = _split(name)[1]
                yield name, _permute(weight, heads[part]) if part in heads else weight


def _name(key: str) -> str:
    """llama.cpp's name of a weight; empty for the vision tower, which is a separate file there."""
    if re.search(r"vision_tower|multi_modal_projector", key):
        return ""
    key = key.replace("language_model.", "").removesuffix(".weight")
    key = key if key.startswith(("model.", "lm_head")) else f"model.{key}"
    layer = _LAYER.fullmatch(key)
    prefix, part = (f"blk.{layer[1]}.", layer[2]) if layer else ("", key)
    if part not in _TENSORS:
        raise TuneError(f'The weight "{key}" is not supported by our GGUF export.', CONVERT)
    return f"{prefix}{_TENSORS[part]}.weight"


def _split(name: str) -> tuple[str, str]:
    """The layer's number, or "", and the part: `blk.3.attn_q.weight` is ("3", "attn_q")."""
    *layer, part = name.removesuffix(".weight").removeprefix("blk.").split(".")
    return "".join(layer), part


def _permute(weight: Any, heads: int) -> Any:
    """Reorder the rows for rope: llama.cpp rotates neighbours, Transformers a head's halves."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)


def _unpermute(weight: Any, heads: int) -> Any:
    shape = weight.shape
    return weight.reshape(heads, shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(shape)


def _kind_of(shape: tuple[int, ...], kind: str) -> str:
    """The type of one tensor: norms stay in 32 bits; rows that do not fill blocks of 32, in 16."""
    if len(shape) == 1:
        return "f32"
    return "f16" if kind == "q8_0" and shape[-1] % 32 else kind


def _as_kind(weight: Any, kind: str) -> Any:
    import torch
    from gguf import GGMLQuantizationType, quantize

    numbers = weight.to(torch.float32).numpy()
    return quantize(numbers, GGMLQuantizationType[kind.upper()])


def _add_tensors(writer: Any, folder: Path, config: dict[str, Any], kind: str) -> None:
    """Declare every tensor before the first one is written."""
    import numpy
    from gguf import GGMLQuantizationType, quant_shape_to_byte_shape

    for name, weight in _weights(folder, config):
        dtype = GGMLQuantizationType[_kind_of(weight.shape, kind).upper()]
        shape = quant_shape_to_byte_shape(tuple(weight.shape), dtype) if dtype > 1 else weight.shape
        plain = {0: numpy.float32, 1: numpy.float16}.get(int(dtype), numpy.uint8)
        raw = None if dtype <= 1 else dtype
        size = int(numpy.prod(shape)) * numpy.dtype(plain).itemsize
        writer.add_tensor_info(name, tuple(shape), numpy.dtype(plain), size, raw_dtype=raw)


def _value(reader: Any, key: str) -> Any:
    arch = reader.fields["general.architecture"].contents()
    return reader.fields[f"{arch}.{key}"].contents()


# Smaller types, with llama.cpp


def _quantize(folder: Path, target: Path, kind: str) -> Path:
    """Quantize the f16 file with llama-quantize or llama-cpp-python."""
    check_kind(kind)
    full = write(folder, target.with_suffix(".f16.part"), "f16")
    try:
        if program := shutil.which("llama-quantize"):
            command = [program, str(full), str(target), kind.upper()]
            done = subprocess.run(command, capture_output=True, check=False).returncode == 0
        else:
            done = _quantize_here(full, target, _known_kinds()[kind.upper()])
    finally:
        full.unlink()
    if not done:
        raise TuneError(f"llama.cpp could not convert this model to {kind}.", "choose q8_0")
    return target


def _known_kinds() -> dict[str, int]:
    from gguf import LlamaFileType

    return {each.name.removeprefix("MOSTLY_"): each.value for each in LlamaFileType}


def _quantize_here(source: Path, target: Path, file_type: int) -> bool:
    import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = file_type
    names = str(source).encode(), str(target).encode()
    return bool(llama_cpp.llama_model_quantize(*names, options) == 0)


# Using the file


def load(file: Path, model: Any) -> None:
    """Copy the file's weights into a loaded model of the same architecture."""
    import torch

    own = {name.replace("language_model.", ""): each for name, each in model.named_parameters()}
    with torch.no_grad():
        for name, weight in read(file):
            own[name].copy_(weight)


def answers(file: Path, conversations: list[list[dict[str, Any]]], limit: int) -> list[str]:
    """llama.cpp's answers, with its own tokenizer and the file's chat template."""
    import llama_cpp

    # Only as much context as needed, at one byte per token: Ministral 3's full one takes 36 GB
    longest = max((len(json.dumps(each)) for each in conversations), default=0)
    model = llama_cpp.Llama(str(file), n_ctx=longest + limit, verbose=False)
    found = []
    for messages in conversations:
        reply: Any = model.create_chat_completion(messages, temperature=0.0, max_tokens=limit)
        found.append(str(reply["choices"][0]["message"]["content"] or ""))
    return found
