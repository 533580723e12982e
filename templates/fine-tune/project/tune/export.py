"""Exports a run's model as an adapter or as merged weights."""

from __future__ import annotations

import gc
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal

from tune import models, prompts
from tune.dataset import Message
from tune.errors import TuneError, need_loading
from tune.hub import FILES, Export, Kind, write_card
from tune.models import Base
from tune.runs import Run
from tune.settings import SETTINGS, Settings

Emit = Callable[[str], None]
Form = Literal["adapter", "merged"]

ASKED = 5  # questions that an export must answer like the run
# Rounding to 16 bits or fewer may change a word of a long answer; a broken export shares nothing.
ALIKE = 0.6

_ASK = """
messages = [{"role": "user", "content": "…"}]
inputs = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
output = model.generate(**inputs.to(model.device), max_new_tokens=256, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```
"""
_ADAPTER = """\
```python
from peft import PeftModel
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("{base}", dtype="auto", device_map="auto")
model = PeftModel.from_pretrained(model, "{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")"""
_MERGED = """\
```python
from transformers import {auto}, AutoTokenizer

model = {auto}.from_pretrained("{name}", dtype="auto", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained("{name}")"""
KINDS = {
    "adapter": Kind("peft", "adapter", f"{_ADAPTER}{_ASK}"),
    "merged": Kind("transformers", "finetune", f"{_MERGED}{_ASK}\nvLLM: `vllm serve {{name}}`"),
}


def export(run: Run, form: Form, settings: Settings = SETTINGS, *, emit: Emit = print) -> Export:
    """Export a run's model to its `exports` folder.

    Merged weights are loaded again: raises TuneError, and removes them, if their answers differ
    from the run's.
    """
    need_loading()
    from tune import weights

    weights.quiet()
    base = weights.known(models.find(run.record.base))
    with replaced(run.exports / form) as part:
        if form == "adapter":
            checked = _adapter(run, base, part)
        else:
            checked = _merged(run, base, part, settings, emit)
        write_card(part, run, KINDS[form])
    return Export(run, KINDS[form], run.exports / form, checked)


def there(run: Run, form: Form) -> Export | None:
    """An earlier export; None if there is none, or if the run was trained again since."""
    card = run.exports / form / "README.md"
    if not card.is_file() or card.stat().st_mtime < run.model.stat().st_mtime:
        return None
    return Export(run, KINDS[form], card.parent, "checked when it was exported")


def _adapter(run: Run, base: Base, part: Path) -> str:
    """Copy the adapter, with its base's name on the hub."""
    for file in sorted(run.model.iterdir()):
        if FILES.fullmatch(file.name):
            shutil.copyfile(file, part / file.name)
    config = part / "adapter_config.json"
    about = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": base.source}
    config.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", "utf-8")
    save_tokenizer(base, part)
    return "a copy of the run's adapter"


def _merged(run: Run, base: Base, part: Path, settings: Settings, emit: Emit) -> str:
    """Merge the adapter into the base: one model without PEFT, in the base's number format."""
    import torch
    from transformers import AutoConfig

    from tune import weights

    emit("Merging the adapter into the base …")
    model = weights.load_tuned(run)  # in full precision: 4 bits that were used give garbage
    before = answers(model, base, settings)
    model = model.merge_and_unload(safe_merge=True)
    stored: Any = AutoConfig.from_pretrained(base.source)
    model.to(stored.dtype or torch.bfloat16)
    model.save_pretrained(part)
    save_tokenizer(base, part)
    _copy_image_files(base, part)
    exact = model.dtype == torch.float32  # nothing is rounded
    del model
    weights.free()
    emit("Loading the merged weights again …")
    again = weights.load_base(models.find(str(part)))
    return compare(before, answers(again, base, settings), exact=exact)


def save_tokenizer(base: Base, part: Path) -> None:
    """Save the tokenizer with the training template, without its `generation` tags."""
    from tune import weights

    tokenizer = weights.load_tokenizer(base)
    tokenizer.chat_template = for_inference(tokenizer.chat_template)
    tokenizer.save_pretrained(part)


def for_inference(template: str) -> str:
    """A chat template without `generation` tags, which most servers do not support.

    A comment replaces the tag, so that the spaces around it do not change.
    """
    return re.sub(r"\{%([-+]?)\s*(?:end)?generation\s*([-+]?)%\}", r"{#\1 \2#}", template)


def _copy_image_files(base: Base, part: Path) -> None:
    """Copy the files that a server needs for images; a missing one is skipped."""
    from huggingface_hub import hf_hub_download

    for name in ("preprocessor_config.json", "processor_config.json") if base.image_text else ():
        with suppress(OSError):  # all of the hub's errors are
            source = Path(base.source) / name if base.local else hf_hub_download(base.source, name)
            shutil.copyfile(source, part / name)


# Comparing answers with the run's


def questions(settings: Settings) -> list[list[Message]]:
    """A few questions that the model was not trained on: test rows, or the app's examples."""
    from tune import dataset

    asked = [[{"role": "user", "content": text}] for text in settings.examples[:ASKED]]
    with suppress(TuneError):  # an unreadable test file is no reason to fail
        rows = [row for row in dataset.load(settings.test) if not row.tools][:ASKED]
        asked = [row.question for row in rows] or asked
    return [prompts.with_system(messages) for messages in asked]


def answers(model: Any, base: Base, settings: Settings) -> list[str]:
    """A model's answers to the questions."""
    from tune import weights
    from tune.generate import Generator

    generator = Generator(model, weights.load_tokenizer(base), settings.max_tokens)
    return [reply.text for reply in generator.answers(questions(settings))]


def compare(before: Sequence[str], after: Sequence[str], *, exact: bool = False) -> str:
    """Describe how similar the answers are. Raises TuneError if they differ too much."""
    pairs = list(zip(before, after, strict=True))
    different = [(old, new) for old, new in pairs if old != new]
    if not different:
        return f"all {len(pairs)} answers are the run's"
    alike = sum(SequenceMatcher(None, old, new).ratio() for old, new in pairs) / len(pairs)
    if exact or alike < ALIKE:
        old, new = different[0]
        problem = f"The exported model answers differently from the run: {new[:80]!r} instead of "
        problem += f"{old[:80]!r}. The export was removed."
        raise TuneError(problem, "uv run python -m tune evaluate")
    same = len(pairs) - len(different)
    return f"{same} of {len(pairs)} answers are the run's; similarity {alike:.0%} (rounding)"


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A temporary folder that replaces the target only if nothing fails."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        gc.collect()  # Windows cannot rename a folder whose files are still mapped into memory
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
