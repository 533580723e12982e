"""What the template `fine-tune` sends elsewhere, held against those programs' own validators."""

import json
import subprocess
from typing import Any

import pytest
from conftest import ROOT, clean_environment
from tuning import Tuner

from hackkit.system import uv

pytestmark = pytest.mark.slow

CLOUD = ROOT / "templates" / "fine-tune" / "project" / "cloud"

ACCELERATE = """
import sys
from accelerate.commands.config.config_args import load_config_from_file
config = load_config_from_file("cloud/accelerate.yaml")
print(config.distributed_type.value, config.num_processes)
"""
SKYPILOT = """
import json, sys, sky
task = sky.Task.from_yaml(sys.argv[1])
resources = [each.accelerators for each in task.resources]
mounts = {where: storage.name for where, storage in task.storage_mounts.items()}
spot = all(each.use_spot for each in task.resources)
print(json.dumps([task.workdir, sorted(map(str, resources)), mounts, spot, sorted(task.secrets)]))
"""


def test_skypilot_takes_its_task() -> None:
    words = [*uv.command(), "run", "--no-project", "--with", "skypilot", "python", "-c", SKYPILOT]
    said = subprocess.run(
        [*words, str(CLOUD / "skypilot.yaml")],
        cwd=CLOUD.parent,
        env=uv.outer_environment(clean_environment()),
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
    workdir, resources, mounts, spot, secrets = json.loads(said.stdout.splitlines()[-1])
    assert (workdir, spot, secrets) == (".", True, ["HF_TOKEN"])
    assert "{'L4': 1}" in resources
    assert mounts == {"/runs": "fine-tune-runs"}


def test_accelerate_takes_its_configuration(tuner: Tuner) -> None:
    assert tuner.must("python", "-c", ACCELERATE).split() == ["MULTI_GPU", "2"]


def test_the_dry_run_of_a_job_names_all_that_would_be_sent(tuner: Tuner) -> None:
    said = json.loads(tuner.must("python", "-m", "cloud.hf_job", "--push", "ada/x", "--dry-run"))
    assert "pyproject.toml" in said["dataset"]["files"]
    assert "plumbing/retries.py" in said["dataset"]["files"]
    assert said["job"]["secrets"] == {"HF_TOKEN": "(your token)"}


def test_two_processes_train_one_model(tuner: Tuner, rehearsed: dict[str, Any]) -> None:
    """As two GPUs would: this machine's processor takes the place of each."""
    base = f"runs/{rehearsed['run']}/base"
    here = Tuner(tuner.folder, {"BASE_MODEL": base, "METHOD": "lora", "EPOCHS": "1"})
    config = ("--config_file", "cloud/accelerate.yaml")
    here.must("accelerate", "launch", *config, "-m", "cloud.several_gpus", "--name", "two")
    record = json.loads((tuner.folder / "runs" / "two" / "run.json").read_text("utf-8"))
    assert record["state"] == "done"
    assert record["settings"]["processes"] == 2
    assert record["figures"]["eval_loss"] < record["figures"]["eval_loss_first"]
