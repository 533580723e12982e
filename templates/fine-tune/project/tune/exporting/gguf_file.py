"""A merged model as one GGUF file, for llama.cpp and Ollama."""

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

# Written here. Everything else (q4_k_m, q5_k_m, …) is made of the f16 file by llama.cpp.
OWN = ("f32", "f16", "bf16", "q8_0")

SCRIPT = "convert_hf_to_gguf.py"  # llama.cpp's own, which knows every architecture

# Ministral 3 has a name of its own in llama.cpp, for its rope and for its attention's temperature.
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

# How Tekken cuts text into words before it merges, by a part that no other tokenizer has.
_TEKKEN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"


def write(folder: Path, target: Path, kind: str = "f16") -> Path:
    """Turn a merged model's folder into a GGUF file. One tensor is in memory at a time.

    Raises TuneError where llama.cpp has no such architecture, tokenizer, or kind of number.
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
    """The file's weights, one after the other, under the names that Transformers gives them."""
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
    """Tell whether llama.cpp is at hand for the kinds that are not written here."""
    return bool(shutil.which("llama-quantize") or find_spec("llama_cpp"))


def check_kind(kind: str) -> None:
    """Raise TuneError where this kind of file cannot be made here."""
    if kind in OWN:
        return
    if kind.upper() not in _known_kinds():
        kinds = ", ".join([*OWN, "q4_k_m", "q5_k_m", "q6_k"])
        raise TuneError(f'There is no kind of GGUF called "{kind}".', f"choose one of {kinds}")
    if not can_quantize():
        problem = f"{kind} is made by llama.cpp, which is not installed; q8_0 needs nothing."
        raise TuneError(problem, "uv pip install llama-cpp-python")


def size(folder: Path, kind: str) -> int:
    """About how many bytes the file takes, for a look at the disk beforehand."""
    made_of_f16 = 16 + 6.6  # the larger file lies beside it for a while
    bits = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5}.get(kind, made_of_f16)
    from safetensors import safe_open

    numbers = 0
    for file in _files(folder):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                rows, *rest = opened.get_slice(name).get_shape()
                numbers += rows * (rest[0] if rest else 1)
    return int(numbers * bits / 8) + 20_000_000


# What the model is


def _config(folder: Path) -> tuple[dict[str, Any], str]:
    """The language model's configuration, and its architecture's name in llama.cpp."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    name = next(iter(config.get("architectures") or ()), "unknown")
    if name not in ARCHITECTURES:
        raise TuneError(
            f"{name} cannot be written as GGUF here: only {', '.join(ARCHITECTURES)}.",
            f"python {SCRIPT} {folder}   (in a clone of https://github.com/ggml-org/llama.cpp)",
        )
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
    """How positions turn the attention; for Ministral 3 also what stretches it to 256k tokens."""
    from gguf import RopeScalingType

    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ROPES:
        raise TuneError(f'Positions of the kind "{kind}" cannot be written here.', SCRIPT)
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


# Its tokenizer


def _add_tokenizer(writer: Any, folder: Path, size: int) -> None:
    """The tokens with their kinds, and what a chat looks like."""
    from gguf import SpecialVocab

    try:
        tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    except FileNotFoundError:
        fix = f"python {SCRIPT} {folder}   (in a clone of https://github.com/ggml-org/llama.cpp)"
        raise TuneError(f"{folder} has no tokenizer.json to put into the file.", fix) from None
    pieces = tokenizer["model"].get("byte_fallback", False)  # SentencePiece, as in Mistral 7B v0.3
    tokens, types = _tokens(tokenizer, size)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_tokenizer_pre("default" if pieces else _pre(tokenizer))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if pieces:
        writer.add_token_scores(_scores(tokenizer, tokens))
        writer.add_add_space_prefix(_adds_space(tokenizer))
    # The chat template says where the first token goes; llama.cpp drops it where it comes twice.
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    special = SpecialVocab(folder, load_merges=not pieces, special_token_types=_ENDS, n_vocab=size)
    special.add_special_token = {}
    special.add_to_gguf(writer, quiet=True)


_ENDS = ("bos", "eos", "unk", "pad")


def _tokens(tokenizer: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Every token by its number, and its type: normal, control, a single byte, unused."""
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
    """llama.cpp's name for the way that text is cut into words before it is merged."""
    steps = tokenizer.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    if any(_TEKKEN in str(step.get("pattern", {}).get("Regex")) for step in steps):
        return "tekken"
    if [(step.get("type"), step.get("use_regex", True)) for step in steps] == [("ByteLevel", True)]:
        return "gpt-2"
    problem = "llama.cpp knows this tokenizer under a name that is not known here."
    raise TuneError(problem, f"{SCRIPT} of https://github.com/ggml-org/llama.cpp")


def _adds_space(tokenizer: dict[str, Any]) -> bool:
    """Whether the text after a control token, as [INST], gets a space in front."""
    steps = [tokenizer.get("pre_tokenizer") or {}, tokenizer.get("normalizer") or {}]
    for step in list(steps):
        steps += step.get("pretokenizers", []) + step.get("normalizers", [])
    return any(
        step.get("type") == "Prepend" or step.get("prepend_scheme") == "always" for step in steps
    )


def _scores(tokenizer: dict[str, Any], tokens: list[str]) -> list[float]:
    """SentencePiece merges what scores highest; an early merge scored high when it was learnt."""
    ranks: dict[str, float] = {}
    for rank, merge in enumerate(tokenizer["model"]["merges"]):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        ranks.setdefault(left + right, -float(rank))
    return [ranks.get(token, 0.0) for token in tokens]


# Its weights


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _weights(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each weight of the language model, under llama.cpp's name and in its order of rows."""
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
    """llama.cpp's name of a weight; empty for what sees images, which is another file there."""
    if re.search(r"vision_tower|multi_modal_projector", key):
        return ""
    key = key.replace("language_model.", "").removesuffix(".weight")
    key = key if key.startswith(("model.", "lm_head")) else f"model.{key}"
    layer = _LAYER.fullmatch(key)
    prefix, part = (f"blk.{layer[1]}.", layer[2]) if layer else ("", key)
    if part not in _TENSORS:
        raise TuneError(f'The weight "{key}" has no place in GGUF.', SCRIPT)
    return f"{prefix}{_TENSORS[part]}.weight"


def _split(name: str) -> tuple[str, str]:
    """The layer's number, or nothing, and the part: `blk.3.attn_q.weight` is ("3", "attn_q")."""
    *layer, part = name.removesuffix(".weight").removeprefix("blk.").split(".")
    return "".join(layer), part


def _permute(weight: Any, heads: int) -> Any:
    """llama.cpp turns neighbours in pairs, Transformers a head's two halves: reorder the rows."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(shape)


def _unpermute(weight: Any, heads: int) -> Any:
    shape = weight.shape
    return weight.reshape(heads, shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(shape)


def _kind_of(shape: tuple[int, ...], kind: str) -> str:
    """Norms stay as they are; rows that are no multiple of a block's 32 numbers stay at 16 bits."""
    if len(shape) == 1:
        return "f32"
    return "f16" if kind == "q8_0" and shape[-1] % 32 else kind


def _as_kind(weight: Any, kind: str) -> Any:
    import torch
    from gguf import GGMLQuantizationType, quantize

    numbers = weight.to(torch.float32).numpy()
    return quantize(numbers, GGMLQuantizationType[kind.upper()])


def _add_tensors(writer: Any, folder: Path, config: dict[str, Any], kind: str) -> None:
    """Announce every tensor, before the first is written."""
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


# Smaller kinds, by llama.cpp


def _quantize(folder: Path, target: Path, kind: str) -> Path:
    """Make a smaller file of the f16 one, by llama-quantize or by llama-cpp-python."""
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
        raise TuneError(f"llama.cpp could not make {kind} of this model.", "choose q8_0")
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


# Asking it


def load(file: Path, model: Any) -> None:
    """Put the file's weights into a loaded model of the same build."""
    import torch

    own = {name.replace("language_model.", ""): each for name, each in model.named_parameters()}
    with torch.no_grad():
        for name, weight in read(file):
            own[name].copy_(weight)


def answers(file: Path, conversations: list[list[dict[str, Any]]], limit: int) -> list[str]:
    """What llama.cpp answers with it, by its own tokenizer and the file's chat template."""
    import llama_cpp

    # As much as is asked, at a byte a token: all that Ministral 3 can read would take 36 GB
    longest = max((len(json.dumps(each)) for each in conversations), default=0)
    model = llama_cpp.Llama(str(file), n_ctx=longest + limit, verbose=False)
    found = []
    for messages in conversations:
        reply: Any = model.create_chat_completion(messages, temperature=0.0, max_tokens=limit)
        found.append(str(reply["choices"][0]["message"]["content"] or ""))
    return found
