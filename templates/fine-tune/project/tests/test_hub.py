from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tune import hub, report
from tune.export import KINDS
from tune.metrics import Interval
from tune.report import Evaluation, System
from tune.runs import Record, Run, write_whole

DIGEST = "ab" * 32
RECORD = Record(
    "ministral-3b",
    state="done",
    settings={"rank": 16, "learning_rate": 2e-4, "epochs": 3.0, "seed": 42},
    data={
        "train": {"file": "data/train.jsonl", "rows": 410, "used": 400, "sha256": DIGEST}
        | {"too_long": 10}
    },
    figures={"steps": 75, "eval_loss": 0.41, "seconds": 812.0},
    versions={"torch": "2.13.0", "peft": "0.21.2"},
    started="2026-11-25T14:32:00+00:00",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "mine")
    run.write(RECORD)
    return run


def card(run: Run, form: str = "merged", name: str = "mine") -> str:
    return hub.card(run, KINDS[form], name)


def evaluated(run: Run) -> None:
    """Write an evaluation in which the tuned model is better."""
    one = Interval(0.5, 0.4, 0.6)
    systems = {
        "base": System("base", 80, {"exact_match": Interval(10, 5, 16)}, one),
        "tuned": System("tuned", 80, {"exact_match": Interval(90, 82, 96)}, one),
    }
    found = Evaluation(
        run=run.name,
        created="2026-11-25T15:00:00+00:00",
        rows=80,
        verdict="better",
        headline="exact_match",
        because="the expected answers are JSON",
        why="Better: 90 % exact match against 10 %.",
        notes=(),
        systems=systems,
        differences={"exact_match": Interval(80, 70, 88)},
    )
    write_whole(run.evaluation, report.to_json(found))


@pytest.mark.parametrize(
    ("form", "library", "relation"),
    [
        ("adapter", "peft", "adapter"),
        ("merged", "transformers", "finetune"),
    ],
)
def test_its_yaml_names_the_kind_of_model_and_its_base(
    run: Run, form: str, library: str, relation: str
) -> None:
    about = ModelCard(card(run, form)).data
    assert about.library_name == library
    assert about.base_model == "mistralai/Ministral-3-3B-Base-2512"
    assert about["base_model_relation"] == relation
    assert about.license == "apache-2.0"


def test_a_base_in_a_folder_is_named_without_its_path(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "secret-place" / "my-base"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["MistralForCausalLM"]}')
    run.update(base=str(folder))
    text = card(run)
    assert "my-base" in text and "secret-place" not in text
    assert "base_model:" not in text


def test_it_lists_data_settings_figures_and_versions_without_the_rows(run: Run) -> None:
    text = card(run)
    assert f"| train.jsonl, 400 rows, SHA-256 `{DIGEST}` |" in text
    for line in ("| rank | 16 |", "| learning rate | 0.0002 |", "| steps | 75 |"):
        assert line in text
    assert "torch 2.13.0, peft 0.21.2" in text


def test_without_an_evaluation_it_claims_nothing(run: Run) -> None:
    assert "no proof that it is better" in card(run)


def test_the_verdict_comes_with_intervals(run: Run) -> None:
    evaluated(run)
    text = card(run)
    assert "90 % exact match against 10 %" in text
    assert "| 10.0 (5.0 to 16.0) | 90.0 (82.0 to 96.0) | 80.0 (70.0 to 88.0) |" in text


def test_the_commands_use_the_model_s_name_on_the_hub(run: Run) -> None:
    assert 'from_pretrained("ada/mine"' in card(run, name="ada/mine")
    assert "vllm serve ada/mine" in card(run, name="ada/mine")


def test_the_code_in_it_is_python(run: Run) -> None:
    for form in ("adapter", "merged"):
        code = card(run, form).split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
