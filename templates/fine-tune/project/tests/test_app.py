import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Tuned
from gradio_client import Client
from gradio_client.exceptions import AppError
from mistral_server import MistralServer, slowly
from test_inference import RECORDED, evaluation

import app
from plumbing.guard import VisitorLimit, serving
from tune import comparison, known, prompts, ui
from tune.comparison import Shown
from tune.dataset import last_words
from tune.inference import Answer, Both
from tune.known import SIDES
from tune.report import Sample, to_json
from tune.runs import Record, Run
from tune.settings import SETTINGS, Settings

# The index of each part of the page.
PARTS = ASKED, LEFT, RIGHT, FIRST, SECOND, BOTH, NEITHER, TALLY, BADGE, BOX, SHOWN = range(11)
NAN = float("nan")  # logged by a training that failed
HOSTILE = '</p></div><script>alert(1)</script><img src=x onerror=alert(1)>{"a": \'"\'}'


def use(patch: pytest.MonkeyPatch, settings: Settings) -> None:
    for module in (app, comparison):
        patch.setattr(module, "SETTINGS", settings)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A page with its own settings: a run without weights, no votes yet."""
    own = {"runs_dir": tmp_path / "runs", "votes_file": tmp_path / "votes.jsonl"}
    settings = SETTINGS.model_copy(update=own)
    use(monkeypatch, settings)
    run = Run(settings.runs / "first")
    made_of: dict[str, Any] = {"settings": {"rank": 16}, "data": {"train": {"rows": 3}}}
    run.write(Record("ministral-3b", state="done", **made_of))
    run.evaluation.write_text(to_json(evaluation()), encoding="utf-8")
    return tmp_path


def compare(question: str, blind: bool = False) -> list[tuple[Any, ...]]:
    return list(comparison.compare(question, blind, Shown()))


def shown(left: Answer, right: Answer, **more: Any) -> Shown:
    return Shown(HOSTILE, {"base": left, "tuned": right}, **more)


def whole(by: str, text: str = "x") -> Answer:
    return Answer(by, "model", text=text, done=True)


# Asking


def test_a_question_is_answered_in_both_columns(page: Path) -> None:
    screens = compare(RECORDED)
    assert all(len(screen) == len(PARTS) for screen in screens)
    assert (screens[0][BOX]["submit_btn"], screens[0][BOX]["stop_btn"]) == (False, "Stop")
    assert ["value" in screen[BOX] for screen in screens] == [True] + [False] * (len(screens) - 1)
    last = screens[-1]
    assert "2 kg" in last[RIGHT] and "recorded by evaluate" in last[RIGHT]
    assert RECORDED in last[ASKED]
    assert "first" in last[BADGE]
    assert (last[BOX]["submit_btn"], last[BOX]["stop_btn"]) == ("Ask", False)


def test_without_a_model_the_offline_answer_cannot_be_voted_on(page: Path) -> None:
    last = compare("When will you deliver my parcel?")[-1]
    assert ">stand-in<" in last[RIGHT] and "quotes data/train.jsonl" in last[RIGHT]
    assert "No base model is available" in last[LEFT]
    assert "Offline stand-in" in last[BADGE]
    assert not any(last[button]["interactive"] for button in range(FIRST, NEITHER + 1))


def test_a_test_row_comes_with_the_answer_that_is_expected(page: Path) -> None:
    question = comparison.test_question()
    row = known.test_row(question)
    assert row
    last = compare(question)[-1]
    assert "Expected (data/test.jsonl, line" in last[ASKED]
    assert re.search("✓ right|✗ (expected|not JSON)|as expected|ROUGE-L", last[RIGHT])


@pytest.mark.parametrize("nothing", ["", "  \n", None])
def test_an_empty_question_is_not_asked(page: Path, nothing: Any) -> None:
    [screen] = compare(nothing)
    assert len(screen) == len(PARTS)


def test_after_any_error_the_page_still_works(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise OSError("disk full")
        yield

    monkeypatch.setattr(comparison.inference, "compare", broken)
    last = compare("Hello?")[-1]
    assert prompts.SORRY in last[LEFT] and prompts.SORRY in last[RIGHT]
    assert "disk full" not in "".join(last[:3])
    assert last[BOX]["submit_btn"] == "Ask"


@pytest.fixture
def slow(page: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tuned model is on a slow server."""
    with MistralServer(deviant=True) as server:
        server.will(*[slowly("word " * 2000, 0.05)] * 2)
        own = {"llm_base_url": f"{server.url}/v1", "chat_model": "ours"}
        use(monkeypatch, app.SETTINGS.model_copy(update=own))
        yield


@pytest.mark.usefixtures("slow")
def test_a_stopped_answer_keeps_its_text() -> None:
    growing = comparison.compare("Hello?", False, Shown())
    busy = next(screen for screen in growing if "word word" in screen[RIGHT])
    comparison.stop(busy[SHOWN])
    *_, last = growing
    assert "word word" in last[RIGHT] and prompts.STOPPED in last[RIGHT]
    assert prompts.STOPPED not in last[LEFT]
    assert last[BOX]["submit_btn"] == "Ask"


@pytest.mark.usefixtures("slow")
def test_a_newer_question_replaces_the_older_one() -> None:
    growing = comparison.compare("Hello?", False, Shown())
    busy = next(screen for screen in growing if "word word" in screen[RIGHT])
    newer = comparison.compare("And now?", False, busy[SHOWN])
    assert "And now?" in next(newer)[ASKED]
    assert list(growing) == []
    newer.close()  # type: ignore[attr-defined]


# Votes


def test_votes_of_many_visitors_are_all_kept_whole(page: Path) -> None:
    pair: Both = {side: Answer(side, "model", text="é\n" * 500, done=True) for side in SIDES}
    places = ["first", "second", "both", "neither"] * 10
    voter = Shown("Well?", pair)
    crowd = [threading.Thread(target=comparison.vote, args=(place, voter)) for place in places]
    for visitor in crowd:
        visitor.start()
    for visitor in crowd:
        visitor.join()
    with (page / "votes.jsonl").open("a", encoding="utf-8") as end:
        end.write('{"choice": "tuned", "base": {"by": "a"}, "tun')  # a power cut
    names = ("base", "tuned", "both", "neither")
    assert comparison.count_votes(pair) == (dict.fromkeys(names, 10), 0)
    assert comparison.count_votes({**pair, "tuned": Answer("other")}) == ({}, 0)


def test_a_vote_is_saved_with_both_answers_and_counted(page: Path) -> None:
    before = compare(RECORDED)[-1]
    assert "vote" not in before[TALLY]
    after = comparison.vote("second", before[SHOWN])
    assert "1 vote on this pair" in after[TALLY]
    assert not after[FIRST]["interactive"]
    assert after[SECOND]["variant"] == "primary"
    [line] = (page / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    vote = json.loads(line)
    assert (vote["choice"], vote["question"], vote["blind"]) == ("tuned", RECORDED, False)
    assert vote["tuned"] == {"by": "ministral-3b", "kind": "recorded", "text": "2 kg"}
    comparison.vote("second", after[SHOWN])  # a double click
    assert comparison.count_votes(after[SHOWN].both) == ({"tuned": 1}, 0)


def test_a_vote_before_the_first_question_is_refused(page: Path) -> None:
    assert comparison.vote("first", Shown()) == comparison.SKIPPED
    assert not (page / "votes.jsonl").exists()


def test_a_vote_saves_only_the_beginning_of_long_answers(page: Path) -> None:
    comparison.vote("first", shown(whole("a", "x" * 50_000), whole("b", "short")))
    vote = json.loads((page / "votes.jsonl").read_text(encoding="utf-8"))
    assert (len(vote["base"]["text"]), vote["tuned"]["text"]) == (10_000, "short")


@pytest.mark.parametrize("order", [SIDES, SIDES[::-1]])
def test_in_a_blind_vote_the_names_are_hidden_until_the_vote(page: Path, order: Any) -> None:
    both = {"base": whole("old-model", "No."), "tuned": whole("new-model", "Yes.")}
    hidden = comparison.screen(Shown("Well?", both, order, blind=True))
    text = "".join(str(part) for part in hidden[:SHOWN])
    assert not re.search("old-model|new-model|Base|Tuned", text)
    assert hidden[FIRST]["value"] == "A is better"
    seen = comparison.vote("first", hidden[SHOWN])
    [line] = (page / "votes.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["choice"] == order[0]
    assert ("old-model" in seen[LEFT]) == (order[0] == "base")
    assert "1 blind" in seen[TALLY]


def test_in_a_blind_vote_without_two_answers_the_names_are_shown(page: Path) -> None:
    last = compare("When will you deliver my parcel?", blind=True)[-1]
    assert {"Base", "Tuned"} == set(re.findall("<h2>(.*?)</h2>", last[LEFT] + last[RIGHT]))


def test_blind_columns_are_shuffled(page: Path) -> None:
    orders = {compare(RECORDED, blind=True)[-1][SHOWN].order for _ in range(30)}
    assert orders == {SIDES, SIDES[::-1]}


def test_a_vote_that_cannot_be_saved_breaks_nothing(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (page / "file").write_text("", encoding="utf-8")
    unwritable = app.SETTINGS.model_copy(update={"votes_file": page / "file" / "votes.jsonl"})
    use(monkeypatch, unwritable)
    with pytest.warns(UserWarning, match="could not be saved"):
        after = comparison.vote("both", compare(RECORDED)[-1][SHOWN])
    assert after[BOTH]["variant"] == "primary"


# The other tabs


def test_a_run_is_shown_with_its_curve_its_settings_and_its_data(page: Path) -> None:
    steps = [{"step": 5 * n, "loss": 7 / n, "eval_loss": 2.0} for n in range(1, 9)]
    log = "\n".join(map(json.dumps, steps)) + '\n{"step": 45, "lo'  # it is being written
    Run(page / "runs" / "first").log.write_text(log, encoding="utf-8")
    picker, text = app.training(None)
    assert (picker["choices"], picker["value"]) == ([("first", "first")], "first")
    assert text.count("<polyline") == 2
    assert "<dt>Rank</dt><dd>16</dd>" in text
    assert "<dt>Train examples</dt><dd>3</dd>" in text


@pytest.mark.parametrize(
    "losses", [[], [1.0], [0.0, 0.0], [None, 2.0], [3.0, 1e-9], [2.0, NAN, 1.0]]
)
def test_a_curve_can_be_drawn_of_any_losses(page: Path, losses: list[Any]) -> None:
    run = Run(page / "runs" / "first")
    log = "\n".join(json.dumps({"step": n, "loss": loss}) for n, loss in enumerate(losses))
    run.log.write_text(log, encoding="utf-8")
    drawn = ui.curve(run)
    assert ("<svg" in drawn) == (len([loss for loss in losses if loss]) > 1)
    assert "nan" not in drawn and "inf" not in drawn


def test_an_evaluation_is_shown_with_its_intervals_and_its_report(page: Path) -> None:
    _, text, button = app.evaluation("first")
    assert "Better." in text
    assert "+50<small>+40 to +60</small>" in text
    assert "<h2>Figures</h2>" in Path(button["value"]).read_text(encoding="utf-8")


def test_without_any_run_the_tabs_say_what_to_type(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, app.SETTINGS.model_copy(update={"runs_dir": page / "none"}))
    monkeypatch.setattr(known, "RECORDED", Run(page / "none"))
    assert "tune rehearse" in app.training(None)[1]
    assert "tune evaluate" in app.evaluation(None)[1]
    assert app.evaluation(None)[2]["visible"] is False
    assert comparison.opening(Shown())[LEFT]["__type__"] == "update"  # the empty cards stay


def test_a_fresh_project_shows_the_recorded_run(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, app.SETTINGS.model_copy(update={"runs_dir": page / "none"}))
    first = comparison.opening(Shown())
    assert "recorded" in first[RIGHT] and "Recorded, " in first[BADGE]
    assert first[FIRST]["interactive"]
    assert "Recorded, " in ui.headline(known.shown_run(app.SETTINGS))
    assert app.training(None)[1].count("<polyline") == 2
    assert "Figures" in app.evaluation(None)[1]


def test_the_rows_are_shown(page: Path) -> None:
    text = app.rows()
    assert text.count("<table") == 3
    assert "train.jsonl" in text


# Text from models and people is escaped


def test_all_text_on_the_page_is_escaped(page: Path) -> None:
    answer = Answer(HOSTILE, "model", HOSTILE, HOSTILE, HOSTILE, done=True)
    sample = Sample(
        1, ({"role": "user", "content": HOSTILE},), HOSTILE, {"base": HOSTILE}, {"base": 0.0}
    )
    bad = replace(evaluation(), why=HOSTILE, notes=(HOSTILE,), samples=(sample,))
    run = Run(page / "runs" / "first")
    run.write(Record(HOSTILE, HOSTILE, versions={HOSTILE: HOSTILE}))
    text = "".join(str(part) for part in comparison.screen(shown(answer, answer))[:3])
    text += comparison.badge(answer) + ui.evaluation(run, bad) + ui.training(run)
    assert not re.search(r"<(?:script|img)", text)
    assert text.count("&lt;script&gt;") > 10


# The API, and with PyTorch


def test_programs_can_ask(page: Path) -> None:
    with serving(app.build(), SETTINGS) as url:
        client = Client(url, verbose=False)
        reply = client.predict(RECORDED, api_name="/ask")
        assert (reply["answer"], reply["model"], reply["notice"]) == ("2 kg", "ministral-3b", "")
        assert (reply["base"]["text"], reply["tuned"]["kind"]) == ("?", "recorded")
        with pytest.raises(AppError, match="empty"):
            client.predict("  ", api_name="/ask")
        endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        assert set(endpoints) == {"/ask"}


def test_a_visitor_s_limit_holds_for_programs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "QUESTIONS", VisitorLimit(1))
    app.QUESTIONS.count("127.0.0.1")
    with serving(app.build(), SETTINGS) as url:
        client = Client(url, verbose=False)
        with pytest.raises(AppError, match="Come back in 60 minutes"):
            client.predict(RECORDED, api_name="/ask")


def test_the_report_is_a_download_and_never_a_page(page: Path) -> None:
    with serving(app.build(), SETTINGS) as url, httpx.Client(base_url=url) as client:
        config = client.get("config").json()
        [button] = [c["id"] for c in config["components"] if c["type"] == "downloadbutton"]
        [event, *_] = [d["id"] for d in config["dependencies"] if button in d["outputs"]]
        asked = {"fn_index": event, "data": [None], "session_hash": "x"}
        *_, update = client.post("gradio_api/run/predict", json=asked).json()["data"]
        reply = client.get(f"gradio_api/file={update['value']['path']}")
        assert reply.headers["content-disposition"].startswith("attachment")
        assert "<h2>Figures</h2>" in reply.text
        folder = Path(app.evaluation("first")[2]["value"]).parent
        (folder / "evil.html").write_text("<script>alert(1)</script>", encoding="utf-8")
        assert client.get(f"gradio_api/file={folder / 'evil.html'}").status_code == 403


def test_the_tuned_model_of_this_machine_answers_on_the_page(
    tuned: Tuned, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tuned.settings)
    row = known.rows(tuned.settings.test)[0]
    last = compare(last_words(row.question))[-1]
    assert last[RIGHT].count("✓ right") == 2
    assert last[SECOND]["interactive"] is True
