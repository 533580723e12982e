"""Rehearses every step with a tiny Mistral with random weights: no GPU, no download."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from tune import dataset, models, report
from tune.errors import TuneError, explained, need_training
from tune.evaluate import evaluate
from tune.export import export
from tune.runs import REHEARSAL, Run
from tune.settings import ROOT, Settings

# These limits keep it to about a minute of computing, for any amount of data.
TOKENS = 250_000  # to train on, in all epochs together
EPOCHS = 8  # at most
TEST_ROWS = 400
VOCABULARY = 2048  # tokens at most, with the control tokens; with fewer it learns worse
LENGTH = 4096  # tokens of one conversation
# In the order of Mistral's own tokenizer (Tekken, version 13): [INST] is token 3 in both
_CONTROL = """
<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]
[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT]
[/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID] [THINK] [/THINK]
"""
CONTROL = _CONTROL.split()
# Small enough for a laptop's processor. Widths are multiples of 64, which 4-bit weights need
SHAPE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
SHAPE |= {"max_position_embeddings": LENGTH}


@dataclass(frozen=True)
class Step:
    """One step; `says` is its result or its error."""

    name: str
    ok: bool
    seconds: float
    says: str


@dataclass(frozen=True)
class Rehearsal:
    """The result. `verdict` is the evaluation's; empty if it did not get that far."""

    run: str
    verdict: str = ""
    why: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def ok(self) -> bool:
        return all(step.ok for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """The rehearsal for `--json`."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class Stage:
    """The input of every step: the run, the real settings, and the rehearsal's settings."""

    run: Run
    real: Settings
    settings: Settings


Part = Callable[[Stage], str]


def rehearse(
    settings: Settings,
    begin: Callable[[str], None] = lambda name: None,
    done: Callable[[Step], None] = lambda step: None,
    parts: dict[str, Part] | None = None,
) -> Rehearsal:
    """Run every step. The first step that fails ends it; the last of `steps` has the reason.

    Ctrl-C deletes the run: `train --resume` would otherwise resume half a rehearsal.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for a tiny model, more threads are slower
    run = Run(settings.runs / f"{REHEARSAL}{datetime.now():%Y-%m-%d-%H%M%S}")
    stage, steps = Stage(run, settings, _small(run, settings)), []
    try:
        for name, part in (parts or PARTS).items():
            begin(name)
            steps.append(_took(name, part, stage))
            done(steps[-1])
            if not steps[-1].ok:
                return Rehearsal(run.name, steps=tuple(steps))
    except KeyboardInterrupt:
        shutil.rmtree(run.folder, ignore_errors=True)
        raise
    found = report.read(run.evaluation)
    return Rehearsal(run.name, found.verdict, found.why, tuple(steps))


def _took(name: str, part: Part, stage: Stage) -> Step:
    began = time.monotonic()
    try:
        ok, says = True, part(stage)
    except Exception as error:
        if not (expected := explained(error)):
            raise
        ok, says = False, str(expected)
    return Step(name, ok, round(time.monotonic() - began, 1), says)


def _small(run: Run, settings: Settings) -> Settings:
    """The settings for a training of half a minute; the data and the method stay."""
    folder = run.folder.relative_to(ROOT) if run.folder.is_relative_to(ROOT) else run.folder
    changes: dict[str, Any] = {
        f"{part}_file": folder / "data" / f"{part}.jsonl" for part in settings.files
    }
    changes |= {"base_model": (folder / "base").as_posix(), "learning_rate": 0}
    changes |= {"batch_size": 8, "accumulate": 1, "early_stop": 3}
    return settings.model_copy(update=changes)


# The steps


def _check(stage: Stage) -> str:
    from tune.validate import survey

    need_training()
    files = stage.real.files
    if "test" not in files:
        problem = f"{stage.real.test_file} is missing, so there is nothing to evaluate on."
        raise TuneError(problem, f"uv run python -m tune split {stage.real.train_file} --replace")
    found = survey(list(files.values()), stage.real.max_length)
    if found.errors:
        problem = f"The examples have {found.errors:,} errors."
        raise TuneError(problem, "uv run python -m tune check")
    examples = " + ".join(f"{each['examples']:,}" for each in found.files.values())
    return f"{examples} examples, no errors, {found.warnings:,} warnings"


def _make_base(stage: Stage) -> str:
    (stage.run.folder / "data").mkdir(parents=True)
    texts: list[str] = []
    for part, path in stage.real.files.items():
        rows = _drawn(path, part, stage.real)
        lines = "".join(f"{row.as_json()}\n" for row in rows)
        (stage.run.folder / "data" / f"{part}.jsonl").write_text(lines, "utf-8")
        if part == "train":
            texts = [str(each.get("content") or "") for row in rows for each in row.messages]
    base = models.find(str(make_base(stage.run.folder / "base", texts)))
    size = base.shape.parameters / 1e6 if base.shape else 0
    return f"a Mistral with {size:.1f} million random parameters"


def _drawn(path: Path, part: str, settings: Settings) -> list[dataset.Example]:
    """A random sample of rows, as large as the time allows; the same one every time."""
    rows = dataset.load(path)
    random.Random(settings.seed).shuffle(rows)
    if part == "test":
        return rows[:TEST_ROWS]
    ends = accumulate(len(row.as_json()) for row in rows)
    most = TOKENS * 4 // 3  # so that there are at least three epochs
    return rows[: max(1, sum(end <= most for end in ends))]


def _train(stage: Stage) -> str:
    from tune.train import prepare, train

    once = prepare(stage.settings).tokens
    epochs = max(1, min(EPOCHS, TOKENS // once))
    figures = train(stage.run, stage.settings.model_copy(update={"epochs": epochs})).figures
    return f"{figures['steps']} steps, loss {figures['loss_first']:.2f} → {figures['loss']:.2f}"


PARTS: dict[str, Part] = {
    "check the rows": _check,
    "make a tiny base": _make_base,
    "train": _train,
    "evaluate": lambda it: evaluate(it.run, it.settings, api_rows=0).why,
    "merge": lambda it: export(it.run, "merged", it.settings, emit=lambda line: None).checked,
}


# The tiny base


def make_base(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """Write a model with a tokenizer trained on the texts; always the same for the same ones."""
    from tune import weights

    weights.quiet()
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = learn_words(texts)
    config = MistralConfig(**SHAPE, **vocabulary(tokenizer), sliding_window=None)
    setattr(config, models.REHEARSAL, True)
    with torch.random.fork_rng(devices=[]):  # the caller's random state does not change
        torch.manual_seed(seed)
        MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def vocabulary(tokenizer: Any) -> dict[str, Any]:
    """What a model's configuration says about its tokenizer."""
    ends = ("bos_token_id", "eos_token_id", "pad_token_id")
    size = -(-len(tokenizer) // 64) * 64
    return {"vocab_size": size, **{name: getattr(tokenizer, name) for name in ends}}


def learn_words(texts: Iterable[str]) -> Any:
    """Train a BPE tokenizer on the texts, with Mistral's control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # any text can be encoded
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=core, model_max_length=LENGTH, clean_up_tokenization_spaces=False, **names
    )
