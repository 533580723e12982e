"""The template `fine-tune` where PyTorch is installed: all that its light tests must leave out."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import project_docs
import pytest
from conftest import ROOT, write
from tuning import Tuner

pytestmark = pytest.mark.slow

BANKING = ROOT.parent / "shared" / "data" / "banking77"
INTENTS = 10

# Runs a notebook's cells in a real kernel, as Colab does.
RUN_NOTEBOOK = """
import nbclient, nbformat
notebook = nbformat.read("train.ipynb", as_version=4)
nbformat.validate(notebook)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, "done.ipynb")
"""


def test_its_whole_test_suite_passes(tuner: Tuner) -> None:
    said = tuner.must("pytest", "-q", seconds=900)
    assert re.search(r"\d+ passed", said)


def test_its_types_hold_beside_the_real_libraries(tuner: Tuner) -> None:
    tuner.must("mypy")


def test_a_rehearsal_passes(rehearsed: dict[str, Any]) -> None:
    assert [step["name"] for step in rehearsed["steps"] if not step["ok"]] == []
    assert rehearsed["verdict"] == "better"


def test_the_commands_that_its_documents_show_train_a_model(
    tuner: Tuner, rehearsed: dict[str, Any]
) -> None:
    base = f"runs/{rehearsed['run']}/base"
    here = Tuner(tuner.folder, {"BASE_MODEL": base, "METHOD": "lora", "EPOCHS": "1"})
    blocks = map(project_docs.blocks, project_docs.texts(tuner.folder).values())
    commands = [words for block in sum(blocks, []) for words in block.commands]
    shown = [words for words in commands if project_docs.needs_training(words)]
    runnable = [words for words in shown if not project_docs.reason_not_to_run(words)]
    assert len(runnable) >= 3
    for words in runnable:
        here.must(*words[2:], seconds=900)


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tuner: Tuner, rehearsed: dict[str, Any]
) -> None:
    base = tuner.folder / "runs" / rehearsed["run"] / "base"
    here = Tuner(tuner.folder, {"BASE_MODEL": str(base), "METHOD": "lora", "EPOCHS": "1"})
    extra = ("--with", "nbclient", "--with", "ipykernel")
    here.must(*extra, "python", "-c", RUN_NOTEBOOK, seconds=900)
    cells = json.loads((tuner.folder / "done.ipynb").read_text("utf-8"))["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", ())]
    kinds = Counter(out["output_type"] for out in outputs)
    assert kinds["display_data"] >= 1  # the report
    assert kinds["error"] == 0
    printed = "".join("".join(out.get("text", ())) for out in outputs)
    assert "The rehearsal passed" in printed
    assert "\x1b" not in printed  # colours and moving bars are rubbish there
    [page] = [
        "".join(out["data"]["text/html"]) for out in outputs if "text/html" in out.get("data", ())
    ]
    assert page.startswith("<div><iframe ")  # its style stays its own


@pytest.mark.skipif(not BANKING.is_dir(), reason="there is no ../shared/data/banking77")
def test_a_public_data_set_is_learned_from_its_rows_alone(tuner: Tuner, tmp_path: Path) -> None:
    test = _rows("test")
    asked = {row["text"].strip().casefold() for row in test}  # a few are in both of its files
    rows = [row for row in _rows("train") if row["text"].strip().casefold() not in asked]
    names = sorted({row["category"] for row in rows})[:INTENTS]
    validation = rows[::20]
    train = [row for row in rows if row not in validation]
    parts = {"train": train, "validation": validation, "test": test}
    for name, part in parts.items():
        _write(tmp_path / f"{name}.jsonl", [row for row in part if row["category"] in names])
    files = {f"{name.upper()}_FILE": str(tmp_path / f"{name}.jsonl") for name in parts}
    here = Tuner(tuner.folder, files)
    said = json.loads(here.must("python", "-m", "tune", "rehearse", "--json"))
    report = tuner.folder / "runs" / said["run"] / "evaluation.json"
    figures = json.loads(report.read_text("utf-8"))
    assert figures["rows"] == sum(row["category"] in names for row in test)
    assert figures["systems"]["tuned"]["metrics"]["exact_match"]["mean"] >= 90


def _rows(name: str) -> list[dict[str, str]]:
    with (BANKING / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    pairs = ({"prompt": row["text"], "completion": row["category"]} for row in rows)
    write(path, "".join(f"{json.dumps(pair)}\n" for pair in pairs))
