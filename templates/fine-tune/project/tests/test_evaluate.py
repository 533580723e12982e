import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tune import results, runs, screen
from tune.dataset import Example
from tune.errors import TuneError
from tune.evaluate import Asked, Options, compare, evaluate
from tune.generate import Reply
from tune.runs import Run
from tune.settings import ROOT

LABELS = {"base": "tiny", "tuned": "tiny, tuned", "prompted": "small, prompted"}
WANTED = ["card_lost", "card_stolen", "top_up"] * 10
BARE = "The base got only the question"


def row(question: str, answer: str, line: int = 1) -> Example:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Example(messages, file="test.jsonl", line=line)


def asked(base: list[str], tuned: list[str], prompted: list[str] | None = None) -> Asked:
    rows = tuple(row(f"question {n}", WANTED[n], n + 1) for n in range(len(base)))
    said = {"base": base, "tuned": tuned} | ({"prompted": prompted} if prompted else {})
    replies = {who: [Reply(text, 0.5, 3) for text in texts] for who, texts in said.items()}
    return Asked(rows, replies, {who: LABELS[who] for who in said})


# Comparing the answers


def test_the_better_model_wins_and_every_answer_is_kept() -> None:
    found = compare(asked(["hello"] * 30, WANTED))
    assert (found.verdict, found.headline, found.rows) == ("better", "exact_match", 30)
    assert found.systems["tuned"].metrics["exact_match"].mean == 100
    assert found.systems["base"].seconds.mean == 0.5
    assert found.systems["base"].characters.mean == 5
    assert found.differences["exact_match"].low == 100
    sample = found.samples[1]
    assert sample.answers == {"base": "hello", "tuned": "card_stolen"}
    assert sample.scores == {"base": 0, "tuned": 100}
    assert (sample.line, sample.expected) == (2, "card_stolen")


def test_models_that_answer_the_same_are_noticed() -> None:
    found = compare(asked(WANTED[::-1], WANTED[::-1]))
    assert found.verdict == "no proof"
    assert any("the adapter changes nothing" in note for note in found.notes)


def test_a_model_that_always_says_the_same_is_noticed() -> None:
    found = compare(asked(WANTED, ["card_lost"] * 30))
    assert any("the same answer to every question" in note for note in found.notes)


def test_answers_that_were_cut_are_counted() -> None:
    cut = [Reply("so and so and so", 1, 16, cut=True)] * 4
    given = asked(WANTED, WANTED)
    given.replies["tuned"][:4] = cut  # type: ignore[index]
    found = compare(given)
    assert found.systems["tuned"].cut == 4
    assert any("MAX_TOKENS on 4 rows" in note for note in found.notes)


def test_a_note_says_that_the_base_got_no_instruction() -> None:
    assert any(note.startswith(BARE) for note in compare(asked(WANTED, WANTED)).notes)


def test_a_prompted_model_is_compared_on_the_rows_that_it_answered() -> None:
    found = compare(asked(["hello"] * 30, WANTED, ["card_lost"] * 12))
    assert found.systems["prompted"].rows == 12
    assert found.ahead_of_prompted["exact_match"].mean == pytest.approx(100 * 8 / 12, abs=0.01)
    [note] = [note for note in found.notes if "small, prompted" in note]
    assert note.startswith("Against small, prompted: better, ")
    assert note.endswith("points of exact match on the first 12 rows.")
    assert not any(note.startswith(BARE) for note in found.notes)
    assert "prompted" in found.samples[11].answers
    assert "prompted" not in found.samples[12].answers


# The file


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    found = compare(asked(["hello"] * 30, WANTED, WANTED[:12]))
    file = tmp_path / "evaluation.json"
    runs.write_whole(file, results.to_json(found))
    assert results.read(file) == found
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_a_run_without_an_evaluation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="has not been evaluated yet") as caught:
        results.read(tmp_path / "evaluation.json")
    assert caught.value.fix == f"uv run python -m tune evaluate {tmp_path.name}"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"systems": 1}'])
def test_a_file_that_is_not_an_evaluation_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(text, "utf-8")
    with pytest.raises(TuneError, match="cannot be read"):
        results.read(file)


# On the screen


def test_the_screen_shows_the_verdict_the_figures_and_the_notes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = compare(asked(["[red]hello"] * 30, WANTED))
    screen.show_evaluation(found, Run(tmp_path / "run"))
    shown = capsys.readouterr().out
    assert found.why in shown
    for figure in ("Exact match", "+100", "0 to 0", "seconds per answer", "0.50"):
        assert figure in shown
    assert BARE in shown
    assert "evaluation.html" in shown


def test_an_unknown_run_is_an_error_without_a_traceback() -> None:
    command = [sys.executable, "-m", "tune", "evaluate", "no-such-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr.startswith('There is no run "no-such-run".')
    assert "Fix: " in done.stderr


# With a model


@pytest.fixture
def run(tuned: Any, tmp_path: Path) -> Run:
    """The tuned run, to write into."""
    return Run(Path(shutil.copytree(tuned.run.folder, tmp_path / "tuned")))


def test_a_run_is_evaluated_into_its_two_files(tuned: Any, run: Run) -> None:
    seen: list[tuple[str, int, int]] = []
    found = evaluate(run, tuned.settings, Options(), lambda *step: seen.append(step))
    assert results.read(run.evaluation) == found
    assert found.why in json.loads(run.evaluation.read_text("utf-8"))["why"]
    assert "<h2>Figures</h2>" in run.report.read_text("utf-8")
    assert (found.run, found.verdict) == ("tuned", "better")
    assert found.systems["tuned"].metrics["json_valid"].low > 50
    assert seen[-1] == ("base", found.rows, found.rows)
    assert found.settings["device"] and found.settings["temperature"] == 0


def test_what_names_this_machine_stays_out_of_the_files(tuned: Any, run: Run) -> None:
    evaluate(run, tuned.settings, Options(rows=6))
    for file in (run.evaluation, run.report):
        assert str(tuned.base.parent) not in file.read_text("utf-8")


def test_an_evaluation_that_is_stopped_leaves_the_old_one(tuned: Any, run: Run) -> None:
    run.evaluation.write_text("old", "utf-8")

    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, tuned.settings, Options(rows=6), stop)
    assert run.evaluation.read_text("utf-8") == "old"
    assert not run.report.exists()


def test_after_a_stop_only_what_is_missing_is_asked(tuned: Any, run: Run) -> None:
    seen: list[tuple[str, int, int]] = []

    def stop(who: str, done: int, rows: int) -> None:
        if (who, done) == ("base", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, tuned.settings, Options(rows=6), stop)
    found = evaluate(run, tuned.settings, Options(rows=6), lambda *step: seen.append(step))
    assert seen == [("tuned", 6, 6), ("base", 0, 6), ("base", 6, 6)]
    whole = evaluate(run, tuned.settings, Options())
    assert found.samples == tuple(each for each in whole.samples if each in found.samples)
    assert len(found.samples) == 6


def test_answers_of_other_weights_or_settings_are_not_reused(tuned: Any, run: Run) -> None:
    def asked(**changes: Any) -> dict[str, int]:
        """How many answers each model began with."""
        started: dict[str, int] = {}
        settings = tuned.settings.model_copy(update=changes)
        evaluate(run, settings, Options(rows=6), lambda who, done, _: started.setdefault(who, done))
        return started

    assert asked() == {"tuned": 0, "base": 0}
    assert asked() == {"tuned": 6, "base": 6}
    assert asked(max_tokens=4) == {"tuned": 0, "base": 0}
    [weights] = run.model.glob("*.safetensors")
    os.utime(weights, (1, 1))  # as another training would
    assert asked() == {"tuned": 0, "base": 6}


def test_in_4_bits_both_are_asked_again_and_a_note_says_so(tuned: Any, run: Run) -> None:
    pytest.importorskip("bitsandbytes")
    from tune import weights

    if weights.device() == "mps":
        pytest.skip("bitsandbytes does not work there")
    started: list[tuple[str, int, int]] = []
    evaluate(run, tuned.settings, Options(rows=6))
    four = Options(rows=6, four_bit=True)
    found = evaluate(run, tuned.settings, four, lambda *step: started.append(step))
    assert [step for step in started if step[1] == 0] == [("tuned", 0, 6), ("base", 0, 6)]
    for file in (run.evaluation, run.report):
        assert "Both models ran in 4 bits" in file.read_text("utf-8")
    assert found.systems["tuned"].metrics["json_valid"].mean > 50
    found = evaluate(run, tuned.settings, Options(rows=6))
    assert not [note for note in found.notes if "4 bits" in note]


def test_a_question_longer_than_the_model_reads_is_named(tuned: Any, run: Run) -> None:
    file = run.folder / "long.jsonl"
    messages = row("lamp " * 5000, "card_lost").messages
    file.write_text(json.dumps({"messages": messages}), "utf-8")
    with pytest.raises(TuneError, match=r"long.jsonl, line 1: The question has .* tokens"):
        evaluate(run, tuned.settings.model_copy(update={"test_file": file}), Options())


def test_after_a_full_tuning_the_base_is_loaded_by_itself(tuned: Any, run: Run) -> None:
    shutil.rmtree(run.model)
    shutil.copytree(tuned.base, run.model)
    run.update(method="full")
    found = evaluate(run, tuned.settings, Options(rows=6))
    assert found.verdict == "no proof"
    assert any("the adapter changes nothing" in note for note in found.notes)
