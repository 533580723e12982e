import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Tuned
from huggingface_hub import HfApi, JobHardware, Volume

from cloud import hf_job
from tune.errors import TuneError
from tune.runs import Run
from tune.settings import ROOT, Settings

TOKEN = "hf_" + "x" * 34
JOB = {
    "id": "1a2b",
    "owner": {"id": "1", "name": "ada", "type": "user"},
    "status": {"stage": "COMPLETED"},
}
# The keys of a job that the hub accepts, from huggingface_hub's JobSpec.
JOB_KEYS = {
    *("command", "arguments", "environment", "flavor", "secrets", "timeoutSeconds"),
    *("attempts", "labels", "volumes", "dockerImage"),
}


@dataclass
class Hub:
    """A fake hub on loopback: takes files, makes buckets, runs jobs, and refuses bad requests."""

    status: int = 200  # the reply to every job
    stage: str = "COMPLETED"
    files: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=self.url, token=TOKEN)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        path = path.split("?")[0]
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.made.append(f"{asked['type']} {asked['organization']}/{asked['name']}")
            return 200, {"url": f"{self.url}/datasets/ada/shop-training"}
        if "/preupload/" in path:
            return 200, {"files": [_regular(each) for each in json.loads(body)["files"]]}
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = line["value"]["content"]
            return 200, {
                "commitUrl": f"{self.url}/datasets/ada/shop-training/commit/1",
                "commitOid": "1",
            }
        if path.startswith("/api/buckets/"):
            self.made.append(f"bucket {path.removeprefix('/api/buckets/')}")
            return 200, {"url": f"{self.url}{path.removeprefix('/api')}"}
        if path == "/api/jobs/ada" and method == "POST":
            return self._run(json.loads(body))
        if path == "/api/jobs/ada/1a2b":
            return 200, {**JOB, "status": {"stage": self.stage}}
        return 404, {"error": f"nothing at {path}"}

    def _run(self, spec: dict[str, Any]) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"error": "no"}
        well = set(spec) <= JOB_KEYS and spec["flavor"] in {each.value for each in JobHardware}
        well = well and isinstance(spec["timeoutSeconds"], int) and spec["arguments"] == []
        well = well and [Volume(**each).type for each in spec["volumes"]] == ["dataset"]
        if not well:
            return 400, {"error": "not a job"}
        self.jobs.append(spec)
        return 200, JOB


def _regular(file: dict[str, Any]) -> dict[str, Any]:
    return {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # the fake hub is local
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            logs = self.path.split("?")[0].endswith("/logs")
            status, said = hub.answer(self.command, self.path, body) if allowed else (401, {})
            content = json.dumps(said).encode()
            if logs:
                status, content = 200, b'data: {"data": "step 1", "timestamp": "2026-11-25"}\n\n'
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if logs else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _reply

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield hub
        server.shutdown()


def job(**changes: Any) -> hf_job.Job:
    return hf_job.prepare("ada/shop", "night", Settings(**changes))


def problem(**changes: Any) -> str:
    with pytest.raises(TuneError) as raised:
        job(**changes)
    return str(raised.value)


# Building the job


def test_only_code_and_rows_are_sent() -> None:
    names = job().files
    assert {"tune/train.py", "tune/chat_template.j2", "data/train.jsonl"} <= set(names)
    assert not [name for name in names if ".env" in name or "__pycache__" in name]
    assert all((ROOT / name).is_file() for name in names)


def test_only_changed_settings_are_passed_on() -> None:
    env = job(base_model="ministral-8b", method="qlora", epochs=2).request["env"]
    assert env["BASE_MODEL"] == "ministral-8b"
    assert (env["METHOD"], env["EPOCHS"]) == ("qlora", "2.0")
    assert "RANK" not in env and not [name for name in env if "KEY" in name or "TOKEN" in name]


def test_the_cheapest_hardware_that_is_large_enough_is_taken() -> None:
    assert job(base_model="ministral-3b", method="qlora").request["flavor"] == "t4-small"
    # In 4 bits it trains on a T4, but the export needs 16 bits
    assert job(base_model="ministral-8b", method="qlora").request["flavor"] == "a10g-small"
    large = job(base_model="mistral-small")
    assert large.request["flavor"] == "a100-large"
    assert large.max_cost is None  # its price there is not known


def test_what_it_costs_at_most_counts_every_attempt() -> None:
    small = hf_job.prepare("ada/shop", "night", Settings(), "l4x1", 5)
    assert small.request["timeout"] == "5h"
    assert small.max_cost == pytest.approx(3 * 5 * 0.80)


def test_a_base_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"num_attention_heads": 4, "hidden_size": 64, "num_hidden_layers": 1,'
        ' "intermediate_size": 64, "vocab_size": 99}'
    )
    assert "a job cannot read it" in problem(base_model=str(tmp_path))


def test_rows_outside_the_project_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes((ROOT / "data" / "train.jsonl").read_bytes())
    assert "outside this project" in problem(train_file=file)


@pytest.mark.parametrize("push", ["shop", "/shop", "ada/", "ada/shop/x"])
def test_a_wrong_name_on_the_hub_is_refused(push: str) -> None:
    with pytest.raises(TuneError, match="--push you/name"):
        hf_job.prepare(push, "night", Settings())


def test_unknown_hardware_is_refused_with_a_list() -> None:
    with pytest.raises(TuneError, match="l4x1"):
        hf_job.prepare("ada/shop", "night", Settings(), "a1000")


# What the hub receives


def test_the_hub_gets_what_the_dry_run_shows(hub: Hub) -> None:
    request = job(method="qlora")
    shown = json.loads(request.shown())
    info = hf_job.send(request, hub.api)
    assert info.id == "1a2b"
    assert hub.made == ["dataset ada/shop-training", "bucket ada/shop-runs"]
    assert list(hub.files) == shown["dataset"]["files"]
    [sent] = hub.jobs
    assert sent["environment"] == shown["job"]["env"]
    assert (sent["command"], sent["flavor"]) == (shown["job"]["command"], shown["job"]["flavor"])
    assert sent["volumes"] == shown["job"]["volumes"]
    assert sent["secrets"] == {"HF_TOKEN": TOKEN}
    assert TOKEN not in request.shown() and TOKEN not in json.dumps({**sent, "secrets": None})


def test_the_log_is_followed_until_the_job_ends(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    info = hf_job.send(job(), hub.api)
    assert hf_job.follow(info, hub.api)
    assert capsys.readouterr().out == "step 1\n"
    hub.stage = "ERROR"
    assert not hf_job.follow(info, hub.api)


@pytest.mark.parametrize(
    ("status", "words"), [(402, "add credits"), (403, "no permission"), (422, "refused")]
)
def test_a_refusal_says_what_to_do(hub: Hub, status: int, words: str) -> None:
    hub.status = status
    with pytest.raises(TuneError, match=words):
        hf_job.send(job(), hub.api)


def test_without_a_network_it_says_so() -> None:
    with pytest.raises(TuneError, match="cannot be reached"):
        hf_job.send(job(), HfApi(endpoint="http://127.0.0.1:9", token=TOKEN))


# Files for other programs' commands


def test_skypilot_and_jobs_run_the_same_commands() -> None:
    task = yaml.safe_load((ROOT / "cloud" / "skypilot.yaml").read_text("utf-8"))
    for script in (task["run"], hf_job.SCRIPT):
        assert 'tune train --name "$RUN" --resume' in script
        assert 'tune export "$RUN" --push "$PUSH"' in script
    known = {name.upper() for name in Settings.model_fields}
    assert set(task["envs"]) - known == {"BUCKET", "RUN", "PUSH"}


def test_a_rented_machine_can_append_to_its_log() -> None:
    """A plain mounted bucket may refuse to append to a file."""
    task = yaml.safe_load((ROOT / "cloud" / "skypilot.yaml").read_text("utf-8"))
    assert task["file_mounts"]["/runs"]["mode"] == "MOUNT_CACHED"
    request = job().request
    assert request["env"]["BUCKET"] == "hf://buckets/ada/shop-runs"
    assert [each.type for each in request["volumes"]] == ["dataset"]
    assert "RUNS_DIR" not in request["env"]


PROGRAM = """#!/bin/sh
echo "${0##*/} $*" >> "$LOG"
case "$*" in *"$FAILS"*) exit 1; esac
"""


@pytest.mark.skipif(os.name == "nt", reason="the script runs on Linux")
@pytest.mark.parametrize("fails", ["tune train", "tune evaluate", "nothing"])
def test_a_run_is_downloaded_first_and_saved_at_the_end(tmp_path: Path, fails: str) -> None:
    log, installed = tmp_path / "log", tmp_path / "project" / ".venv" / "bin"
    installed.mkdir(parents=True)
    for program in (installed / "hf", installed / "python", tmp_path / "uv", tmp_path / "sleep"):
        program.write_text(PROGRAM if program.name != "sleep" else "#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    script = hf_job.SCRIPT.replace("/project", str(tmp_path / "project"))
    script = script.replace("/work", str(tmp_path / "work"))
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "LOG": str(log), "FAILS": fails}
    env |= {"RUN": "night", "PUSH": "ada/shop", "BUCKET": "hf://buckets/ada/shop-runs"}
    ran = subprocess.run(["bash", "-c", script], env=env, check=False, capture_output=True)
    said = log.read_text("utf-8").splitlines()
    train = said.index("python -m tune train --name night --resume")
    sync, bucket = "hf buckets sync --quiet --include night/*", "hf://buckets/ada/shop-runs"
    assert said[train - 1] == f"{sync} {bucket} runs"
    assert said[-1] == f"{sync} --delete runs {bucket}"
    assert ran.returncode == (1 if fails == "tune train" else 0)
    pushed = "python -m tune export night --push ada/shop" in said
    assert pushed == (fails != "tune train")


def test_accelerate_s_file_starts_more_than_one_process_here() -> None:
    config = yaml.safe_load((ROOT / "cloud" / "accelerate.yaml").read_text("utf-8"))
    assert config["distributed_type"] == "MULTI_GPU"
    assert (config["num_machines"], config["num_processes"]) == (1, 2)


def test_two_processes_train_like_one_and_only_one_reports(tuned: Tuned) -> None:
    """As two GPUs would: this machine's processor takes the place of each."""
    run = Run(tuned.settings.runs / "two")
    names = ("base_model", "train_file", "validation_file", "runs_dir")
    names += ("accumulate", "learning_rate", "epochs")
    variables = {name.upper(): str(getattr(tuned.settings, name)) for name in names}
    launch = ["-m", "accelerate.commands.launch", "--config_file", "cloud/accelerate.yaml"]
    ran = subprocess.run(
        [sys.executable, *launch, "-m", "cloud.several_gpus", "--name", run.name],
        cwd=ROOT,
        env=os.environ | variables | {"BATCH_SIZE": "4"},
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("is done") == 1
    one, two = (each.record.figures["eval_loss"] for each in (tuned.run, run))
    assert two == pytest.approx(one, rel=0.05)
