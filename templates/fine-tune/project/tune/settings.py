"""All settings of this project, read once from the environment and from `.env`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from plumbing.settings import ROOT, ModelSettings, load, problems
from tune.errors import TuneError


class Settings(ModelSettings):
    """A field `base_model` is set by the variable BASE_MODEL; the environment wins over `.env`."""

    # What people see
    title: str = "Before and after"
    tagline: str = "The same question, answered by the base model and by the one we tuned."
    examples: tuple[str, ...] = (  # questions of the test file, so that answers can be marked
        "My cat ate leaves of the plant, is it poisonous? She's shaking, please answer now.",
        "Super fast, super nice, super lamp.",
        "Is my payment data stored with you or only with the bank?",
        "The lamp gives off sparks when I plug it in!",
    )

    # The data: chat JSONL, CSV with prompt and completion, or Alpaca's JSON
    train_file: Path = Path("data/train.jsonl")
    validation_file: Path = Path("data/validation.jsonl")
    test_file: Path = Path("data/test.jsonl")

    # The base: a name from tune/models.py, an id on the hub, or a folder
    base_model: str = "ministral-3b"
    tuned_model: str = ""  # what the app shows: a run, a folder or an id; empty: the latest run

    # How it is trained
    method: Literal["lora", "qlora"] = "lora"
    lora_rank: int = Field(default=16, ge=1)  # RANK alone is set by `accelerate launch`
    learning_rate: float = Field(default=0, ge=0)  # 0: a default for the base
    epochs: float = Field(default=3, gt=0)
    batch_size: int = Field(default=4, ge=1)  # examples at a time on one GPU
    accumulate: int = Field(default=4, ge=1)  # batches to one step of the optimizer
    max_length: int = Field(default=2048, ge=16)  # tokens of an example; longer ones are left out
    early_stop: int = Field(default=3, ge=0)  # evaluations without a better loss; 0: never
    seed: int = 42
    runs_dir: Path = Path("runs")

    votes_file: Path = Path("votes.jsonl")  # what visitors of the app preferred

    # How it answers
    temperature: float = Field(default=0, ge=0, le=1)
    max_tokens: int = Field(default=256, ge=1)  # of one reply

    # The hub: for gated bases, and for `export --push`
    hf_token: SecretStr = SecretStr("")

    # Remote models. LLM_BASE_URL: a server that has the tuned model as CHAT_MODEL (and perhaps its
    # base as BASE_CHAT_MODEL); a key: Mistral's API as the base, well prompted. The rest of their
    # settings: plumbing/settings.py
    base_chat_model: str = ""
    api_model: str = "mistral-small-latest"

    @property
    def chat(self) -> str:
        """The name of the remote model; empty if there is none."""
        names = {"server": self.chat_model or "tuned", "mistral": self.api_model, "offline": ""}
        return names[self.provider]

    @property
    def runs(self) -> Path:
        """The folder of all training runs."""
        return ROOT / self.runs_dir

    @property
    def train(self) -> Path:
        """The examples to train on."""
        return ROOT / self.train_file

    @property
    def validation(self) -> Path:
        """The validation examples, for early stopping."""
        return ROOT / self.validation_file

    @property
    def test(self) -> Path:
        """The held-out examples, for `evaluate`."""
        return ROOT / self.test_file

    @property
    def files(self) -> dict[str, Path]:
        """The data files by their part: train, and those of validation and test that exist."""
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: path for part, path in files.items() if path.is_file() or part == "train"}

    @property
    def votes(self) -> Path:
        """The file that votes are kept in."""
        return ROOT / self.votes_file


def changed(settings: Settings, wanted: dict[str, Any]) -> Settings:
    """The settings with the values of the command line. Raises TuneError if one is invalid.

    None, an empty text and 0 change nothing.
    """
    wanted = {name: each for name, each in wanted.items() if each}
    try:
        Settings.model_validate(wanted)
    except ValidationError as error:
        raise TuneError(problems(error), "correct it in the command; --help shows how") from None
    return settings.model_copy(update=wanted)


def named(path: Path) -> str:
    """A file's name in records and reports: its path in the project, else its name alone."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


SETTINGS = load(Settings)
if token := SETTINGS.hf_token.get_secret_value().strip():
    os.environ.setdefault("HF_TOKEN", token)  # where the hub's own library looks for it
