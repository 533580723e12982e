"""Uploads an export to the hub, never any rows of data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tune import card, models
from tune.errors import TuneError
from tune.export import FILES, Export


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

    wrong = [name for name in made.files if not FILES.fullmatch(name)]
    if wrong:
        problem = (
            f"{made.folder} contains files that are not part of an export: {', '.join(wrong)}."
        )
        raise TuneError(problem, "move them away, or export again")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise TuneError(f'"{repo}" is not a name on the hub.', "--push your-name/your-model")
    base = models.find(made.run.record.base)
    if made.form == "adapter" and base.local:
        problem = "The adapter's base is a folder on this machine, so no one else could use it."
        fix = f"uv run python -m tune export {made.run.name} --as merged --push {repo}"
        raise TuneError(problem, fix)
    plan = Push(repo, private, made.files, f"{constants.ENDPOINT}/{repo}")
    if not dry_run:
        card.write(made.folder, card.Subject(made.run, base, made.form, repo))
        _send(made.folder, plan)
    return plan


def _send(folder: Path, plan: Push) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    token = hub_token()
    if not token:
        where = "https://huggingface.co/settings/tokens"
        problem = f"No token for the hub. Create one with write access: {where}"
        raise TuneError(problem, "HF_TOKEN=… in .env, or: uv run hf auth login")
    api = HfApi(token=token)
    try:
        api.create_repo(plan.repo, private=plan.private, exist_ok=True)
        api.upload_folder(
            repo_id=plan.repo,
            folder_path=folder,
            allow_patterns=list(plan.files),
            commit_message="Upload a tuned model",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in {401, 403}:
            problem = f"This token has no permission to write to {plan.repo}."
            fix = "create one with write access: https://huggingface.co/settings/tokens"
            raise TuneError(problem, fix) from error
        raise TuneError(
            f"The hub refused: {error.server_message or error}", "try again later"
        ) from error
    except Exception as error:  # httpx's errors, under any of its package names
        if "TransportError" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        problem = f"The hub cannot be reached: {error}."
        raise TuneError(problem, "go online, then try again: the export is kept") from error


def hub_token() -> str:
    """The hub's token: HF_TOKEN, or from `hf auth login`; empty without one."""
    from huggingface_hub import get_token

    return get_token() or ""
