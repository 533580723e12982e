import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from conftest import Tuned
from safetensors import SafetensorError

from tune import export, hub, models, weights
from tune.errors import TuneError, explained
from tune.generate import Generator
from tune.hub import Export
from tune.runs import Run
from tune.settings import SETTINGS

ROOT = Path(__file__).parent.parent
TOKEN = "hf_" + "aB3" * 11


@pytest.fixture(scope="module")
def run(tuned: Tuned) -> Run:
    """A copy of the tuned run, to export from."""
    copy = Run(tuned.run.folder.with_name("exported"))
    shutil.copytree(tuned.run.folder, copy.folder)
    return copy


@pytest.fixture(scope="module")
def exports(run: Run, tuned: Tuned) -> dict[str, Export]:
    """Both forms, exported once."""
    forms: tuple[export.Form, ...] = ("adapter", "merged")
    return {form: export.export(run, form, tuned.settings, emit=lambda _: None) for form in forms}


@pytest.fixture(scope="module")
def expected(run: Run, tuned: Tuned) -> list[str]:
    """The run's own answers."""
    return asked(weights.load_tuned(run), tuned)


def asked(model: Any, tuned: Tuned) -> list[str]:
    tokenizer = weights.load_tokenizer(models.find(str(tuned.base)))
    generator = Generator(model, tokenizer, tuned.settings.max_tokens)
    return [reply.text for reply in generator.answers(export.questions(tuned.settings))]


def test_merged_weights_answer_without_peft_and_without_this_project(
    exports: dict[str, Export], expected: list[str], tuned: Tuned
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = exports["merged"].folder
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    messages = export.questions(tuned.settings)[0]
    inputs = tokenizer.apply_chat_template(messages, return_dict=True, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    said = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said == expected[0]


def test_the_adapter_names_its_base_and_has_no_training_state(
    exports: dict[str, Export], tuned: Tuned
) -> None:
    made = exports["adapter"]
    about = json.loads((made.folder / "adapter_config.json").read_text("utf-8"))
    assert about["base_model_name_or_path"] == str(tuned.base)
    assert {"adapter_model.safetensors", "tokenizer.json", "README.md"} <= made.files.keys()
    assert all(hub.FILES.fullmatch(name) for name in made.files)


def test_it_reports_that_it_answers_like_the_run(exports: dict[str, Export]) -> None:
    assert exports["merged"].checked == f"all {export.ASKED} answers are the run's"


def test_five_questions_are_asked(tmp_path: Path) -> None:
    asked = tuple(f"question {n}" for n in range(9))
    rows = tmp_path / "test.jsonl"
    rows.write_text(
        "\n".join(json.dumps({"prompt": each, "completion": "x"}) for each in asked), "utf-8"
    )
    for file in (rows, tmp_path / "none.jsonl"):
        settings = SETTINGS.model_copy(update={"test_file": file, "examples": asked})
        found = [messages[-1]["content"] for messages in export.questions(settings)]
        assert found == list(asked[:5])


def test_no_temporary_folder_is_left(exports: dict[str, Export], run: Run) -> None:
    assert sorted(path.name for path in run.exports.iterdir()) == ["adapter", "merged"]


def test_the_exported_chat_template_gives_the_same_text_without_generation_tags(
    tuned: Tuned,
) -> None:
    tokenizer = weights.load_tokenizer(models.find(str(tuned.base)))
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ]
    before = tokenizer.apply_chat_template(talk, tokenize=False)
    template = export.for_inference(tokenizer.chat_template)
    assert "generation %}" not in template
    assert tokenizer.apply_chat_template(talk, chat_template=template, tokenize=False) == before


def test_rounding_may_change_a_word() -> None:
    before = ["the parcel comes on Monday", "yes"]
    after = ["the parcel comes on Sunday", "yes"]
    assert export.compare(before, after).startswith("1 of 2 answers")
    with pytest.raises(TuneError, match="Sunday"):
        export.compare(before, after, exact=True)
    with pytest.raises(TuneError):
        export.compare(before, ["}}}}}", ""])


def test_a_disk_that_fills_up_is_reported_without_a_traceback() -> None:
    full = "Error while serializing: I/O error: No space left on device (os error 28)"
    error = explained(SafetensorError(full))
    assert error and "No space left" in error.problem
    assert "RUNS_DIR" in error.fix


def test_an_export_that_fails_leaves_the_old_one(exports: dict[str, Export], run: Run) -> None:
    folder = exports["merged"].folder
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(TuneError), export.replaced(folder) as part:
        (part / "model.safetensors").touch()
        raise TuneError("The exported model answers differently from the run")
    assert (folder / "model.safetensors").read_bytes() == before
    assert not list(run.exports.glob(".*"))


# The hub


@dataclass
class Hub:
    """A fake hub on loopback that keeps the files it receives."""

    url: str = ""
    private: bool | None = None
    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, token: str, body: bytes) -> tuple[int, Any]:
        if token != f"Bearer {TOKEN}":
            return 403, {"error": "You don't have write access"}
        if path == "/api/repos/create":
            request = json.loads(body)
            self.private = request.get("visibility") == "private" or bool(request.get("private"))
            return 200, {"url": f"{self.url}/ada/mine", "id": "ada/mine"}
        if path.endswith("/preupload/main"):
            about = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return 200, {"files": [{"path": f["path"]} | about for f in json.loads(body)["files"]]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.files[line["value"]["path"]] = content
            return 200, {"commitUrl": f"{self.url}/ada/mine/commit/1", "commitOid": "1" * 40}
        return 200, {"id": "ada/mine", "sha": "0" * 40, "siblings": [], "private": True}


@pytest.fixture
def loopback() -> Iterator[Hub]:
    fake = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path, token = self.path.partition("?")[0], self.headers.get("authorization", "")
            status, content = fake.answer(path, token, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as program:
        program.daemon_threads = True
        fake.url = f"http://127.0.0.1:{program.server_port}"
        threading.Thread(target=program.serve_forever, args=(0.01,), daemon=True).start()
        yield fake
        program.shutdown()


def command(there: Hub, run: Run, *words: str, token: str = TOKEN) -> tuple[int, str, str]:
    """Export with the hub's address in the environment, as a team would."""
    own = {"HF_ENDPOINT": there.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_TOKEN": token, "HF_HOME": str(run.folder / "hf")}
    line = [sys.executable, "-m", "tune", "export", run.name, *words]
    done = subprocess.run(
        line, cwd=ROOT, env=os.environ | own, capture_output=True, encoding="utf-8", check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_push_uploads_the_export_privately_and_no_rows(
    exports: dict[str, Export], run: Run, loopback: Hub
) -> None:
    code, out, err = command(loopback, run, "--push", "ada/mine", "--json")
    assert code == 0, err
    assert json.loads(out)["push"]["url"] == f"{loopback.url}/ada/mine"
    assert loopback.files.keys() == exports["merged"].files.keys()
    assert loopback.private
    assert b'from_pretrained("ada/mine"' in loopback.files["README.md"]


def test_a_dry_run_uploads_nothing_and_lists_the_files(
    exports: dict[str, Export], run: Run, loopback: Hub
) -> None:
    code, out, err = command(loopback, run, "--push", "ada/mine", "--dry-run")
    assert code == 0, err
    assert not loopback.files and loopback.private is None
    assert "model.safetensors" in out and "Would push to" in out


@pytest.mark.parametrize(
    ("token", "problem"), [("", "No token"), ("hf_" + "rEa0d" * 7, "no permission to write")]
)
def test_without_write_access_it_says_where_to_get_a_token(
    exports: dict[str, Export], run: Run, loopback: Hub, token: str, problem: str
) -> None:
    code, _, err = command(loopback, run, "--push", "ada/mine", token=token)
    assert code == 1
    assert problem in err and "huggingface.co/settings/tokens" in err
    assert "Traceback" not in err and (not token or token not in err)


def test_a_hub_that_cannot_be_reached_is_reported_and_the_export_is_kept(
    exports: dict[str, Export], run: Run
) -> None:
    with socket.socket() as closed:  # a port that is in use, but does not accept connections
        closed.bind(("127.0.0.1", 0))
        away = Hub(f"http://127.0.0.1:{closed.getsockname()[1]}")
        code, _, err = command(away, run, "--push", "ada/mine")
    assert code == 1
    assert "cannot be reached" in err and "Traceback" not in err
    assert exports["merged"].folder.is_dir()


def test_other_files_are_not_uploaded(exports: dict[str, Export]) -> None:
    stray = exports["merged"].folder / "train.jsonl"
    stray.write_text("{}")
    try:
        with pytest.raises(TuneError, match=r"train\.jsonl"):
            hub.push(exports["merged"], "ada/mine", dry_run=True)
    finally:
        stray.unlink()


def test_an_adapter_whose_base_is_a_local_folder_is_not_uploaded(
    exports: dict[str, Export],
) -> None:
    with pytest.raises(TuneError, match="no one else") as caught:
        hub.push(exports["adapter"], "ada/mine", dry_run=True)
    assert "--as merged" in caught.value.fix
