"""What a visitor sees of a comparison: two columns, votes, the run, its evaluation, the rows."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_app import (
    DESKTOP,
    HOSTILE,
    KEY,
    PHONE,
    App,
    Look,
    Model,
    Photograph,
    Visit,
    free_port,
)
from playwright.sync_api import Browser, Locator, expect
from tuning import Tuner

from hackkit import Plan, new_project

# Without a browser no project is made either: the fixture `browser` comes first.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("browser")]
pytest_plugins = ["visits"]

NEW = "The parcel came, but it is another customer's."
KNOWN = "What does the blue lamp weigh?"
TRICKY = "Which <b>lamp</b> is it?"
LIVE = "img, script, video, iframe, style, svg[onload], a[href^=javascript]"
BLIND = re.compile("Base|Tuned|before-model|first")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make and install a project as `hackkit new fine-tune` does: without PyTorch."""
    folder = tmp_path_factory.mktemp("generated") / "my-model"
    return new_project(Plan(folder, template="fine-tune", git=False)).directory


def app_in(project: Path, folder: Path, **settings: str) -> App:
    """Take an app whose runs and votes are its own."""
    own = {"RUNS_DIR": str(folder / "runs"), "VOTES_FILE": str(folder / "votes.jsonl")}
    return App(project, folder, own | settings)


@pytest.fixture(scope="module")
def offline(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Start an app with a run that came out of git: what it recorded, without its weights."""
    folder = tmp_path_factory.mktemp("offline")
    record(folder / "runs" / "first")
    app = app_in(project, folder).start()
    yield app
    app.kill()


@pytest.fixture(scope="module")
def model(project: Path) -> Iterator[Model]:
    model = Model.start(project)
    yield model
    model.stop()


@pytest.fixture(scope="module")
def only_online(
    project: Path, model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """Start an app that has a key, and no run."""
    app = app_in(project, tmp_path_factory.mktemp("online"), **model.settings()).start()
    yield app
    app.kill()


@pytest.fixture
def online(only_online: App, model: Model) -> App:
    """Return that app with a model without replies: each test sets its own."""
    model.will()
    return only_online


@pytest.fixture
def fresh(project: Path, tmp_path: Path) -> Iterator[App]:
    """Start an app without a run of its own, and without votes."""
    app = app_in(project, tmp_path).start()
    yield app
    app.kill()


@pytest.fixture
def trained(tuner: Tuner, rehearsed: dict[str, Any], tmp_path: Path) -> Iterator[App]:
    """Start an app that has the weights of a rehearsal."""
    own = {"VOTES_FILE": str(tmp_path / "votes.jsonl"), "TUNED_MODEL": rehearsed["run"]}
    own["MAX_TOKENS"] = "60"  # the base goes on and on
    app = App(tuner.folder, tmp_path, tuner.environment | own).start()
    yield app
    app.kill()


def record(run: Path) -> None:
    """Write what a run leaves in git: what it was made with, its log, its evaluation."""
    run.mkdir(parents=True)
    record = {"base": "before-model", "method": "lora", "state": "done", "settings": {"rank": 16}}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    steps = [{"step": 10 * n, "loss": 4 / n, "eval_loss": 5 / n} for n in range(1, 12)]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, steps)), encoding="utf-8")
    (run / "evaluation.json").write_text(json.dumps(evaluation()), encoding="utf-8")


def evaluation() -> dict[str, Any]:
    sure = {"mean": 50.0, "low": 40.0, "high": 60.0}
    system = {"rows": 2, "metrics": {"exact_match": sure}, "seconds": sure}
    samples = [
        sample(1, KNOWN, "2 kg", {"base": "It is 2 g", "tuned": "2 kg"}),
        sample(2, TRICKY, "none", {"base": HOSTILE, "tuned": HOSTILE}),
    ]
    return {
        "run": "first",
        "created": "2026-11-25T10:00:00+00:00",
        "rows": 2,
        "verdict": "better",
        "headline": "exact_match",
        "because": "the answers are short",
        "why": "Better: 50 % exact match against 0 % on 2 rows.",
        "notes": ["2 rows prove little."],
        "systems": {
            "base": {"label": "before-model", **system},
            "tuned": {"label": "before-model, tuned", **system},
        },
        "differences": {"exact_match": sure},
        "settings": {},
        "samples": samples,
    }


def sample(line: int, question: str, expected: str, answers: dict[str, str]) -> dict[str, Any]:
    asked = [{"role": "user", "content": question}]
    scores = {side: 100.0 * (text == expected) for side, text in answers.items()}
    return {"line": line, "question": asked, "expected": expected} | {
        "answers": answers,
        "scores": scores,
    }


def card(visit: Visit, side: str) -> Locator:
    return visit.page.locator(f"#{side} .card")


def ask(visit: Visit, question: str) -> None:
    """Put a question, and wait until both answers are whole."""
    visit.box.fill(question)
    visit.box.press("Enter")
    answered(visit)


def answered(visit: Visit) -> None:
    expect(visit.page.locator(".card.done")).to_have_count(2, timeout=60_000)
    expect(visit.page.locator("#box .submit-button")).to_be_visible(timeout=30_000)


def button(visit: Visit, name: str) -> Locator:
    return visit.page.get_by_role("button", name=name, exact=True)


def tab(visit: Visit, name: str) -> None:
    visit.page.get_by_role("tab", name=name).click()


def votes(app: App) -> list[dict[str, Any]]:
    file = app.folder / "votes.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


# Without a model


def test_a_fresh_project_shows_a_recorded_run_in_each_tab(
    fresh: App, look: Look, photograph: Photograph
) -> None:
    visit = look(fresh)
    expect(visit.page.locator(".card.recorded.done")).to_have_count(2)
    expect(visit.badge).to_contain_text("Recorded, ")
    expect(visit.page.locator(".brief .verdict")).to_contain_text("Better")
    expect(card(visit, "tuned").locator(".fields")).to_contain_text("right")
    photograph(visit, "fine-tune-recorded")
    for number in range(4):  # each of the example questions was recorded
        visit.page.locator("#chips .chip").nth(number).click()
        answered(visit)
        expect(visit.page.locator(".card.recorded")).to_have_count(2)
    button(visit, "Tuned is better").click()
    expect(visit.page.locator(".tally")).to_contain_text("1 vote on this pair")
    tab(visit, "Training")
    expect(visit.page.locator(".curve polyline")).to_have_count(2)
    tab(visit, "Evaluation")
    expect(visit.page.locator(".sample:visible")).not_to_have_count(0)


def test_an_example_is_answered_by_the_stand_in_which_says_so(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    expect(visit.badge).to_have_text("Offline stand-in")
    photograph(visit, "fine-tune-welcome")
    visit.page.locator("#chips .chip").first.click()
    answered(visit)
    expect(card(visit, "tuned")).to_contain_text("quotes data/train.jsonl, line")
    expect(card(visit, "tuned")).to_contain_text('"team"')
    expect(card(visit, "base")).to_contain_text("No base model is available")
    expect(button(visit, "Tuned is better")).to_be_disabled()
    photograph(visit, "fine-tune-stand-in")


def test_recorded_answers_are_compared_and_voted_on(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    ask(visit, KNOWN)
    expect(card(visit, "base")).to_contain_text("It is 2 g")
    expect(card(visit, "tuned")).to_contain_text("recorded by evaluate, test example 1")
    expect(visit.badge).to_have_text("first")
    before = len(votes(offline)) if (offline.folder / "votes.jsonl").exists() else 0
    button(visit, "Tuned is better").click()
    expect(visit.page.locator(".tally")).to_contain_text("on this pair")
    expect(button(visit, "Tuned is better")).to_be_disabled()
    photograph(visit, "fine-tune-voted")
    kept = votes(offline)
    assert len(kept) == before + 1
    assert (kept[-1]["choice"], kept[-1]["tuned"]["text"]) == ("tuned", "2 kg")


def test_a_blind_vote_shows_the_names_only_afterwards(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    visit.page.get_by_label("Blind vote").check()
    ask(visit, KNOWN)
    columns = visit.page.locator("#columns")
    expect(columns).not_to_contain_text(BLIND)
    expect(columns).to_contain_text("2 kg")
    photograph(visit, "fine-tune-blind")
    button(visit, "A is better").click()
    expect(columns).to_contain_text(BLIND)
    left = visit.page.locator("#base .card").inner_text()
    assert votes(offline)[-1]["choice"] == ("tuned" if "2 kg" in left else "base")
    assert votes(offline)[-1]["blind"] is True


def test_a_test_row_is_drawn_with_the_answer_that_is_expected(offline: App, look: Look) -> None:
    visit = look(offline)
    button(visit, "A test example").click()
    answered(visit)
    expect(visit.page.locator(".expected")).to_contain_text("test.jsonl, line")
    expect(card(visit, "tuned").locator(".fields")).to_contain_text(re.compile("right|expected"))


def test_the_run_its_evaluation_and_the_rows_can_be_looked_at(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    tab(visit, "Training")
    expect(visit.page.locator(".curve polyline")).to_have_count(2)
    expect(visit.page.locator(".facts")).to_contain_text("Rank")
    photograph(visit, "fine-tune-training")
    tab(visit, "Evaluation")
    expect(visit.page.locator(".verdict:visible")).to_contain_text("50 % exact match against 0 %")
    expect(visit.page.locator(".report table:visible")).to_contain_text("+40 to +60")
    visit.page.locator(".sample summary").first.click()
    expect(visit.page.locator(".sample mark").first).to_be_visible()
    photograph(visit, "fine-tune-evaluation")
    with visit.page.expect_download() as download:
        button(visit, "Download the report").click()
    assert "<h2>Figures</h2>" in download.value.path().read_text("utf-8")
    tab(visit, "Data")
    expect(visit.page.locator("#rows table")).to_have_count(3)


def test_each_visitor_sees_his_own_question(offline: App, look: Look) -> None:
    one, other = look(offline), look(offline)
    ask(one, KNOWN)
    expect(other.page.locator(".card.blank")).to_have_count(2)
    ask(other, NEW)
    expect(one.page.locator(".question")).to_have_text(KNOWN)
    expect(other.page.locator(".question")).to_have_text(NEW)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_its_window(
    offline: App, look: Look, photograph: Photograph, size: tuple[int, int], *, dark: bool
) -> None:
    visit = look(offline, size, dark=dark)
    name = f"fine-tune-{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    expect(visit.box).to_be_in_viewport()
    widths = [visit.widths()]
    ask(visit, KNOWN)
    widths.append(visit.widths())
    photograph(visit, f"{name}-compare")
    for title in ("Training", "Evaluation", "Data"):
        tab(visit, title)
        expect(visit.page.locator(":is(table, .facts):visible").first).to_be_visible()
        widths.append(visit.widths())
        photograph(visit, f"{name}-{title.lower()}")
    assert all(wide <= window for wide, window in widths)


def test_a_screen_reader_finds_a_name_for_each_part(offline: App, look: Look) -> None:
    visit = look(offline)
    expect(visit.page.get_by_role("textbox", name="Question")).to_be_visible()
    expect(button(visit, "Ask")).to_be_visible()
    tab(visit, "Evaluation")
    expect(visit.page.get_by_role("img", name="tuned: right")).to_be_visible()


def test_a_card_is_framed_on_all_sides(offline: App, look: Look) -> None:
    visit = look(offline)
    expect(card(visit, "tuned")).to_have_css("border-width", "3px 1px 1px")


def test_a_question_that_never_ends_leaves_room_for_the_answers(offline: App, look: Look) -> None:
    visit = look(offline)
    ask(visit, "and so on " * 900)
    expect(card(visit, "tuned")).to_be_in_viewport()


def test_nothing_that_a_model_or_a_person_wrote_is_live(offline: App, look: Look) -> None:
    visit, dialogs = look(offline), list[str]()
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    ask(visit, TRICKY)
    expect(card(visit, "tuned")).to_contain_text("<script>")
    ask(visit, HOSTILE.replace("\n", " "))
    expect(visit.page.locator(".question")).to_contain_text("<script>")
    tab(visit, "Evaluation")
    visit.page.locator(".sample summary").last.click()
    expect(visit.page.locator(".sample[open]")).to_contain_text("<script>")
    assert (
        visit.page.locator(f".card :is({LIVE}), .asked :is({LIVE}), .sample :is({LIVE})").count()
        == 0
    )
    assert dialogs == []
    assert visit.page.title() != "owned"


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked to end there")
def test_the_app_ends_without_a_word_while_a_page_is_open(
    project: Path, browser: Browser, tmp_path: Path
) -> None:
    app = app_in(project, tmp_path).start()
    visit = Visit.begin(browser, app)
    assert app.end() == 0
    assert app.log == f"Open {app.url}/\n"
    visit.page.context.close()


# With a model


def test_a_column_grows_while_the_other_is_done_and_can_be_stopped(
    online: App, model: Model, look: Look
) -> None:
    model.will(("slowly", "word " * 300, 0.1))
    visit = look(online)
    visit.box.fill(NEW)
    visit.box.press("Enter")
    expect(card(visit, "tuned")).to_have_class(re.compile("done"), timeout=60_000)
    expect(card(visit, "base")).to_contain_text("word word", timeout=60_000)
    expect(card(visit, "base")).to_have_class(re.compile("busy"))
    visit.page.locator("#box .stop-button").click()
    expect(card(visit, "base")).to_contain_text("Stopped.", timeout=5_000)
    model.will(("text", "Here I am."))
    ask(visit, NEW)
    expect(card(visit, "base")).to_contain_text("Here I am.")
    expect(card(visit, "base")).to_contain_text("mistral-small-latest · well prompted")
    assert KEY not in visit.page.content()
    assert KEY not in online.log


def test_a_model_that_fails_gives_a_polite_message(online: App, model: Model, look: Look) -> None:
    model.answer_with(500)
    visit = look(online)
    ask(visit, NEW)
    expect(card(visit, "base").locator(".notice")).to_contain_text("service has a problem")
    expect(card(visit, "base")).to_contain_text("No base model is available")
    expect(card(visit, "tuned")).to_contain_text("quotes data/train.jsonl")
    assert "Traceback" not in online.log


def test_a_server_that_cannot_be_reached_is_stood_in_for(
    project: Path, browser: Browser, tmp_path: Path
) -> None:
    closed = {"LLM_BASE_URL": f"http://127.0.0.1:{free_port()}/v1", "CHAT_MODEL": "ours"}
    app = app_in(project, tmp_path, **closed).start()
    visit = Visit.begin(browser, app)
    expect(visit.badge).to_have_text("ours")
    ask(visit, NEW)
    expect(card(visit, "tuned").locator(".notice")).to_contain_text("could not be reached")
    expect(card(visit, "tuned")).to_contain_text("quotes data/train.jsonl")
    expect(visit.badge).to_have_text("Offline stand-in")
    visit.page.context.close()
    app.kill()


# With weights


def test_a_rehearsals_models_answer_and_are_voted_on(
    trained: App, look: Look, photograph: Photograph
) -> None:
    visit = look(trained)
    visit.page.locator("#chips .chip").first.click()
    expect(visit.page.locator(".card.model.done")).to_have_count(2, timeout=120_000)
    expect(visit.badge).to_have_text(re.compile(r"^\s*Rehearsal, .* · cpu\s*$"))
    expect(card(visit, "tuned").locator(".words")).to_have_text(re.compile(r'^\{"team": "'))
    expect(card(visit, "base").locator(".words")).not_to_be_empty()
    expect(card(visit, "base").locator(".notice")).to_have_count(0)
    button(visit, "Tuned is better").click()
    expect(visit.page.locator(".tally")).to_contain_text("on this pair")
    photograph(visit, "fine-tune-trained")
    assert [(vote["choice"], vote["tuned"]["kind"]) for vote in votes(trained)] == [
        ("tuned", "model")
    ]
    tab(visit, "Training")
    expect(visit.page.locator(".curve polyline")).to_have_count(2)
    photograph(visit, "fine-tune-trained-training")
    tab(visit, "Evaluation")
    expect(visit.page.locator(".verdict:visible")).to_contain_text("Better")
    photograph(visit, "fine-tune-trained-evaluation")
