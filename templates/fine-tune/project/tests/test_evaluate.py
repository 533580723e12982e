import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mistral_server import CHAT, MistralServer, status, text

from tune import dataset, prompts, report, runs, screen
from tune.dataset import Example
from tune.errors import TuneError
from tune.evaluate import Asked, compare, evaluate
from tune.generate import Reply
from tune.runs import Record, Run
from tune.settings import ROOT, Settings
from tune.validate import held_out

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 0.1, "cooldown": 0}
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
    assert any("MAX_TOKENS on 4 examples" in note for note in found.notes)


def test_a_note_says_that_the_base_got_no_instruction() -> None:
    assert any(note.startswith(BARE) for note in compare(asked(WANTED, WANTED)).notes)


def test_a_prompted_model_is_compared_on_the_rows_that_it_answered() -> None:
    found = compare(asked(["hello"] * 30, WANTED, ["card_lost"] * 12))
    assert found.systems["prompted"].rows == 12
    [note] = [note for note in found.notes if "small, prompted" in note]
    assert note.startswith("Against small, prompted: better, ")
    assert note.endswith("points of exact match on 12 examples.")
    assert not any(note.startswith(BARE) for note in found.notes)
    assert "prompted" in found.samples[11].answers
    assert "prompted" not in found.samples[12].answers


# The file


def test_an_evaluation_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    found = compare(asked(["hello"] * 30, WANTED, WANTED[:12]))
    file = tmp_path / "evaluation.json"
    runs.write_whole(file, report.to_json(found))
    assert report.read(file) == found
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_a_run_without_an_evaluation_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="has not been evaluated yet") as caught:
        report.read(tmp_path / "evaluation.json")
    assert caught.value.fix == f"uv run python -m tune evaluate {tmp_path.name}"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"systems": 1}'])
def test_a_file_that_is_not_an_evaluation_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(text, "utf-8")
    with pytest.raises(TuneError, match="cannot be read"):
        report.read(file)


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


# Which examples


def files(folder: Path, **parts: list[str]) -> tuple[Run, Settings]:
    """Data files with these questions, and a run that was trained on them."""
    paths = {name: folder / f"{name}.jsonl" for name in ("train", "validation", "test")}
    for name, questions in parts.items():
        lines = [row(question, "yes").as_json() for question in questions]
        paths[name].write_text("\n".join(lines) + "\n", "utf-8")
    run = Run(folder / "run")
    digest = dataset.digest(paths["train"])
    run.write(Record("tiny", data={"train": {"sha256": digest}}))
    chosen: dict[str, Any] = {f"{name}_file": path for name, path in paths.items()}
    return run, Settings(**chosen)


def test_a_changed_system_message_is_noted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["three"])
    run.update(settings={"system": prompts.SYSTEM})
    assert held_out(run, settings)[1] == []
    run.update(settings={"system": f"{prompts.SYSTEM} Be brief."})
    assert "train again" in held_out(run, settings)[1][0]


def test_seen_rows_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["one", "two"])
    rows, notes = held_out(run, settings)
    assert [each.line for each in rows] == [2]
    assert notes == ["In training, so left out: 1 of test.jsonl (line 1)."]


def test_changed_training_rows_are_noted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["two"])
    assert held_out(run, settings)[1] == []
    settings.train.write_text(row("other", "yes").as_json() + "\n", "utf-8")
    [note] = held_out(run, settings)[1]
    assert "has changed since training" in note


def test_some_rows_are_drawn_by_chance_always_the_same_in_their_order(tmp_path: Path) -> None:
    questions = [f"question {n}" for n in range(50)]
    run, settings = files(tmp_path, train=["one"], test=questions)
    lines = [each.line for each in held_out(run, settings, 10)[0]]
    again = [each.line for each in held_out(run, settings, 10)[0]]
    assert lines == again == sorted(lines)
    assert len(set(lines)) == 10 and lines != list(range(1, 11))


def test_examples_of_the_training_are_left_out_wherever_they_were(tmp_path: Path) -> None:
    asked = ["two", " ONE", "four", "old", "hello"]
    run, settings = files(tmp_path, train=["one"], validation=["two"], test=asked)
    old, first = tmp_path / "old.jsonl", row("Hello", "Hi.").messages
    talk = Example((*first, *row("old", "yes").messages))  # one question within a conversation
    old.write_text(talk.as_json() + "\n" + row("old", "yes").as_json(), "utf-8")
    run.update(data={"train": {"file": str(old), "sha256": dataset.digest(old)}})
    assert [each.line for each in held_out(run, settings)[0]] == [3]


def test_when_nothing_is_left_there_is_no_evaluation(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["one"])
    with pytest.raises(TuneError, match="can prove nothing"):
        held_out(run, settings)


# With a model


@pytest.fixture
def run(tuned: Any, tmp_path: Path) -> Run:
    """The tuned run, to write into."""
    return Run(Path(shutil.copytree(tuned.run.folder, tmp_path / "tuned")))


def test_a_run_is_evaluated_into_its_two_files(tuned: Any, run: Run) -> None:
    seen: list[tuple[str, int, int]] = []
    found = evaluate(run, tuned.settings, 0, 0, lambda *step: seen.append(step))
    assert report.read(run.evaluation) == found
    assert found.why in json.loads(run.evaluation.read_text("utf-8"))["why"]
    assert "<h2>Figures</h2>" in run.report.read_text("utf-8")
    assert (found.run, found.verdict) == ("tuned", "better")
    assert found.systems["tuned"].metrics["json_valid"].low > 50
    assert seen[-1] == ("base", found.rows, found.rows)
    assert found.settings["temperature"] == 0


def test_an_evaluation_that_is_stopped_leaves_the_old_one(tuned: Any, run: Run) -> None:
    run.evaluation.write_text("old", "utf-8")

    def stop(*step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, tuned.settings, 6, 0, stop)
    assert run.evaluation.read_text("utf-8") == "old"
    assert not run.report.exists()


def test_after_a_stop_only_what_is_missing_is_asked(tuned: Any, run: Run) -> None:
    seen: list[tuple[str, int, int]] = []

    def stop(who: str, done: int, rows: int) -> None:
        if (who, done) == ("base", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(run, tuned.settings, 6, 0, stop)
    found = evaluate(run, tuned.settings, 6, 0, lambda *step: seen.append(step))
    assert seen == [("tuned", 6, 6), ("base", 0, 6), ("base", 6, 6)]
    whole = evaluate(run, tuned.settings, 0)
    assert found.samples == tuple(each for each in whole.samples if each in found.samples)
    assert len(found.samples) == 6


def test_answers_of_other_weights_or_settings_are_not_reused(tuned: Any, run: Run) -> None:
    def asked(**changes: Any) -> dict[str, int]:
        """How many answers each model began with."""
        started: dict[str, int] = {}
        settings = tuned.settings.model_copy(update=changes)
        evaluate(run, settings, 6, 0, lambda who, done, _: started.setdefault(who, done))
        return started

    assert asked() == {"tuned": 0, "base": 0}
    assert asked() == {"tuned": 6, "base": 6}
    assert asked(max_tokens=4) == {"tuned": 0, "base": 0}
    [weights] = run.model.glob("*.safetensors")
    os.utime(weights, (1, 1))  # as another training would
    assert asked() == {"tuned": 0, "base": 6}


def test_a_question_longer_than_the_model_reads_is_named(tuned: Any, run: Run) -> None:
    file = run.folder / "long.jsonl"
    messages = row("lamp " * 5000, "card_lost").messages
    file.write_text(json.dumps({"messages": messages}), "utf-8")
    with pytest.raises(TuneError, match=r"long.jsonl, line 1: The question has .* tokens"):
        evaluate(run, tuned.settings.model_copy(update={"test_file": file}), 0)


# A well-prompted model of the API, played on loopback


@pytest.fixture
def server() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def online(tuned: Any, server: MistralServer) -> Settings:
    """The settings of the tuned run, and a key."""
    key = {"mistral_api_key": KEY, "mistral_server_url": server.url}
    return Settings(**{**tuned.settings.model_dump(), **key, **QUICK})


@pytest.fixture
def api_run(tuned: Any, online: Settings) -> Iterator[Run]:
    """A copy of the tuned run, to write into; the saved answers of the API are deleted."""
    run = Run(Path(shutil.copytree(tuned.run.folder, tuned.run.folder.with_name("prompted"))))
    yield run
    shutil.rmtree(run.folder)
    (online.runs / "prompted.jsonl").unlink(missing_ok=True)


def test_a_key_adds_a_model_that_is_prompted_with_the_task(
    server: MistralServer, online: Settings, api_run: Run
) -> None:
    server.will(*[text('{"team": "billing", "urgent": true}')] * 4)
    found = evaluate(api_run, online, 6, 4)
    assert evaluate(api_run, online, 6, 4).samples == found.samples  # nothing is asked twice
    assert found.systems["prompted"].rows == 4
    assert found.systems["prompted"].label == "mistral-small-latest, prompted with 12 examples"
    assert found.samples[3].answers["prompted"] == '{"team": "billing", "urgent": true}'
    assert any("prompted with 12 examples: no proof" in note for note in found.notes)
    asked = [request.body["messages"] for request in server.requests if request.path == CHAT]
    assert [messages[-1] for messages in asked] == [each.question[-1] for each in found.samples[:4]]
    assert all(len(messages) == 1 + 2 * 12 + 1 for messages in asked)


def test_an_api_that_fails_spoils_nothing(
    server: MistralServer, online: Settings, api_run: Run
) -> None:
    server.will(text("{}"), *[status(503)] * 50)
    found = evaluate(api_run, online, 6)
    assert found.systems["prompted"].rows == 1
    assert any(
        note.startswith("mistral-small-latest answered 1 of 6, then failed: ")
        for note in found.notes
    )
    assert api_run.report.is_file()


def test_an_api_that_never_answers_is_named_and_left_out(
    server: MistralServer, online: Settings, api_run: Run
) -> None:
    server.will(*[status(401)] * 50)
    found = evaluate(api_run, online, 6)
    assert set(found.systems) == {"base", "tuned"}
    assert any("answered 0 of 6" in note for note in found.notes)
