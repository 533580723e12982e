"""Keeps your environment, `.env`, runs and the network out of the tests; trains one tiny model."""

import atexit
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydantic_settings  # noqa: F401 (it must not be imported in the empty environment below)
import pytest

HOME = Path(tempfile.mkdtemp(prefix="tune-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
OURS = {
    "ENV_FILE": os.devnull,
    "RUNS_DIR": str(HOME / "runs"),
    "VOTES_FILE": str(HOME / "votes.jsonl"),
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "-1",  # the tiny model needs none; all get the same figures
    "OMP_NUM_THREADS": "1",  # a tiny model is four times slower when threads share it
}
with pytest.MonkeyPatch.context() as patch:  # whatever you have set, even a wrong PORT
    for name in list(os.environ):
        patch.delenv(name)
    for name, value in OURS.items():
        patch.setenv(name, value)
    from tune.settings import Settings
for name in list(os.environ):
    if name.lower() in Settings.model_fields or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= OURS  # for the processes that the tests start

from tune import prompts  # noqa: E402
from tune.models import Base  # noqa: E402
from tune.runs import Run  # noqa: E402

prompts.SYSTEM = ""  # the rows of the tests have their own; yours may be any text

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")

# What the tiny model learns in seconds: the team for a message, by words of its own.
TEAMS = {
    "delivery": "parcel van courier late tracking doorstep lost shipped",
    "billing": "invoice charged refund card paid money price twice",
    "product": "lamp mug blanket plant broken colour size warm",
    "praise": "thanks lovely great happy wonderful kind best smile",
}
FORMS = (
    "My {0} and the {1}, what now?",
    "Hello, it is about the {0}. The {1} too.",
    "{0}, always {0}, and then {1}.",
    "Is {0} the same as {1}?",
)


@dataclass(frozen=True)
class Tuned:
    """A tiny base, the run that tuned it on rows of `TEAMS`, and the settings that did."""

    base: Path
    run: Run
    settings: Settings


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A test that would leave this machine fails instead."""
    connect = socket.socket.connect

    def stay_here(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if not str(host).startswith(LOOPBACK):
            raise AssertionError(f"a test called {host}")
        connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = stay_here  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def rows_folder() -> Path:
    """A folder with train, validation and test rows that a tiny model learns in seconds."""
    folder = HOME / "rows"
    folder.mkdir(exist_ok=True)
    pairs = [(team, form, words) for team, words in _pairs() for form in FORMS]
    rows = [_row(form.format(*words), team) for team, form, words in pairs]
    for at, part in enumerate(("test", "validation", "train")):
        kept = [row for n, row in enumerate(rows) if min(n % 8, 2) == at]
        (folder / f"{part}.jsonl").write_text("\n".join(kept) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_settings(rows_folder: Path) -> Settings:
    """Settings that train a tiny base on those rows; not trained yet."""
    pytest.importorskip("trl")
    from tune import dataset, rehearse

    rows = dataset.load(rows_folder / "train.jsonl")
    base = rehearse.make_base(HOME / "tiny", [m["content"] for row in rows for m in row.messages])
    return Settings(
        base_model=str(base),
        train_file=rows_folder / "train.jsonl",
        validation_file=rows_folder / "validation.jsonl",
        test_file=rows_folder / "test.jsonl",
        runs_dir=HOME / "runs",
        batch_size=8,
        accumulate=1,
        learning_rate=3e-3,
        epochs=2,
        max_tokens=16,
    )


@pytest.fixture(scope="session")
def seeing() -> Base:
    """A tiny Ministral 3, with a vision tower."""
    pytest.importorskip("trl")
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    from tune import models, rehearse

    folder = HOME / "seeing"
    tokenizer = rehearse.learn_words(["a lamp", "a parcel", "a mug and a blanket"])
    tower = {"model_type": "pixtral", "image_size": 56, "patch_size": 14, "num_hidden_layers": 1}
    tower |= {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "head_dim": 32}
    ids, image = rehearse.vocabulary(tokenizer), rehearse.CONTROL.index("[IMG]")
    text = {"model_type": "ministral3", "sliding_window": None, **rehearse.SHAPE, **ids}
    config = Mistral3Config(text_config=text, vision_config=tower, image_token_index=image, **ids)
    setattr(config, models.REHEARSAL, True)
    Mistral3ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return models.find(str(folder))


@pytest.fixture(scope="session")
def tuned(tiny_settings: Settings) -> Tuned:
    """A run that is done. Copy its folder before you change it."""
    from tune.train import train

    run = Run(tiny_settings.runs / "tuned")
    train(run, tiny_settings)
    return Tuned(Path(tiny_settings.base_model), run, tiny_settings)


def _pairs() -> list[tuple[str, tuple[str, str]]]:
    """Each team with every pair of its words, the teams in turns."""
    found = []
    for first in range(8):
        for second in range(first + 1, 8):
            for team, words in TEAMS.items():
                found.append((team, (words.split()[first], words.split()[second])))
    return found


def _row(question: str, team: str) -> str:
    answer = json.dumps({"team": team, "urgent": team == "billing"})
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages})
