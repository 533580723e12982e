import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tune import models
from tune.errors import TuneError
from tune.models import ALL_SEVEN, BASES, TEXT_ONLY, find
from tune.settings import ROOT

PLAIN: dict[str, Any] = {
    "model_type": "mistral",
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
}
SEEING = {
    "model_type": "mistral3",
    "text_config": {**PLAIN, "model_type": "ministral3", "head_dim": 64},
    "vision_config": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
}
# Billions of parameters as the models' pages say, without the vision part.
PUBLISHED = {"ministral-3b": 3.4, "ministral-8b": 8.5, "ministral-14b": 13.5, "mistral-7b": 7.2}


def folder(place: Path, config: object, name: str = "ours") -> str:
    """Make a model's folder with that config.json."""
    path = place / name
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config), "utf-8")
    return str(path)


def problem(name: str) -> str:
    with pytest.raises(TuneError) as raised:
        find(name)
    return str(raised.value)


# By name


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_base_is_found_by_its_name_and_by_its_id_in_any_case(base: models.Base) -> None:
    assert find(base.name) == find(base.source.upper()) == base
    assert base.licence and base.note and base.shape


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_the_shapes_come_to_the_published_sizes(name: str, billions: float) -> None:
    shape = find(name).shape
    assert shape
    assert (shape.parameters - shape.vision) / 1e9 == pytest.approx(billions, abs=0.06)


def test_in_bases_with_vision_only_the_text_part_is_adapted() -> None:
    for base in BASES:
        assert base.targets == (TEXT_ONLY if base.image_text else ALL_SEVEN)


def test_a_misspelt_name_gets_a_suggestion() -> None:
    said = problem("minstral-3b")
    assert 'Did you mean "ministral-3b"?' in said
    assert "plan --list" in said


def test_larger_models_learn_at_half_the_rate() -> None:
    assert find("ministral-8b").learning_rate == 2 * find("ministral-14b").learning_rate


# By folder


def test_a_folder_is_described_by_its_config(tmp_path: Path) -> None:
    base = find(folder(tmp_path, PLAIN))
    assert base.name == "ours"
    assert base.local and not base.tiny and not base.image_text
    assert base.targets == ALL_SEVEN
    assert base.shape == models.Shape(4, 256, 512, 2048, heads=8, kv_heads=2, head_dim=32)


def test_a_folder_with_vision_is_recognised_by_its_two_configs(tmp_path: Path) -> None:
    base = find(folder(tmp_path, SEEING))
    assert base.image_text
    assert base.targets == TEXT_ONLY
    assert base.shape and base.shape.head_dim == 64 and base.shape.vision > 0


@pytest.mark.parametrize("config", [{"model_type": "rwkv"}, {**PLAIN, "num_local_experts": 8}])
def test_a_folder_of_another_family_is_taken_without_its_shape(tmp_path: Path, config: Any) -> None:
    assert find(folder(tmp_path, config)).shape is None


@pytest.mark.parametrize("method", ["fp8", "gptq"])
def test_a_folder_with_quantized_weights_is_refused(tmp_path: Path, method: str) -> None:
    config = {**PLAIN, "quantization_config": {"quant_method": method}}
    said = problem(folder(tmp_path, config))
    assert method.upper() in said and "BF16" in said


def test_a_folder_without_a_config_says_what_is_missing(tmp_path: Path) -> None:
    assert "config.json cannot be read" in problem(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_broken_config_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, "utf-8")
    assert "config.json" in problem(str(tmp_path))


def test_a_missing_folder_is_not_taken_for_an_id(tmp_path: Path) -> None:
    assert "no base model or folder" in problem(str(tmp_path / "nowhere"))
    assert "no base model or folder" in problem("data/nowhere")


# By id


def test_an_unknown_id_is_taken_as_it_is() -> None:
    base = find("someone/their-model-7b")
    assert (base.name, base.source, base.licence) == ("someone/their-model-7b",) * 2 + ("",)
    assert base.shape is None


def test_the_shape_of_an_id_is_known_once_its_config_is_in_the_hub_s_cache(tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--someone--theirs"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("1" * 40, "utf-8")
    (cache / "snapshots").mkdir()
    folder(cache / "snapshots", PLAIN, "1" * 40)
    code = "from tune.models import find; print(find('someone/theirs').shape.layers)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    assert said.stdout.strip() == b"4"
