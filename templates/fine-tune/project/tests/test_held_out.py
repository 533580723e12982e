from pathlib import Path
from typing import Any

import pytest

from tune import dataset, held_out, prompts
from tune.dataset import Example
from tune.errors import TuneError
from tune.runs import Record, Run
from tune.settings import Settings


def row(question: str, answer: str) -> Example:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Example(messages)


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


def test_rows_that_were_trained_on_are_refused_with_their_lines(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one", "two"], test=["three", " ONE", "four", "Two"])
    with pytest.raises(
        TuneError, match=r"2 rows that were in training, too \(line 2, 4\)"
    ) as caught:
        held_out.choose(run, settings)
    assert "--drop-seen" in caught.value.fix


def test_a_question_within_a_conversation_was_trained_on_too(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["hello", "three"])
    first = row("Hello", "Hi.").messages
    settings.train.write_text(
        Example((*first, *row("one", "yes").messages)).as_json() + "\n", "utf-8"
    )
    with pytest.raises(TuneError, match=r"1 row that were in training, too \(line 1\)"):
        held_out.choose(run, settings)


def test_a_changed_system_message_is_noted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["three"])
    run.update(settings={"system": prompts.SYSTEM})
    assert held_out.choose(run, settings)[1] == ()
    run.update(settings={"system": f"{prompts.SYSTEM} Be brief."})
    assert "train again" in held_out.choose(run, settings)[1][0]


def test_validation_rows_are_refused_too(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], validation=["two"], test=["two", "three"])
    with pytest.raises(TuneError, match=r"1 row that were in training, too \(line 1\)"):
        held_out.choose(run, settings)


def test_seen_rows_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["one", "two"])
    rows, notes = held_out.choose(run, settings, drop_seen=True)
    assert [each.line for each in rows] == [2]
    assert notes == ("Left out: 1 row that were in training, too.",)


def test_when_nothing_is_left_there_is_no_evaluation(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["one"])
    with pytest.raises(TuneError, match="no row left to ask"):
        held_out.choose(run, settings, drop_seen=True)


def test_changed_training_rows_are_noted(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["two"])
    assert held_out.choose(run, settings)[1] == ()
    settings.train.write_text(row("other", "yes").as_json() + "\n", "utf-8")
    [note] = held_out.choose(run, settings)[1]
    assert "has changed since training" in note


def test_the_rows_that_a_run_names_count_whatever_the_settings_say(tmp_path: Path) -> None:
    run, settings = files(tmp_path, train=["one"], test=["one", "two"])
    old = settings.train.rename(tmp_path / "old.jsonl")
    settings.train.write_text(row("other", "yes").as_json() + "\n", "utf-8")
    run.update(data={"train": {"file": str(old), "sha256": dataset.digest(old)}})
    rows, notes = held_out.choose(run, settings, drop_seen=True)
    assert [each.question[-1]["content"] for each in rows] == ["two"]
    assert notes == ("Left out: 1 row that were in training, too.",)


def test_some_rows_are_drawn_by_chance_always_the_same_in_their_order(tmp_path: Path) -> None:
    questions = [f"question {n}" for n in range(50)]
    run, settings = files(tmp_path, train=["one"], test=questions)
    lines = [each.line for each in held_out.choose(run, settings, 10)[0]]
    again = [each.line for each in held_out.choose(run, settings, 10)[0]]
    assert lines == again == sorted(lines)
    assert len(set(lines)) == 10 and lines != list(range(1, 11))
