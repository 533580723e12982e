"""Exports a run's model as an adapter, as merged weights, or as one GGUF file."""

from __future__ import annotations

import gc
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tune import card, gguf_file, models, prompts, tokens
from tune.dataset import Message
from tune.errors import TuneError, need_loading
from tune.runs import Form, Run
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:
    from tune.models import Base

Emit = Callable[[str], None]

ASKED = 5  # questions that an export must answer like the run
# Rounding to 16 bits or fewer may change a word of a long answer; a broken export shares nothing.
ALIKE = 0.6

# The files that are copied or uploaded: no optimizer state, no checkpoint, no rows.
FILES = re.compile(
    r"(adapter_model|model)[\w.-]*\.safetensors(\.index\.json)?|(adapter_|generation_)?config\.json"
    r"|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|(pre)?processor_config\.json|[\w.-]+\.gguf|Modelfile|README\.md"
)
_IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")  # of a base that takes images


@dataclass(frozen=True)
class Export:
    """An export, and how its answers compare with the run's."""

    run: Run
    form: Form
    folder: Path
    checked: str

    @property
    def files(self) -> dict[str, int]:
        """The files by name, with their sizes in bytes."""
        return {file.name: file.stat().st_size for file in sorted(self.folder.iterdir())}

    def as_dict(self) -> dict[str, Any]:
        """The export for `--json`."""
        about = {"form": self.form, "folder": str(self.folder), "checked": self.checked}
        return about | {"files": self.files}


@dataclass(frozen=True)
class _Work:
    """The input of all three exporters."""

    run: Run
    base: Base
    settings: Settings
    part: Path  # the folder that is being filled
    kind: str
    emit: Emit

    @property
    def questions(self) -> list[list[Message]]:
        return questions(self.settings)


def export(
    run: Run, form: Form, settings: Settings = SETTINGS, *, kind: str = "f16", emit: Emit = print
) -> Export:
    """Export a run's model to its `exports` folder, load it again and compare its answers.

    `kind` is the GGUF type: f16, q8_0, q4_k_m, … Raises TuneError, and removes the export, if its
    answers differ from the run's.
    """
    need_loading()
    from tune import weights

    weights.quiet()
    if form == "gguf":
        gguf_file.check_kind(kind := kind.lower())  # before an hour of merging
    makers = {"adapter": _adapter, "merged": _merged, "gguf": _gguf}
    target = folder(run, form, kind)
    base = weights.known(models.find(run.record.base))
    if form == "gguf" and not there(run, "merged"):
        export(run, "merged", settings, emit=emit)
    with _replaced(target) as part:
        checked = makers[form](_Work(run, base, settings, part, kind, emit))
        card.write(part, card.Subject(run, base, form, run.name))
    return Export(run, form, target, checked)


def there(run: Run, form: Form, kind: str = "f16") -> Export | None:
    """An earlier export; None if there is none, or if the run was trained again since."""
    place = folder(run, form, kind)
    if not (place / "README.md").is_file():
        return None
    newer = (place / "README.md").stat().st_mtime >= run.model.stat().st_mtime
    return Export(run, form, place, "checked when it was exported") if newer else None


def folder(run: Run, form: Form, kind: str = "f16") -> Path:
    """The folder of an export. Each GGUF type has its own."""
    return run.exports / (f"gguf-{kind.lower()}" if form == "gguf" else form)


def questions(settings: Settings) -> list[list[Message]]:
    """A few questions that the model was not trained on: test rows, or the app's examples."""
    from tune import dataset

    asked = [[{"role": "user", "content": text}] for text in settings.examples[:ASKED]]
    with suppress(TuneError):  # an unreadable test file is no reason to fail
        rows = [row for row in dataset.load(settings.test) if not row.tools][:ASKED]
        asked = [row.question for row in rows] or asked
    return [prompts.with_system(messages) for messages in asked]


# The three forms


def _adapter(work: _Work) -> str:
    """Copy the adapter, with its base's name on the hub.

    Nothing is merged: if the base does not fit the GPU in 16 bits, both checks use 4 bits.
    """
    from peft import PeftModel

    from tune import weights

    if work.run.record.method == "full":
        fix = f"uv run python -m tune export {work.run.name} --as merged"
        raise TuneError("Full tuning gives no adapter: it changes all weights.", fix)
    four_bit = weights.answers_in_4_bits(work.base)
    before = _asked_of_run(work, four_bit=four_bit)
    for file in sorted(work.run.model.iterdir()):
        if FILES.fullmatch(file.name) and file.name != "README.md":
            shutil.copyfile(file, work.part / file.name)
    config = work.part / "adapter_config.json"
    about = json.loads(config.read_text("utf-8")) | {"base_model_name_or_path": work.base.source}
    config.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", "utf-8")
    _save_tokenizer(work)
    work.emit("Loading the adapter again …")
    base = weights.load_base(work.base, four_bit=four_bit)
    model = PeftModel.from_pretrained(base, str(work.part)).eval()
    return _compare(before, _ask(model, work), exact=_is_exact(model))


def _merged(work: _Work) -> str:
    """Merge the adapter into the base: one model without PEFT, in the base's number format."""
    from tune import weights

    work.emit("Merging the adapter into the base …")
    model = weights.load_tuned(work.run)
    before = _ask(model, work)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload(safe_merge=True)
    _untie(model)
    model.to(_stored(work))
    size = sum(each.numel() * each.element_size() for each in model.parameters())
    _need_room(work.part, size)
    model.save_pretrained(work.part)
    _save_tokenizer(work)
    _copy_image_files(work)
    exact = _is_exact(model)
    del model
    weights.free()
    work.emit("Loading the merged weights again …")
    again = weights.load_base(models.find(str(work.part)))
    return _compare(before, _ask(again, work), exact=exact)


def _gguf(work: _Work) -> str:
    """Write one file for llama.cpp and Ollama from the merged weights."""
    from tune import serve, weights

    merged = work.run.exports / "merged"
    _need_room(work.part, gguf_file.size(merged, work.kind))
    before = _asked_of_run(work)
    work.emit(f"Writing the GGUF file, {work.kind} …")
    file = gguf_file.write(merged, work.part / f"{work.run.name}-{work.kind}.gguf", work.kind)
    form = tokens.chat_form(weights.load_tokenizer(work.base))
    modelfile = serve.modelfile(file.name, work.settings, form)
    (work.part / "Modelfile").write_text(modelfile, "utf-8", newline="\n")
    if find_spec("llama_cpp"):
        return _compare(before, gguf_file.answers(file, work.questions, work.settings.max_tokens))
    model = weights.load_base(models.find(str(merged)))
    gguf_file.load(file, model)
    return f"{_compare(before, _ask(model, work))} (read back without llama.cpp)"


def _save_tokenizer(work: _Work) -> None:
    """Save the tokenizer with the training template, without its `generation` tags."""
    from tune import weights

    tokenizer = weights.load_tokenizer(work.base)
    tokenizer.chat_template = for_inference(tokenizer.chat_template)
    tokenizer.save_pretrained(work.part)


def for_inference(template: str) -> str:
    """A chat template without `generation` tags, which most servers do not support.

    A comment replaces the tag, so that the spaces around it do not change.
    """
    return re.sub(r"\{%([-+]?)\s*(?:end)?generation\s*([-+]?)%\}", r"{#\1 \2#}", template)


def _copy_image_files(work: _Work) -> None:
    """Copy the files that a server needs for images; a missing one is skipped."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    for name in _IMAGE_FILES if work.base.image_text else ():
        source = Path(work.base.source) / name
        if not work.base.local:
            try:
                source = Path(hf_hub_download(work.base.source, name))
            except (HfHubHTTPError, LocalEntryNotFoundError, OSError):
                continue
        if source.is_file():
            shutil.copyfile(source, work.part / name)


def _stored(work: _Work) -> Any:
    """The number format of the base's own files."""
    import torch
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(work.base.source)
    return config.dtype or torch.bfloat16


def _untie(model: Any) -> None:
    """Save input and output embeddings separately if they differ: a tied model saves only one."""
    import torch

    first, last = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if first is last or torch.equal(first, last):
        return
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


# Comparing answers with the run's


def _asked_of_run(work: _Work, *, four_bit: bool = False) -> list[str]:
    from tune import weights

    work.emit("Asking the run …")
    try:
        return _ask(weights.load_tuned(work.run, four_bit=four_bit), work)
    finally:
        weights.free()  # the next model may not fit at the same time


def _ask(model: Any, work: _Work) -> list[str]:
    from tune import weights
    from tune.generate import Generator

    tokenizer = weights.load_tokenizer(work.base)
    generator = Generator(model, tokenizer, work.settings.max_tokens)
    return [reply.text for reply in generator.answers(work.questions)]


def _is_exact(model: Any) -> bool:
    """Whether nothing is rounded, so that answers must be identical."""
    import torch

    return bool(model.dtype == torch.float32)


def _compare(before: Sequence[str], after: Sequence[str], *, exact: bool = False) -> str:
    """Describe how similar the answers are. Raises TuneError if they differ too much."""
    pairs = list(zip(before, after, strict=True))
    same = sum(old == new for old, new in pairs)
    if same == len(pairs):
        return f"all {same} answers are the run's"
    alike = sum(SequenceMatcher(None, old, new).ratio() for old, new in pairs) / len(pairs)
    if exact or alike < ALIKE:
        old, new = next((old, new) for old, new in pairs if old != new)
        problem = f"The exported model answers differently from the run: {new[:80]!r} instead of "
        problem += f"{old[:80]!r}. The export was removed."
        raise TuneError(problem, "uv run python -m tune evaluate")
    return f"{same} of {len(pairs)} answers are the run's; similarity {alike:.0%} (rounding)"


# Files


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
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


def _need_room(folder: Path, size: int) -> None:
    """Raise TuneError if the disk is too small, before anything is written."""
    free = shutil.disk_usage(folder).free
    if size * 1.05 > free:
        problem = f"The export takes {_shown(size)}; {_shown(free)} are free on this disk."
        raise TuneError(problem, "free some space, or set RUNS_DIR in .env to another disk")


def _shown(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
