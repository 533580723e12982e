"""Writes the model card from the run's record and its evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tune import prompts, report
from tune.errors import TuneError
from tune.metrics import METRICS, Interval
from tune.models import Base
from tune.report import BASE, TUNED, Evaluation
from tune.runs import Form, Record, Run

METHODS = {"lora": "LoRA", "qlora": "QLoRA (base in 4 bits)", "full": "full tuning"}
TITLES = {  # the settings in the card, in this order
    "rank": "LoRA rank",
    "learning_rate": "learning rate",
    "epochs": "epochs",
    "batch_size": "batch size",
    "accumulate": "batches per step",
    "processes": "GPUs or processes",
    "max_length": "tokens per row, at most",
    "packing": "packing",
    "seed": "seed",
}


@dataclass(frozen=True)
class Subject:
    """The model of a card; `name` is the run's, or the one on the hub."""

    run: Run
    base: Base
    form: Form
    name: str


def write(folder: Path, subject: Subject) -> Path:
    """Write the card of an export as its README.md."""
    file = folder / "README.md"
    names = sorted(each.name for each in folder.iterdir())
    file.write_text(render(subject, names), "utf-8", newline="\n")
    return file


def render(subject: Subject, files: Sequence[str] = ()) -> str:
    """The card's text: YAML for the hub first, then Markdown."""
    record, base = subject.run.record, subject.base
    parts = [
        _front(record, base, subject.form),
        f"# {subject.name.rsplit('/', 1)[-1]}",
        _about(record, base),
        "## Is it better?",
        _evaluated(subject.run),
        "## Use",
        _use(subject, files),
        "## Data",
        _data(record),
        "## Training",
        _training(record),
        "## Limits",
        _limits(record, base),
    ]
    return "\n\n".join(parts) + "\n"


def _front(record: Record, base: Base, form: str) -> str:
    """The YAML for the hub. A base in a local folder has no page to link to."""
    library = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}[form]
    tags = ["mistral", "sft", *(["lora"] if record.method != "full" else []), form]
    lines = [f"library_name: {library}", "pipeline_tag: text-generation"]
    if not base.local:
        lines += [f"base_model: {base.source}", f"base_model_relation: {_relation(form)}"]
    if base.licence:
        lines.append(f"license: {base.licence}")
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---"])


def _relation(form: str) -> str:
    if form == "adapter":
        return "adapter"
    return "quantized" if form == "gguf" else "finetune"


def _about(record: Record, base: Base) -> str:
    """One paragraph: base, method, number of rows, licence."""
    name = _name(base)
    shown = name if base.local else f"[{name}](https://huggingface.co/{base.source})"
    method = METHODS.get(record.method, record.method)
    rows = _part(record, "train").get("used")
    on = f" on {rows:,} rows" if rows else ""
    licence = f"The base's licence ({base.licence})" if base.licence else "The base's licence"
    return f"{shown} fine-tuned with {method}{on}. {licence} also applies to this model."


def _name(base: Base) -> str:
    return Path(base.source).name if base.local else base.source


def _evaluated(run: Run) -> str:
    """The verdict and the table, or a note that there is no evaluation."""
    try:
        found = report.read(run.evaluation)
    except TuneError:
        return "It was not evaluated, so there is no proof that it is better than its base."
    intro = (
        f"{found.why} These {found.rows} rows were not used for training. The deciding metric is"
        f" {_label(found.headline)}, since {found.because}."
    )
    notes = "".join(f"\n\n{note}" for note in found.notes)
    return f"{intro}\n\n{_table(found)}{notes}"


def _table(found: Evaluation) -> str:
    names = [BASE, TUNED, *(name for name in found.systems if name not in {BASE, TUNED})]
    labels = [found.systems[name].label for name in names]
    head = ["", *labels, "tuned − base"]
    lines = [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    for metric in found.systems[TUNED].metrics:
        figures = [_figure(found.systems[name].metrics.get(metric)) for name in names]
        lines.append(_line([_label(metric), *figures, _figure(found.differences.get(metric))]))
    seconds = [f"{found.systems[name].seconds.mean:.2f}" for name in names]
    lines.append(_line(["Seconds per answer", *seconds, ""]))
    return "\n".join(
        [*lines, "", "Means, with their 95 % confidence intervals in brackets (bootstrap)."]
    )


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _label(metric: str) -> str:
    return METRICS[metric].label if metric in METRICS else metric


def _figure(interval: Interval | None) -> str:
    if not interval:
        return ""
    return f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})"


# How to use it


def _use(subject: Subject, files: Sequence[str]) -> str:
    name, base = subject.name, subject.base
    uses = {
        "adapter": _use_adapter(name, base),
        "merged": _use_merged(name, base),
        "gguf": _use_gguf(name, files),
    }
    if not prompts.SYSTEM:
        return uses[subject.form]
    system = f"It was trained with this system message:\n\n```text\n{prompts.SYSTEM}\n```"
    return f"{uses[subject.form]}\n\n{system}"


def _use_adapter(name: str, base: Base) -> str:
    return f"""\
```python
from peft import PeftModel
from transformers import {_auto(base)}, AutoTokenizer

model = {_auto(base)}.from_pretrained("{_name(base)}", dtype="auto", device_map="auto")
model = PeftModel.from_pretrained(model, "{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
{_ASK}
```

vLLM: use the merged weights, since some versions ignore adapters of image-text models."""


def _use_merged(name: str, base: Base) -> str:
    return f"""\
```python
from transformers import {_auto(base)}, AutoTokenizer

model = {_auto(base)}.from_pretrained("{name}", dtype="auto", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained("{name}")
{_ASK}
```

vLLM: `vllm serve {name}`"""


_ASK = """\
messages = [{"role": "user", "content": "…"}]
inputs = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
output = model.generate(**inputs.to(model.device), max_new_tokens=256, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


def _use_gguf(name: str, files: Sequence[str]) -> str:
    name = name.rsplit("/", 1)[-1]
    file = next((each for each in files if each.endswith(".gguf")), f"{name}.gguf")
    return f"""\
Ollama: `ollama create {name} -f Modelfile`, then `ollama run {name}`

llama.cpp: `llama-server --model {file} --alias {name} --jinja`"""


def _auto(base: Base) -> str:
    return "AutoModelForImageTextToText" if base.image_text else "AutoModelForCausalLM"


# Data and training


def _part(record: Record, part: str) -> dict[str, Any]:
    about = record.data.get(part)
    return about if isinstance(about, dict) else {}


def _data(record: Record) -> str:
    """Names, sizes and digests; the rows themselves are not published."""
    lines = [_line(["file", "rows", "used", "left out as too long", "SHA-256"]), _line(["---"] * 5)]
    for part in record.data:
        about = _part(record, part)
        cells = [about.get(key, "") for key in ("file", "rows", "used", "too_long", "sha256")]
        file, *numbers, digest = map(str, cells)
        lines.append(_line([f"{Path(file).name} ({part})", *numbers, f"`{digest}`"]))
    return "\n".join([*lines, "", "The rows are not part of this repository."])


def _training(record: Record) -> str:
    """Settings, figures and package versions, so that the training can be repeated."""
    settings = [
        (title, record.settings[key]) for key, title in TITLES.items() if key in record.settings
    ]
    if record.method == "full":
        settings = [each for each in settings if each[0] != TITLES["rank"]]
    rows = [("method", METHODS.get(record.method, record.method)), *settings, *_figures(record)]
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    lines = [_line(["setting", "value"]), _line(["---", "---"])]
    lines += [_line([title, _value(value)]) for title, value in rows]
    when = f"Started {record.started}. " if record.started else ""
    return "\n".join([*lines, "", f"{when}{versions}."])


def _figures(record: Record) -> list[tuple[str, Any]]:
    titles = {
        "steps": "steps",
        "kept_step": "best step, which was kept",
        "loss": "training loss at the end",
        "eval_loss": "best validation loss",
        "seconds": "seconds",
    }
    return [
        (title, record.figures[key])
        for key, title in titles.items()
        if record.figures.get(key) is not None
    ]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _limits(record: Record, base: Base) -> str:
    limits = [
        "For questions unlike its training data, expect answers like its base's, or worse.",
        "Its answers can be wrong and still look right. Check what matters.",
        "It may repeat training rows word for word.",
    ]
    if base.tiny:
        limits.insert(0, "A rehearsal: the base has random weights. It is of no practical use.")
    if base.image_text:
        limits.append("It was trained on text only; its answers about images were not tested.")
    if _part(record, "train").get("too_long"):
        limits.append("Rows above the length limit were left out: it was not trained on long ones.")
    return "\n".join(f"- {limit}" for limit in limits)
