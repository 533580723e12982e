import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import mistral_common
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

from tune import gguf_file, models, tiny, weights
from tune.errors import TuneError

TEXTS = ["The parcel is late.", "I was charged twice.", "The lamp is broken, and so is the mug."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Mistral, as `export` writes merged weights."""
    folder = tiny.make(tmp_path_factory.mktemp("models") / "text", TEXTS)
    return with_template(folder)


@pytest.fixture(scope="module")
def seeing_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Ministral 3."""
    return with_template(tiny.make_image_text(tmp_path_factory.mktemp("models") / "seeing", TEXTS))


def with_template(folder: Path) -> Path:
    from tune.export import for_inference

    tokenizer = weights.load_tokenizer(models.find(str(folder)))
    tokenizer.chat_template = for_inference(tokenizer.chat_template)
    tokenizer.save_pretrained(folder)
    return folder


def value(file: Path, key: str) -> Any:
    return GGUFReader(file).fields[key].contents()


def test_every_weight_can_be_read_back_as_it_was(model: Path, tmp_path: Path) -> None:
    found = dict(gguf_file.read(gguf_file.write(model, tmp_path / "m.gguf", "f32")))
    before = load_file(model / "model.safetensors")
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], before[name]) for name in before)


def test_the_vision_tower_is_left_out(seeing_model: Path, tmp_path: Path) -> None:
    found = dict(gguf_file.read(gguf_file.write(seeing_model, tmp_path / "m.gguf", "f32")))
    before = load_file(seeing_model / "model.safetensors")
    own = {name.replace("language_model.", "") for name in before if "language_model" in name}
    assert {name.removeprefix("model.") for name in found} == {
        name.removeprefix("model.") for name in own
    }


def test_eight_bits_take_half_the_size_and_stay_close(model: Path, tmp_path: Path) -> None:
    half = gguf_file.write(model, tmp_path / "f16.gguf", "f16")
    eight = gguf_file.write(model, tmp_path / "q8.gguf", "q8_0")
    assert eight.stat().st_size < 0.7 * half.stat().st_size
    before, after = dict(gguf_file.read(half)), dict(gguf_file.read(eight))
    for name, weight in before.items():
        assert (weight - after[name]).abs().max() <= weight.abs().max() / 120, name


def test_with_llama_cpps_rope_the_attention_is_the_same(model: Path, tmp_path: Path) -> None:
    file = gguf_file.write(model, tmp_path / "m.gguf", "f32")
    stored = {tensor.name: torch.tensor(tensor.data) for tensor in GGUFReader(file).tensors}
    ours = load_file(model / "model.safetensors")
    hidden = torch.randn(2, 128, generator=torch.Generator().manual_seed(0))
    head, angles = 32, 10_000.0 ** -(torch.arange(16) / 16)

    def halves(rows: torch.Tensor, place: int) -> torch.Tensor:
        first, second = rows[:16], rows[16:]
        cos, sin = (place * angles).cos(), (place * angles).sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin])

    def pairs(rows: torch.Tensor, place: int) -> torch.Tensor:
        first, second = rows[0::2], rows[1::2]
        cos, sin = (place * angles).cos(), (place * angles).sin()
        return torch.cat([first * cos - second * sin, second * cos + first * sin])

    query = ours["model.layers.0.self_attn.q_proj.weight"][:head]
    key = ours["model.layers.0.self_attn.k_proj.weight"][:head]
    expected = halves(query @ hidden[0], 7) @ halves(key @ hidden[1], 3)
    query, key = stored["blk.0.attn_q.weight"][:head], stored["blk.0.attn_k.weight"][:head]
    found = pairs(query @ hidden[0], 7) @ pairs(key @ hidden[1], 3)
    assert torch.allclose(found, expected, atol=1e-5)


def test_ministral_3_has_its_rope_and_temperature_scaling(
    seeing_model: Path, tmp_path: Path
) -> None:
    file = gguf_file.write(seeing_model, tmp_path / "m.gguf")
    rope = json.loads((seeing_model / "config.json").read_text())["text_config"]["rope_parameters"]
    assert value(file, "general.architecture") == "mistral3"
    assert value(file, "mistral3.rope.scaling.type") == "yarn"
    assert value(file, "mistral3.rope.scaling.factor") == rope["factor"]
    scale = value(file, "mistral3.attention.temperature_scale")
    assert scale == pytest.approx(rope["llama_4_scaling_beta"])


def test_the_file_has_the_tokens_their_types_and_the_chat_template(
    model: Path, tmp_path: Path
) -> None:
    file = gguf_file.write(model, tmp_path / "m.gguf")
    tokens = value(file, "tokenizer.ggml.tokens")
    types = value(file, "tokenizer.ggml.token_type")
    assert tokens[3] == "[INST]" and types[3] == 3  # control
    assert value(file, "tokenizer.ggml.pre") == "gpt-2"
    assert value(file, "tokenizer.ggml.eos_token_id") == tokens.index("</s>")
    assert "[INST]" in value(file, "tokenizer.chat_template")
    assert "%- generation" not in value(file, "tokenizer.chat_template")


def test_mistrals_own_tokenizer_is_recognized_by_its_pattern(model: Path, tmp_path: Path) -> None:
    data = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    pattern = json.loads(data.read_text("utf-8"))["config"]["pattern"]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    change = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_]}}
    folder = changed(model, tmp_path, "tokenizer.json", change)
    file = gguf_file.write(folder, tmp_path / "m.gguf")
    assert value(file, "tokenizer.ggml.pre") == "tekken"


def test_an_unknown_pre_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    folder = changed(model, tmp_path, "tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(TuneError, match="tokenizer"):
        gguf_file.write(folder, tmp_path / "m.gguf")


def test_sentencepieces_earlier_merges_have_higher_scores(model: Path, tmp_path: Path) -> None:
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "c", "ab", "abc"]
    merges = [["a", "b"], ["ab", "c"]]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    change = {
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True},
        "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "first"},
        "added_tokens": [],
    }
    file = gguf_file.write(changed(model, tmp_path, "tokenizer.json", change), tmp_path / "m.gguf")
    scores = value(file, "tokenizer.ggml.scores")
    assert value(file, "tokenizer.ggml.model") == "llama"
    assert scores[7] > scores[8]
    assert value(file, "tokenizer.ggml.token_type")[:4] == [2, 1, 1, 6]  # unknown, …, a byte
    assert value(file, "tokenizer.ggml.add_space_prefix") is False


def test_another_architecture_is_left_to_llama_cpps_own_script(model: Path, tmp_path: Path) -> None:
    change = {"architectures": ["MixtralForCausalLM"]}
    folder = changed(model, tmp_path, "config.json", change)
    with pytest.raises(TuneError, match="MixtralForCausalLM") as caught:
        gguf_file.write(folder, tmp_path / "m.gguf")
    assert gguf_file.SCRIPT in caught.value.fix


def test_an_unknown_type_gets_a_list_of_the_others(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TuneError, match='"q9"') as caught:
        gguf_file.write(model, tmp_path / "m.gguf", "q9")
    assert "q8_0" in caught.value.fix


@pytest.mark.skipif(gguf_file.can_quantize(), reason="llama.cpp is installed")
def test_a_type_that_only_llama_cpp_writes_says_what_to_install(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuneError, match="q4_k_m") as caught:
        gguf_file.write(model, tmp_path / "m.gguf", "q4_k_m")
    assert "llama-cpp-python" in caught.value.fix


@pytest.mark.parametrize("build", ["text", "seeing"])
def test_llama_cpp_gives_the_same_probabilities_for_every_next_token(
    build: str, model: Path, seeing_model: Path, tmp_path: Path
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = model if build == "text" else seeing_model
    file = gguf_file.write(folder, tmp_path / "m.gguf", "f32")
    tokens = [1, *(50 + (place * 37) % 150 for place in range(200))]
    theirs = llama_cpp.Llama(str(file), n_ctx=512, verbose=False, logits_all=True)
    theirs.eval(tokens)
    ours = weights.load_base(models.find(str(folder)))
    with torch.inference_mode():
        expected = ours(input_ids=torch.tensor([tokens])).logits[0, -1]
    found = torch.tensor(theirs.scores[len(tokens) - 1])
    assert torch.allclose(found, expected, atol=1e-3)


def changed(model: Path, place: Path, name: str, change: dict[str, Any]) -> Path:
    """A copy of a model's folder with changes in one of its JSON files."""
    folder = place / "changed"
    shutil.copytree(model, folder)
    content = json.loads((folder / name).read_text("utf-8")) | change
    (folder / name).write_text(json.dumps(content), "utf-8")
    return folder
