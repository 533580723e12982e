"""Trains on a Hugging Face Jobs GPU: `uv run python -m cloud.hf_job --push you/name`"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tune import estimate, plan
from tune.errors import TuneError
from tune.settings import ROOT, SETTINGS, Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
CODE = ("tune", "plumbing")  # the folders that training needs; only these kinds of files:
KINDS = {".py", ".j2", ".css", ".md"}
# Settings that are passed on to the job.
SETTING_NAMES = (
    *("base_model", "method", "lora_rank", "learning_rate", "epochs", "batch_size", "accumulate"),
    *("max_length", "early_stop", "seed", "train_file", "validation_file", "test_file"),
)
ATTEMPTS = 3  # each resumes from the last checkpoint
TOKEN = "https://huggingface.co/settings/tokens"

# A job's disk is deleted when the job ends. So the run is copied to a bucket once a minute, and the
# model goes to the hub. The bucket is not mounted: a mounted one may not allow appending to a log.
# Only this run is synced: another job may be training other runs of the bucket at the same time.
SCRIPT = """\
set -e
cp -r /project /work && cd /work
uv sync --no-dev
uv pip install --torch-backend auto -r pyproject.toml --extra train --extra qlora
sync() { .venv/bin/hf buckets sync --quiet --include "$RUN/*" "$@"; }
sync "$BUCKET" runs
save() { sync --delete runs "$BUCKET" || echo "Not saved yet."; }
while sleep 60; do save; done &
saving=$!
trap 'kill $saving || true; save' EXIT
.venv/bin/python -m tune train --name "$RUN" --resume
.venv/bin/python -m tune evaluate "$RUN" || echo "Not evaluated; pushed all the same."
.venv/bin/python -m tune export "$RUN" --push "$PUSH"
"""


@dataclass(frozen=True)
class Job:
    """A job to send: the files, which go to a private dataset that the job reads, and its request.

    `request` holds the arguments of huggingface_hub.run_job, without the token.
    """

    dataset: str
    bucket: str
    files: tuple[str, ...]
    request: dict[str, Any]
    max_cost: float | None  # dollars, if every attempt runs until its timeout; None: not known

    def shown(self) -> str:
        """Everything that would be sent, as JSON, with a placeholder for the token."""
        volumes = [each.to_dict() for each in self.request["volumes"]]
        request = {**self.request, "volumes": volumes}
        shown = {
            "dataset": {"repo_id": self.dataset, "private": True, "files": list(self.files)},
            "bucket": {"bucket_id": self.bucket, "private": True},
            "job": {**request, "secrets": {"HF_TOKEN": "(your token)"}},
            "dollars_at_most": None if self.max_cost is None else round(self.max_cost, 2),
        }
        return json.dumps(shown, indent=2, ensure_ascii=False)


def prepare(push: str, run: str, settings: Settings, flavor: str = "", hours: int = 0) -> Job:
    """Build a job: by default on the cheapest GPU, for three times the planned hours plus two."""
    from huggingface_hub import Volume

    owner, _, name = push.partition("/")
    if not owner or not name or "/" in name:
        raise TuneError(f'"{push}" is not a name on the hub.', "--push you/name")
    offer = _offer(settings, flavor)
    hours = hours or math.ceil(2 + 3 * (offer.hours or 1))
    dataset, bucket = f"{push}-training", f"{push}-runs"
    request = {
        "image": IMAGE,
        "command": ["bash", "-c", SCRIPT],
        "env": {"RUN": run, "PUSH": push, "BUCKET": _uri(bucket), **_variables(settings)},
        "flavor": offer.gpu.flavor,
        "timeout": f"{hours}h",
        "attempts": ATTEMPTS,
        "name": f"{name}-{run}",
        "volumes": [Volume(type="dataset", source=dataset, mount_path="/project")],
        "namespace": owner,
    }
    max_cost = ATTEMPTS * hours * offer.gpu.price if offer.gpu.seller == plan.HUB else None
    return Job(dataset, bucket, tuple(_files(settings)), request, max_cost)


def send(job: Job, api: HfApi) -> JobInfo:
    """Upload the files and start the job. Raises TuneError if the hub refuses."""
    import httpx2
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.errors import HfHubHTTPError

    files = [CommitOperationAdd(name, ROOT / name) for name in job.files]
    try:
        api.create_repo(job.dataset, repo_type="dataset", private=True, exist_ok=True)
        api.create_commit(job.dataset, files, commit_message="Train", repo_type="dataset")
        api.create_bucket(job.bucket, private=True, exist_ok=True)
        return api.run_job(**job.request, secrets={"HF_TOKEN": api.token})
    except HfHubHTTPError as error:
        raise _refused(error) from error
    except (ConnectionError, httpx2.TransportError) as error:  # also if HF_HUB_OFFLINE is set
        problem = f"The hub cannot be reached: {error}"
        raise TuneError(problem, "the same command, online") from error


def follow(info: JobInfo, api: HfApi) -> bool:
    """Print the job's log until it ends; return whether it succeeded."""
    owner = info.owner.name
    for line in api.fetch_job_logs(job_id=info.id, namespace=owner, follow=True):
        print(line.rstrip("\n"), flush=True)
    return api.inspect_job(job_id=info.id, namespace=owner).status.stage == "COMPLETED"


def main(
    push: Annotated[str, typer.Option(help="The adapter's name on the hub: you/name.")],
    run: Annotated[str, typer.Option(help="The run's name; an existing run continues.")] = "night",
    flavor: Annotated[str, typer.Option(help="Hardware, such as l4x1; else the cheapest.")] = "",
    hours: Annotated[int, typer.Option(help="Time limit; else by the plan.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent.")] = False,
) -> None:
    """Train on a GPU of Hugging Face Jobs, and push the result to the hub."""
    job = prepare(push, run, SETTINGS, flavor, hours)
    if dry_run:
        print(job.shown())
        return
    from huggingface_hub import HfApi, get_token

    if not (token := get_token()):
        problem = f"No token for the hub. Create one with write access: {TOKEN}"
        raise TuneError(problem, "uv run hf auth login")
    api = HfApi(token=token)
    info = send(job, api)
    print(f"Started: {info.url}\nTo stop it: uv run hf jobs cancel {info.id}", file=sys.stderr)
    if not follow(info, api):
        again = f"uv run python -m cloud.hf_job --push {push} --run {run}"
        raise TuneError(f"The job failed: {info.url}", f"{again} (it resumes)")
    download = f"uv run hf buckets sync {_uri(job.bucket)} runs"
    print(f"Done: {api.endpoint}/{push}\nDownload the run: {download}", file=sys.stderr)


def _uri(bucket: str) -> str:
    return f"hf://buckets/{bucket}"


def _offer(settings: Settings, flavor: str) -> plan.Offer:
    """Choose a GPU that can train, evaluate and merge, and estimate its training time."""
    rows = plan.measure(settings.train, settings)
    made = plan.make(plan.training(settings, rows), None)
    base = made.training.base
    if base.local:
        problem = f"{base.source} is a folder on this machine: a job cannot read it."
        raise TuneError(problem, "set BASE_MODEL in .env to a model on the hub")
    ours = [offer for offer in made.offers if offer.gpu.flavor]
    if flavor:
        _check(flavor)
        unknown = plan.Offer(estimate.Gpu(flavor, 0, flavor=flavor), fits=True)
        return next((each for each in ours if each.gpu.flavor == flavor), unknown)
    whole = estimate.inference_memory(made.training.shape)  # merging loads the base in 16 bits
    fitting = [offer for offer in ours if offer.fits and whole <= offer.gpu.usable]
    if not fitting:
        problem = "No single GPU of Hugging Face Jobs is large enough."
        raise TuneError(problem, "uv run python -m tune plan")
    return min(fitting, key=_preference)


def _preference(offer: plan.Offer) -> tuple[bool, float]:
    """Sort key: GPUs with a known price first, then by cost."""
    return offer.gpu.seller != plan.HUB, (offer.hours or 0) * offer.gpu.price


def _check(flavor: str) -> None:
    from huggingface_hub import JobHardware

    flavors = [each.value for each in JobHardware]
    if flavor not in flavors:
        problem = f'Hugging Face Jobs has no hardware "{flavor}".'
        raise TuneError(problem, f"--flavor {' | '.join(flavors)}")


def _variables(settings: Settings) -> dict[str, str]:
    """The settings that differ from their defaults, as variables."""
    fields = type(settings).model_fields
    values = {name: getattr(settings, name) for name in SETTING_NAMES}
    changed = {name: each for name, each in values.items() if each != fields[name].default}
    return {
        str(fields[name].validation_alias or name).upper(): _text(each)
        for name, each in changed.items()
    }


def _text(value: Any) -> str:
    return value.as_posix() if isinstance(value, Path) else str(value)


def _files(settings: Settings) -> Iterator[str]:
    """The project's files that the job needs, and no others: never `.env`."""
    found = [path for name in CODE for path in sorted((ROOT / name).rglob("*"))]
    found = [path for path in found if path.suffix in KINDS]
    found += [ROOT / name for name in ("pyproject.toml", "uv.lock")]
    found += [settings.train, settings.validation, settings.test]
    for path in found:
        if not path.resolve().is_relative_to(ROOT):
            raise TuneError(f"{path} is outside this project.", "move it to data/")
        if path.is_file():
            yield path.resolve().relative_to(ROOT).as_posix()


def _refused(error: Any) -> TuneError:
    status = error.response.status_code if error.response is not None else 0
    if status == 402:
        billing = "https://huggingface.co/settings/billing"
        return TuneError("Hugging Face Jobs needs prepaid credits.", f"add credits: {billing}")
    if status in {401, 403}:
        problem = "This token has no permission to write there, or to start jobs."
        return TuneError(problem, f"get one that has: {TOKEN}")
    return TuneError(f"The hub refused: {error.server_message or error}", "try again later")


if __name__ == "__main__":
    try:
        typer.run(main)
    except TuneError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
