"""Loading models: labels, adapters, and errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Tuned

from tune import models, tokens, train, weights
from tune.dataset import Example
from tune.errors import TuneError
from tune.generate import Generator
from tune.models import Base
from tune.runs import Record, Run
from tune.settings import Settings

pytest.importorskip("trl")

CALL = {"id": "Ab3dE6gH9", "function": {"name": "look", "arguments": '{"what": "parcel"}'}}
TOOL = {"type": "function", "function": {"name": "look", "description": "Look it up."}}


@pytest.fixture(scope="module")
def base(tuned: Tuned) -> Base:
    return models.find(str(tuned.base))


@pytest.fixture(scope="module")
def tokenizer(base: Base) -> Any:
    return weights.load_tokenizer(base)


def _row(*messages: tuple[str, str], **more: Any) -> Example:
    turns = tuple({"role": role, "content": text} for role, text in messages)
    return Example((*turns[:-1], turns[-1] | more))


def test_rows_that_are_too_long_are_counted_and_named(tuned: Tuned) -> None:
    rows = tuned.settings.train.read_text("utf-8").splitlines()[:10]
    rows[9] = rows[9].replace('"content": "', '"content": "' + "My " * 300, 1)
    some = tuned.run.folder.parent / "some.jsonl"
    some.write_text("\n".join(rows) + "\n", "utf-8")
    settings = tuned.settings.model_copy(update={"train_file": some, "max_length": 100})
    work = train.prepare(settings)
    assert work.data["train"]["too_long"] == 1 and work.data["train"]["used"] == 9
    assert len(work.train) == 9
    assert work.notes == [
        "1 of 10 rows of some.jsonl are longer than 100 tokens and are left out: lines 10."
    ]


def test_nothing_is_trained_where_most_rows_are_too_long(tuned: Tuned) -> None:
    with pytest.raises(TuneError, match="are longer than 16 tokens") as error:
        train.prepare(tuned.settings.model_copy(update={"max_length": 16}))
    assert "MAX_LENGTH=" in error.value.fix


def test_an_adapter_changes_the_language_model_and_not_the_vision_tower(
    seeing: Base, tiny_settings: Settings, tmp_path: Path
) -> None:
    changes = {"base_model": seeing.source, "epochs": 0.05, "max_length": 600}
    settings = tiny_settings.model_copy(update=changes)
    run = Run(tmp_path / "seen")
    train.train(run, settings)
    model = weights.load_tuned(run)
    adapted = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert len(adapted) == 2 * 7 * 2 and all("language_model" in name for name in adapted)


def test_a_model_in_4_bits_answers_with_its_adapter_and_without(tuned: Tuned) -> None:
    pytest.importorskip("bitsandbytes")
    if weights.device() == "mps":
        pytest.skip("bitsandbytes does not work there")
    model = weights.load_tuned(tuned.run, four_bit=True)
    generator = Generator(model, weights.load_tokenizer(models.find(str(tuned.base))), 16)
    asked = [{"role": "user", "content": "My invoice and the refund, what now?"}]
    base = generator.without_adapter()
    assert getattr(model, "is_loaded_in_4bit", False)
    assert json.loads(generator.answer(asked).text)["team"] == "billing"
    assert base.answer(asked).text != generator.answer(asked).text
    assert not getattr(weights.load_tuned(tuned.run), "is_loaded_in_4bit", False)


def test_a_run_without_a_model_says_how_to_get_one(tmp_path: Path) -> None:
    run = Run(tmp_path / "started")
    run.write(Record("ministral-3b"))
    with pytest.raises(TuneError, match="has no model yet") as error:
        weights.load_tuned(run)
    assert error.value.fix == "uv run python -m tune train --resume started"


def test_a_model_that_is_not_here_is_reported_without_delay() -> None:
    base = Base("what", "who/what")
    for load in (weights.load_tokenizer, weights.load_base, weights.known):
        with pytest.raises(TuneError, match="not on this machine") as caught:
            load(base)
        assert caught.value.fix.startswith("unset HF_HUB_OFFLINE")


def test_a_folder_without_weights_says_what_is_missing(tuned: Tuned, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tuned.base / "config.json").read_bytes())
    with pytest.raises(TuneError, match="cannot be loaded"):
        weights.load_base(models.find(str(tmp_path)))


def test_a_pad_token_is_never_the_end_token(tuned: Tuned, tmp_path: Path) -> None:
    tokenizer = weights.load_tokenizer(models.find(str(tuned.base)))
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((tuned.base / "config.json").read_bytes())
    loaded = weights.load_tokenizer(models.find(str(tmp_path)))
    assert loaded.pad_token == "<pad>"
    assert loaded.chat_template == tokens.training_template()
