"""A tiny Mistral that needs no download."""

from pathlib import Path

import pytest

from tune import models, rehearse, weights

pytest.importorskip("transformers")

TEXTS = [
    "The parcel is late.",
    "Le colis est en retard.",
    '{"team": "delivery", "urgent": true}',
] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rehearse.make_base(tmp_path_factory.mktemp("made") / "tiny", TEXTS)


def test_it_is_a_base_with_random_weights(folder: Path) -> None:
    base = models.find(str(folder))
    assert base.tiny and base.local and not base.image_text


def test_it_is_small_and_made_for_four_bits(folder: Path) -> None:
    model = weights.load_base(models.find(str(folder)))
    assert 3e5 < model.num_parameters() < 1e6
    widths = [each.in_features for each in model.modules() if hasattr(each, "in_features")]
    assert len(widths) == 15 and not any(width % 64 for width in widths)


def test_the_same_texts_and_seed_make_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = rehearse.make_base(tmp_path / "again", TEXTS)
    other = rehearse.make_base(tmp_path / "other", TEXTS, seed=1)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    assert (again / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_making_one_does_not_change_the_random_state(tmp_path: Path) -> None:
    import torch

    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    rehearse.make_base(tmp_path / "tiny", TEXTS)
    assert torch.rand(1) == expected


def test_its_tokenizer_encodes_any_text_and_has_mistrals_control_tokens(folder: Path) -> None:
    tokenizer = weights.load_tokenizer(models.find(str(folder)))
    for text in ("Grüße, 你好, ¿qué tal?", '{"a":  [1, 2]}\n', " two  spaces "):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text
    assert tokenizer("[INST]", add_special_tokens=False).input_ids == [3]
    assert tokenizer.pad_token == "<pad>" and tokenizer.eos_token == "</s>"
