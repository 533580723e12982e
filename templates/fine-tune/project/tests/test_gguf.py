import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import mistral_common
import torch
from conftest import Tuned
from gguf import GGUFReader
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from tune import export, gguf, gguf_file, models, rehearse, weights
from tune.errors import TuneError
from tune.models import Base
from tune.runs import Run
from tune.settings import SETTINGS

TEXTS = ["The parcel is late.", "I was charged twice.", "The lamp is broken, and so is the mug."]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Mistral, as `export` writes merged weights."""
    folder = rehearse.make_base(tmp_path_factory.mktemp("models") / "text", TEXTS)
    return with_template(folder)


@pytest.fixture(scope="module")
def seeing_model(seeing: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Ministral 3."""
    folder = tmp_path_factory.mktemp("models") / "seeing"
    return with_template(Path(shutil.copytree(seeing.source, folder)))


def with_template(folder: Path) -> Path:
    export.save_tokenizer(models.find(str(folder)), folder)
    return folder


def value(file: Path, key: str) -> Any:
    return GGUFReader(file).fields[key].contents()


@pytest.fixture
def run(tuned: Tuned, tmp_path: Path) -> Run:
    """A copy of the tuned run, to export from."""
    return Run(Path(shutil.copytree(tuned.run.folder, tmp_path / "mine")))


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_run_is_exported_with_ollamas_modelfile(kind: str, run: Run, tuned: Tuned) -> None:
    made = gguf.to_gguf(run, kind, tuned.settings)
    assert set(made.files) == {f"mine-{kind}.gguf", "Modelfile", "README.md"}
    assert made.folder.name == f"gguf-{kind}"
    assert "answers are the run's" in made.checked
    text = (made.folder / "Modelfile").read_text("utf-8")
    assert text.startswith(f"FROM ./mine-{kind}.gguf\n")
    assert ModelCard((made.folder / "README.md").read_text("utf-8")).data.library_name == "gguf"


def test_a_file_that_answers_differently_is_removed(run: Run, tuned: Tuned) -> None:
    export.export(run, "merged", tuned.settings, emit=lambda _: None)
    file = run.exports / "merged" / "model.safetensors"
    stored = load_file(file)
    stored["lm_head.weight"] = -stored["lm_head.weight"]
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(TuneError, match="differently from the run"):
        gguf.to_gguf(run, "f16", tuned.settings)
    assert [path.name for path in run.exports.iterdir()] == ["merged"]


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("build", ["text", "seeing"])
def test_every_weight_can_be_read_back(
    kind: str, build: str, model: Path, seeing_model: Path, tmp_path: Path
) -> None:
    folder = model if build == "text" else seeing_model
    file = gguf_file.write(folder, tmp_path / "m.gguf", kind)
    loaded = weights.load_base(models.find(str(folder)))
    before = {name: each.detach().clone() for name, each in loaded.named_parameters()}
    with torch.no_grad():
        for name, each in loaded.named_parameters():
            if "vision_tower" not in name and "projector" not in name:
                each.zero_()
    gguf_file.load(file, loaded)
    for name, each in loaded.named_parameters():
        assert (each - before[name]).abs().max() <= before[name].abs().max() / 120, name


def test_with_llama_cpps_rope_the_attention_is_the_same(model: Path, tmp_path: Path) -> None:
    file = gguf_file.write(model, tmp_path / "m.gguf", "f16")
    tensors = GGUFReader(file).tensors
    stored = {tensor.name: torch.tensor(tensor.data).float() for tensor in tensors}
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
    assert torch.allclose(found, expected, rtol=1e-2, atol=1e-3)


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
    assert "convert_hf_to_gguf" in caught.value.fix


@pytest.mark.skipif(bool(shutil.which("llama-quantize")), reason="it is installed")
def test_a_type_that_only_llama_cpp_writes_says_what_to_use(run: Run, tuned: Tuned) -> None:
    with pytest.raises(TuneError, match="llama-quantize") as caught:
        gguf.to_gguf(run, "q4_k_m", tuned.settings)
    assert "q8_0" in caught.value.fix


def test_ollamas_modelfile_has_no_line_continuations() -> None:
    text = gguf.modelfile_for("m.gguf", SETTINGS)
    assert text.startswith('FROM ./m.gguf\nTEMPLATE """{{ range .Messages }}{{ if eq')
    assert "[INST]{{ .Content }}[/INST]" in text and "\\" not in text


@pytest.mark.parametrize("build", ["text", "seeing"])
def test_llama_cpp_gives_the_same_probabilities_for_every_next_token(
    build: str, model: Path, seeing_model: Path, tmp_path: Path
) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = model if build == "text" else seeing_model
    file = gguf_file.write(folder, tmp_path / "m.gguf", "f16")
    tokens = [1, *(50 + (place * 37) % 150 for place in range(200))]
    theirs = llama_cpp.Llama(str(file), n_ctx=512, verbose=False, logits_all=True)
    theirs.eval(tokens)
    ours = weights.load_base(models.find(str(folder)))
    with torch.inference_mode():
        expected = ours(input_ids=torch.tensor([tokens])).logits[0, -1]
    found = torch.tensor(theirs.scores[len(tokens) - 1])
    assert torch.allclose(found, expected, atol=1e-1)


def changed(model: Path, place: Path, name: str, change: dict[str, Any]) -> Path:
    """A copy of a model's folder with changes in one of its JSON files."""
    folder = place / "changed"
    shutil.copytree(model, folder)
    content = json.loads((folder / name).read_text("utf-8")) | change
    (folder / name).write_text(json.dumps(content), "utf-8")
    return folder
