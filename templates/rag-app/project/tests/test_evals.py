import json
from pathlib import Path

import pytest

from evals import __main__ as evals
from rag import ingest, pipeline

QUESTIONS = [
    {"question": "How hot is green tea brewed?", "answer": "At 80 degrees.", "source": ""},
    {"question": "Who won the cup in 1998?", "answer": "", "source": ""},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ingest.ingest()
    source = pipeline.retrieve("green tea", 1)[0].chunk.source
    rows = [QUESTIONS[0] | {"source": source}, QUESTIONS[1]]
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def test_the_report_has_all_metrics_and_a_row_for_each_question(folder: Path) -> None:
    evals.main(folder)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    summary = report["summary"]
    for name in ("hit@1", "hit@5", "MRR", "cites the right document", "admits not knowing"):
        assert summary[name] == 1, name
    assert 0 < summary["answer F1"] <= 1
    assert 0 < summary["seconds p50"] <= summary["seconds p95"]
    assert [row["question"] for row in report["questions"]] == [q["question"] for q in QUESTIONS]
    assert report["models"] == ["offline stand-in"]


def test_the_table_shows_what_changed_since_the_last_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = {"summary": {"hit@1": 0.25, "MRR": 1.0}}
    (folder / "report.json").write_text(json.dumps(last), encoding="utf-8")
    evals.main(folder)
    rows = {
        line.split("│")[1].strip(): line
        for line in capsys.readouterr().out.splitlines()
        if "│" in line
    }
    assert "+0.750" in rows["hit@1"]
    assert "+" not in rows["MRR"]


@pytest.mark.parametrize(("model", "priced"), [("mistral-small-latest", True), ("mine", False)])
def test_a_model_without_a_price_gets_no_cost(model: str, priced: bool) -> None:
    cost = 0.01 if model in evals.PRICES else None
    outcome = evals.Outcome("?", True, 1, 1.0, True, True, 0.1, 100, cost, model)
    summary = evals.summarize([outcome])
    assert summary["chat tokens in all"] == 100
    assert ("US$ for chat in all" in summary) is priced


def test_a_line_that_is_no_question_is_named(folder: Path) -> None:
    with (folder / "questions.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"question": "And the answer?"}\n')
    with pytest.raises(SystemExit, match=r"questions\.jsonl, line 3: "):
        evals.main(folder)
