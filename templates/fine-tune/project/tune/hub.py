"""Publishes an export on the Hugging Face hub: the model card, and the upload."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from tune import models, prompts, report
from tune.errors import TuneError
from tune.metrics import METRICS, Interval
from tune.models import Base
from tune.report import TUNED, Evaluation
from tune.runs import Record, Run

METHODS = {"lora": "LoRA", "qlora": "QLoRA (base in 4 bits)"}
CARD = Path(__file__).with_name("card.md")  # the model card's text, to edit
TOKENS = "https://huggingface.co/settings/tokens"
# The files that are uploaded: no optimizer state, no checkpoint, no rows.
FILES = re.compile(
    r"(adapter_model|model)[\w.-]*\.safetensors(\.index\.json)?|(adapter_|generation_)?config\.json"
    r"|tokenizer(_config)?\.json|special_tokens_map\.json|chat_template\.jinja"
    r"|(pre)?processor_config\.json|[\w.-]+\.gguf|Modelfile|README\.md"
)


@dataclass(frozen=True)
class Kind:
    """A form of export: the hub's names for it, and how to use it ({name}, {base}, {auto})."""

    library: str
    relation: str
    use: str


@dataclass(frozen=True)
class Export:
    """An export, and how its answers compare with the run's."""

    run: Run
    kind: Kind
    folder: Path
    checked: str

    @property
    def files(self) -> dict[str, int]:
        """The files by name, with their sizes in bytes."""
        return {file.name: file.stat().st_size for file in sorted(self.folder.iterdir())}

    def as_dict(self) -> dict[str, Any]:
        """The export for `--json`."""
        return {"folder": str(self.folder), "checked": self.checked, "files": self.files}


@dataclass(frozen=True)
class Push:
    """An upload to the hub: repository and files."""

    repo: str
    private: bool
    files: dict[str, int]
    url: str


def push(made: Export, repo: str, *, private: bool = True, dry_run: bool = False) -> Push:
    """Upload an export to the hub, or only list it with `dry_run`. Data is never uploaded.

    Raises TuneError without a token, or if the hub refuses.
    """
    from huggingface_hub import constants

    wrong = ", ".join(name for name in made.files if not FILES.fullmatch(name))
    if wrong:
        problem = f"{made.folder} contains files that are not part of an export: {wrong}."
        raise TuneError(problem, "move them away, or export again")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise TuneError(f'"{repo}" is not a name on the hub.', "--push your-name/your-model")
    base = models.find(made.run.record.base)
    if made.kind.relation == "adapter" and base.local:
        problem = "The adapter's base is a folder on this machine, so no one else could use it."
        fix = f"uv run python -m tune export {made.run.name} --as merged --push {repo}"
        raise TuneError(problem, fix)
    plan = Push(repo, private, made.files, f"{constants.ENDPOINT}/{repo}")
    if not dry_run:
        write_card(made.folder, made.run, made.kind, repo)
        _send(made.folder, plan)
    return plan


def _send(folder: Path, plan: Push) -> None:
    from httpx2 import TransportError
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    if not (token := get_token()):
        problem = f"No token for the hub. Create one with write access: {TOKENS}"
        raise TuneError(problem, "HF_TOKEN=… in .env, or: uv run hf auth login")
    api = HfApi(token=token)
    try:
        api.create_repo(plan.repo, private=plan.private, exist_ok=True)
        api.upload_folder(repo_id=plan.repo, folder_path=folder, allow_patterns=[*plan.files])
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in {401, 403}:
            problem = f"This token has no permission to write to {plan.repo}."
            fix = f"create one with write access: {TOKENS}"
            raise TuneError(problem, fix) from error
        problem = f"The hub refused: {error.server_message or error}"
        raise TuneError(problem, "try again later") from error
    except TransportError as error:
        problem = f"The hub cannot be reached: {error}."
        raise TuneError(problem, "go online, then try again: the export is kept") from error


# The model card


def write_card(folder: Path, run: Run, kind: Kind, name: str = "") -> None:
    """Write the model card as README.md; `name` is the model's on the hub, else the run's."""
    text = card(run, kind, name or run.name)
    (folder / "README.md").write_text(text, "utf-8", newline="\n")


def card(run: Run, kind: Kind, name: str) -> str:
    """The text of tune/card.md, filled in: YAML for the hub first, then Markdown."""
    record = run.record
    base = models.find(record.base)
    return Template(CARD.read_text("utf-8")).substitute(
        library=kind.library,
        hub="\n".join(_links(base, kind)),
        title=name.rsplit("/", 1)[-1],
        base=_shown(base),
        method=METHODS.get(record.method, record.method),
        rows=f"{record.data.get('train', {}).get('used', 0):,}",
        evaluation=_evaluated(run),
        use=_use(kind, base, name),
        training=_training(record),
        limits="\n".join(_limits(base)),
    )


def _links(base: Base, kind: Kind) -> Iterator[str]:
    """What the hub links to. A base in a local folder has no page."""
    if not base.local:
        yield f"base_model: {base.source}\nbase_model_relation: {kind.relation}"
    if base.licence:
        yield f"license: {base.licence}"


def _shown(base: Base) -> str:
    return Path(base.source).name if base.local else base.source


def _use(kind: Kind, base: Base, name: str) -> str:
    auto = "AutoModelForImageTextToText" if base.image_text else "AutoModelForCausalLM"
    use = kind.use.replace("{name}", name).replace("{base}", _shown(base)).replace("{auto}", auto)
    system = f"It was trained with this system message:\n\n```text\n{prompts.SYSTEM}\n```"
    return f"{use}\n\n{system}" if prompts.SYSTEM else use


def _evaluated(run: Run) -> str:
    """The verdict and the table, or a note that there is no evaluation."""
    try:
        found = report.read(run.evaluation)
    except TuneError:
        return "It was not evaluated, so there is no proof that it is better than its base."
    notes = "".join(f"\n\n{note}" for note in found.notes)
    rows = f"These {found.rows} rows were not used for training."
    return f"{found.why} {rows}\n\n{_table(found)}{notes}"


def _table(found: Evaluation) -> str:
    """Means of every metric and system, with 95 % confidence intervals."""
    lines = [["", *(each.label for each in found.systems.values()), "tuned − base"]]
    lines.append(["---", *["--:"] * (len(lines[0]) - 1)])
    for metric in found.systems[TUNED].metrics:
        cells = [_figure(each.metrics.get(metric)) for each in found.systems.values()]
        label = METRICS[metric].label if metric in METRICS else metric
        lines.append([label, *cells, _figure(found.differences.get(metric))])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\nMeans, with their 95 % confidence intervals in brackets (bootstrap)."


def _figure(interval: Interval | None) -> str:
    return f"{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})" if interval else ""


def _training(record: Record) -> str:
    """Data, settings, figures and versions, so that the training can be repeated."""
    lines = ["| what | value |", "| --- | --- |"]
    for part, about in record.data.items():
        file = f"{Path(about['file']).name}, {about['used']:,} rows, SHA-256 `{about['sha256']}`"
        lines.append(f"| {part} data (not part of this repository) | {file} |")
    figures = {name: value for name, value in record.figures.items() if value}
    values = {"method": METHODS.get(record.method, record.method), **record.settings, **figures}
    for name, value in values.items():
        if name not in {"system", "licence"}:
            shown = f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')
            lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return "\n".join([*lines, "", f"Started {record.started} with {versions}."])


def _limits(base: Base) -> Iterator[str]:
    if base.tiny:
        yield "- A rehearsal: the base has random weights. It is of no practical use."
    if base.image_text:
        yield "- It was trained on text only; its answers about images were not tested."
