import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import Tuned
from mistral_server import MistralServer, dropped, hanging, slowly, status, text

from tune import inference, known, local, metrics, prompts, report
from tune.dataset import Example, last_words
from tune.inference import Both
from tune.known import Quote
from tune.metrics import Interval
from tune.report import Evaluation, Sample, System, to_json
from tune.runs import Record, Run
from tune.settings import SETTINGS, Settings

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 30, "cooldown": 0}
ASKED = "Where is my parcel?"
ROW = {"prompt": "When does my parcel come?", "completion": '{"team": "delivery"}'}
ORIGINAL = last_words(report.read(known.RECORDED.evaluation).samples[0].question)
RECORDED = "What does the blue lamp weigh?"


@pytest.fixture(scope="module")
def local_server() -> Iterator[MistralServer]:
    with MistralServer(deviant=True) as server:
        yield server


@pytest.fixture(scope="module")
def api() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def alone(tmp_path: Path) -> Settings:
    """No server, no key, no run; and rows that do not change when yours do."""
    train = tmp_path / "rows.jsonl"
    train.write_text("\n".join([json.dumps(ROW)] * prompts.SHOTS), encoding="utf-8")
    own = {"train_file": train, "votes_file": tmp_path / "votes.jsonl"}
    return Settings(runs_dir=tmp_path / "runs", **own, **QUICK)


@pytest.fixture
def served(alone: Settings, local_server: MistralServer) -> Settings:
    """A server that has both models."""
    own = {"llm_base_url": f"{local_server.url}/v1", "chat_model": "ours"}
    return changed(alone, **own, base_chat_model="theirs")


@pytest.fixture
def evaluated(alone: Settings) -> Settings:
    """A run without its weights, as in a git clone."""
    run = Run(alone.runs / "first")
    run.write(Record("ministral-3b", state="done"))
    run.evaluation.write_text(to_json(evaluation()), encoding="utf-8")
    return alone


def changed(settings: Settings, **changes: Any) -> Settings:
    return Settings(**(settings.model_dump() | changes))


def evaluation() -> Evaluation:
    sure = Interval(50, 40, 60)
    system = System("ministral-3b", 1, {"exact_match": sure}, Interval(1, 1, 1))
    asked = ({"role": "user", "content": RECORDED},)
    return Evaluation(
        run="first",
        created="2026-11-25T10:00:00+00:00",
        rows=1,
        verdict="better",
        headline="exact_match",
        because="they are short",
        why="Better.",
        notes=(),
        systems={"base": system, "tuned": system},
        differences={"exact_match": sure},
        samples=(
            Sample(7, asked, "2 kg", {"base": "?", "tuned": "2 kg"}, {"base": 0, "tuned": 100}),
        ),
    )


def both(question: str, settings: Settings) -> Both:
    *_, last = inference.compare(question, settings)
    return last


# Who answers


def test_without_any_model_the_offline_answer_is_a_quote_and_there_is_no_base(
    alone: Settings,
) -> None:
    found = both("When will you deliver my parcel?", alone)
    assert (found["tuned"].kind, found["base"].kind) == ("stand-in", "none")
    assert json.loads(found["tuned"].text)["team"]
    assert found["tuned"].source.startswith("quotes rows.jsonl, line ")
    assert f"the answer to “{ROW['prompt']}”" in found["tuned"].source  # it may be another question
    assert found["base"].text == prompts.NO_MODEL
    assert all(each.done for each in found.values())


def test_a_question_that_no_row_matches_gets_a_message(alone: Settings) -> None:
    assert both("?!", alone)["tuned"].text == prompts.NOTHING_NEAR


def test_recorded_answers_are_shown_without_weights(evaluated: Settings) -> None:
    found = both(f" {RECORDED.upper()} ", evaluated)
    assert {side: each.text for side, each in found.items()} == {"base": "?", "tuned": "2 kg"}
    assert {each.kind for each in found.values()} == {"recorded"}
    assert found["tuned"].source == "recorded by evaluate, test example 7"
    assert both(ASKED, evaluated)["tuned"].kind == "stand-in"


def test_a_server_answers_in_both_columns(served: Settings, local_server: MistralServer) -> None:
    before = len(local_server.requests)
    local_server.will(text("One two."), text("One two."))
    found = both(ASKED, served)
    assert {side: each.by for side, each in found.items()} == {"base": "theirs", "tuned": "ours"}
    asked = {request.body["model"] for request in local_server.requests[before:]}
    assert asked == {"ours", "theirs"}
    assert found["tuned"].text == "One two."


def test_with_a_key_the_base_is_a_well_prompted_model(alone: Settings, api: MistralServer) -> None:
    api.will(text("From afar."))
    found = both(ASKED, changed(alone, mistral_api_key=KEY, mistral_server_url=api.url))
    assert found["base"].text == "From afar."
    assert (found["base"].by, found["base"].source) == ("mistral-small-latest", "well prompted")
    sent = api.requests[-1].body["messages"]
    assert sent[0]["content"] == prompts.WELL_PROMPTED
    assert len(sent) == 2 + 2 * prompts.SHOTS
    assert found["tuned"].kind == "stand-in"


# Fallbacks


@pytest.mark.parametrize("reply", [status(500), dropped()], ids=["before", "in mid-answer"])
def test_a_model_that_fails_is_replaced_with_a_notice(
    served: Settings, local_server: MistralServer, reply: Any
) -> None:
    local_server.will(*[reply] * 2)
    found = both(ASKED, changed(served, patience=0))
    assert found["tuned"].kind == "stand-in"
    assert found["tuned"].notice.startswith("The model")
    assert "The " not in found["tuned"].text  # the text before the stream broke off
    assert found["base"].kind == "none"


@pytest.mark.parametrize("words", ["", " \n"], ids=["nothing", "blanks"])
def test_an_empty_answer_is_not_shown_as_the_model_s(
    served: Settings, local_server: MistralServer, words: str
) -> None:
    local_server.will(*[text(words)] * 2)
    found = both(ASKED, served)
    assert found["tuned"].kind == "stand-in"
    assert found["tuned"].notice == prompts.EMPTY
    assert found["base"].kind == "none"
    assert inference.quoted(Quote(words, "ours", "recorded")).notice == prompts.EMPTY


def test_a_recorded_answer_comes_before_the_offline_answer(
    evaluated: Settings, local_server: MistralServer
) -> None:
    broken = changed(evaluated, llm_base_url=f"{local_server.url}/v1", patience=0)
    local_server.will(status(500))
    found = both(RECORDED, broken)
    assert (found["tuned"].kind, found["tuned"].text) == ("recorded", "2 kg")
    assert found["tuned"].notice


def test_one_column_does_not_wait_for_the_other(
    served: Settings, local_server: MistralServer
) -> None:
    only_tuned, go_on = changed(served, base_chat_model="", timeout=60), threading.Event()
    local_server.will(slowly("word " * 5, 60, go_on.wait))
    growing = inference.compare(ASKED, only_tuned)
    assert not next(each for each in growing if each["base"].done)["tuned"].done
    go_on.set()
    *_, last = growing
    assert last["tuned"].text.split() == ["word"] * 5
    assert last["tuned"].seconds > 0


def test_closing_it_cancels_both_models(served: Settings, local_server: MistralServer) -> None:
    local_server.will(slowly("word " * 200, 0.02), hanging())
    threads = threading.active_count()
    growing = inference.compare(ASKED, changed(served, timeout=0.5))
    next(each for each in growing if any(side.text for side in each.values()))
    growing.close()  # type: ignore[attr-defined]
    end = time.monotonic() + 60
    while threading.active_count() > threads + 2 and time.monotonic() < end:
        time.sleep(0.02)  # the server's own two threads may still run
    assert threading.active_count() <= threads + 2


# The offline answer: the nearest row


def row(question: str, answer: str = "", system: str = "") -> Example:
    before = [{"role": "system", "content": system}] if system else []
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Example((*before, *said))


def nearest(question: str, folder: Path, rows: list[Example]) -> Example | None:
    file = folder / "near.jsonl"
    file.write_text("\n".join(each.as_json() for each in rows), encoding="utf-8")
    return known.nearest(question, file)


PARCEL = row("My parcel was not delivered.", "delivery")
MONEY = row("You charged my card twice.", "billing")
LAMPE = row("La lampe est arrivée cassée.", "returns")


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("When is the delivery of my parcel?", PARCEL),
        ("Why did you charge me 2 times?", MONEY),
        ("ma LAMPE cassée", LAMPE),
    ],
)
def test_the_row_that_shares_the_rarest_ngrams_is_found(
    tmp_path: Path, question: str, wanted: Example
) -> None:
    found = nearest(question, tmp_path, [PARCEL, MONEY, LAMPE])
    assert found and found.answer == wanted.answer


@pytest.mark.parametrize("question", ["", "?!", "xyz"])
def test_without_a_shared_ngram_nothing_is_found(tmp_path: Path, question: str) -> None:
    assert nearest(question, tmp_path, [PARCEL, MONEY]) is None


def test_the_test_rows_are_answered_better_than_by_chance() -> None:
    train, test = known.rows(SETTINGS.train), known.rows(SETTINGS.test)
    found = [(known.nearest(last_words(each.question), SETTINGS.train), each) for each in test]
    ours = [metrics.token_f1(b.answer, a.answer) for a, b in found if a is not None]
    chance = [metrics.token_f1(b.answer, a.answer) for a in train for b in test]
    assert sum(ours) / len(test) > 1.1 * sum(chance) / len(chance)


# Prompts


def test_the_system_message_comes_first_and_only_once() -> None:
    asked = [{"role": "user", "content": "Hi."}]
    assert prompts.with_system(asked, "") == asked
    [first, last] = prompts.with_system(asked, "Be kind.")
    assert (first, last) == ({"role": "system", "content": "Be kind."}, asked[0])
    assert prompts.with_system([first, last], "Be brief.") == [first, last]


def test_a_model_that_was_not_tuned_sees_each_answer_before_any_comes_twice() -> None:
    rows = [row(f"a{n}", "common") for n in range(50)] + [row("b", "rare"), row("c", "rarer")]
    answers = [each.answer for each in prompts.varied(rows, 4)]
    assert answers == ["common", "rare", "rarer", "common"]


def test_a_model_that_was_not_tuned_sees_examples_and_then_the_question() -> None:
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "And me?"}]
    sent = prompts.well_prompted(asked, [PARCEL, row("Hello", "hello", system="Be kind.")])
    assert [each["role"] for each in sent] == ["system", *["user", "assistant"] * 2, "user"]
    assert prompts.WELL_PROMPTED in sent[0]["content"]
    assert sent[0]["content"].endswith("Be kind.")
    assert sent[-1] == asked[-1]


# The messages


def test_a_test_row_is_asked_as_its_whole_conversation(alone: Settings, tmp_path: Path) -> None:
    before = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Where is it?"},
    ]
    row = {"messages": [*before, {"role": "assistant", "content": "Here."}]}
    (tmp_path / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    own = changed(alone, test_file=tmp_path / "test.jsonl")
    assert inference.messages("where  is it?", own) == before
    assert (found := known.test_row("Where is it?", own)) and found.answer == "Here."


def test_a_new_question_comes_with_the_system_message_of_the_rows(
    alone: Settings, tmp_path: Path
) -> None:
    ask = {"role": "user", "content": "Hi."}
    kind = {"role": "system", "content": "Be kind."}
    answer = {"role": "assistant", "content": "Ho."}
    rows = [{"messages": [kind, ask, answer]}] * 3 + [{"messages": [ask, answer]}]
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert inference.messages("Hi.", changed(alone, train_file=train)) == [kind, ask]
    assert inference.messages("Hi.", alone) == [ask]


def test_rows_that_cannot_be_read_break_nothing(alone: Settings, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{oops", encoding="utf-8")
    bad = changed(alone, train_file=tmp_path / "bad.jsonl", test_file=tmp_path / "gone.jsonl")
    assert both(ASKED, bad)["tuned"].text == prompts.NOTHING_NEAR


def test_rows_that_changed_are_read_again(alone: Settings, tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    for answer in ("First.", "Second."):
        said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": answer}]
        file.write_text(json.dumps({"messages": said}), encoding="utf-8")
        stamp = time.time() + len(answer)
        os.utime(file, (stamp, stamp))
        row = known.test_row("Hi.", changed(alone, test_file=file))
        assert row and row.answer == answer


# With PyTorch: the models of this machine


@pytest.fixture
def here(tuned: Tuned, tmp_path: Path) -> Settings:
    return changed(tuned.settings, votes_file=tmp_path / "votes.jsonl", **QUICK)


def test_both_models_of_this_machine_answer_at_the_same_time(here: Settings) -> None:
    settings = changed(here, tuned_model="tuned")  # another test may have made a later run
    seen = list(inference.compare("My invoice and the refund, what now?", settings))
    last = seen[-1]
    assert {each.kind for each in last.values()} == {"model"}
    assert json.loads(last["tuned"].text)["team"] == "billing"
    assert last["base"].text != last["tuned"].text
    assert (last["base"].by, last["tuned"].by) == ("tiny", "tuned")
    assert any(not each["base"].done and each["tuned"].text for each in seen)


def test_side_by_side_each_model_answers_as_it_does_alone(here: Settings) -> None:
    question = "Is thanks the same as lovely?"
    [*_, last] = inference.compare(question, here)
    pair = local.load(here)
    asked = inference.messages(question, here)
    assert pair.base
    assert last["tuned"].text == pair.tuned.answer(asked).text
    assert last["base"].text == pair.base.answer(asked).text


def test_visitors_who_ask_at_the_same_time_each_get_their_own_answer(here: Settings) -> None:
    asked = {"invoice and the refund": "billing", "parcel and the van": "delivery"}
    texts: dict[str, str] = {}

    def visit(words: str) -> None:
        texts[words] = both(f"My {words}, what now?", here)["tuned"].text

    visitors = [threading.Thread(target=visit, args=(words,)) for words in asked]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert {words: json.loads(text)["team"] for words, text in texts.items()} == asked


def test_merged_weights_answer_without_a_base(here: Settings, tuned: Tuned) -> None:
    merged = changed(here, tuned_model=str(tuned.base))
    found = both(ASKED, merged)
    assert (found["tuned"].kind, found["base"].kind) == ("model", "none")
    assert "base of these weights" in found["base"].notice
    assert not both(ASKED, merged)["base"].notice  # it is loaded, so this is known


def test_an_adapter_that_is_no_run_is_loaded_on_its_own_base(here: Settings, tuned: Tuned) -> None:
    foreign = changed(here, tuned_model=str(tuned.run.model))
    found = both("My invoice and the refund, what now?", foreign)
    assert json.loads(found["tuned"].text)["team"] == "billing"
    assert found["base"].kind == "model"


def test_a_run_that_was_trained_again_is_loaded_again(
    here: Settings, tuned: Tuned, tmp_path: Path
) -> None:
    run = Run(tmp_path / "runs" / "again")
    shutil.copytree(tuned.run.folder, run.folder)
    again = changed(here, runs_dir=tmp_path / "runs")
    first = local.load(again)
    assert local.load(again) is first
    weights = next(run.model.glob("*.safetensors"))
    os.utime(weights, (2_000_000_000, 2_000_000_000))
    assert not local.ready(again)
    assert local.load(again) is not first


def test_a_wrong_tuned_model_is_reported_without_asking_the_hub(here: Settings) -> None:
    found = both(ASKED, changed(here, tuned_model="nonsense"))
    assert 'TUNED_MODEL="nonsense"' in found["tuned"].notice
    assert found["tuned"].kind == "stand-in"


def test_a_question_that_is_too_long_gets_a_notice_and_a_fallback(here: Settings) -> None:
    found = both("where is the parcel " * 3000, here)
    assert "the model reads 4,096" in found["tuned"].notice
    assert found["tuned"].kind == "stand-in"


def test_weights_that_cannot_be_loaded_are_replaced_by_a_fallback(
    here: Settings, tuned: Tuned, tmp_path: Path
) -> None:
    run = Run(tmp_path / "runs" / "broken")
    run.write(Record(**asdict(tuned.run.record)))
    run.model.mkdir()
    (run.model / "adapter_config.json").write_text("{", encoding="utf-8")
    found = both(ASKED, changed(here, runs_dir=tmp_path / "runs"))
    assert found["tuned"].kind == "stand-in"
    assert found["tuned"].notice


def test_the_sample_rows_are_what_the_app_ships_with() -> None:
    assert len(known.rows(SETTINGS.train)) > 200


def test_the_recorded_run_answers_its_questions(alone: Settings) -> None:
    assert {each.kind for each in both(ORIGINAL, alone).values()} == {"recorded"}
    assert known.title(known.RECORDED).startswith("Recorded, ")


def test_a_run_of_your_own_comes_before_the_recorded_one(evaluated: Settings) -> None:
    run = known.shown_run(evaluated)
    assert run and run.name == "first"
    assert known.recorded(ORIGINAL, evaluated) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rehearsal-2020-01-02-123456", "Rehearsal, 2 Jan 2020 12:34"),
        ("2020-01-02-1234-ministral-3b", "Ministral-3b, 2 Jan 2020 12:34"),
        (time.strftime("rehearsal-%Y-%m-%d-090000"), "Rehearsal, today 09:00"),
        ("our-best", "our-best"),
    ],
)
def test_a_runs_name_is_written_as_people_say_it(name: str, said: str) -> None:
    assert known.spoken(name) == said
