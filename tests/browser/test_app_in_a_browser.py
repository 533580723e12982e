"""What a visitor sees: a generated app, driven in a real browser at desktop and phone size."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser_app import DESKTOP, HOSTILE, KEY, PHONE, App, Look, Model, Visit
from playwright.sync_api import Browser, expect

from hackkit import Plan, new_project

# Without a browser no project is made either: the fixture `browser` comes first.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("browser")]
pytest_plugins = ["visits"]


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make and install a project as `hackkit new rag-app` does."""
    folder = tmp_path_factory.mktemp("generated") / "my-app"
    return new_project(Plan(folder, template="rag-app", git=False)).directory


@pytest.fixture(scope="session")
def offline(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Start an app without a key."""
    app = App(project, tmp_path_factory.mktemp("offline")).start()
    yield app
    app.kill()


@pytest.fixture
def model(project: Path) -> Iterator[Model]:
    model = Model.start(project, HOSTILE)
    yield model
    model.stop()


@pytest.fixture
def online(project: Path, model: Model, tmp_path: Path) -> Iterator[App]:
    """Start an app that has a key and a model that answers."""
    app = App(project, tmp_path, model.settings()).start()
    yield app
    app.kill()


@pytest.fixture
def mortal(project: Path, tmp_path: Path) -> Iterator[App]:
    """Start an app that a test may kill."""
    app = App(project, tmp_path).start()
    yield app
    app.kill()


def test_an_example_question_gets_an_answer_with_a_citation(
    offline: App, look: Look, photograph: Callable[[Visit, str], None]
) -> None:
    visit = look(offline)
    photograph(visit, "welcome")
    visit.page.get_by_role("button", name="Select example 1").click()
    answer = visit.answer()
    expect(answer.locator("a.cite").first).to_be_visible()
    expect(answer.locator(".by")).to_contain_text("stand-in")
    expect(visit.badge).to_contain_text("stand-in")
    photograph(visit, "answer")


def test_a_citation_leads_to_its_source_with_the_words_of_the_question_marked(
    offline: App, look: Look
) -> None:
    visit = look(offline)
    answer = visit.ask("What do the judges look at?")
    answer.locator("a.cite").first.click()
    name = answer.locator("a.cite").first.get_attribute("href")
    source = visit.page.locator(f"details{name}")
    expect(source).to_be_in_viewport()
    expect(source.locator("summary")).to_contain_text("judging")
    assert any("judge" in word.lower() for word in source.locator("mark").all_inner_texts())
    assert len(visit.page.context.pages) == 1
    source.locator("summary").click()
    expect(source.locator("p")).to_be_hidden()
    source.locator("summary").click()
    expect(source.locator("p")).to_be_visible()


def test_the_sources_of_an_earlier_answer_can_still_be_opened(offline: App, look: Look) -> None:
    visit = look(offline)
    first = visit.ask("What do the judges look at?")
    visit.ask("Which Mistral model should we start with?")
    first.locator("a.cite").first.click()
    expect(visit.page.locator("details:target")).to_be_in_viewport()


def test_an_uploaded_file_can_be_asked_about_at_once(
    offline: App, look: Look, tmp_path: Path, photograph: Callable[[Visit, str], None]
) -> None:
    notes = tmp_path / "night train.txt"
    notes.write_text("The night train to Vladivostok leaves from platform nineteen.", "utf-8")
    visit = look(offline)
    visit.upload(notes)
    answer = visit.ask("From which platform does the train to Vladivostok leave?")
    expect(answer).to_contain_text("platform nineteen")
    expect(visit.sources).to_contain_text("night train.txt")
    visit.page.get_by_role("tab", name="Documents").click()
    expect(visit.page.locator(".library")).to_contain_text("night train.txt")
    photograph(visit, "documents")


def test_a_file_that_cannot_be_read_gives_a_line_that_names_it(
    offline: App, look: Look, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.7 no more than this")
    visit = look(offline)
    visit.page.get_by_role("tab", name="Documents").click()
    visit.page.locator("#upload input[type=file]").set_input_files(broken)
    expect(visit.page.locator("#status")).to_contain_text("broken.pdf", timeout=30_000)


def test_a_private_address_is_refused_in_the_address_box(offline: App, look: Look) -> None:
    visit = look(offline)
    visit.page.get_by_role("tab", name="Documents").click()
    visit.page.get_by_label("Add a web page").fill(offline.url)
    visit.page.get_by_role("button", name="Add", exact=True).click()
    expect(visit.page.locator("#status")).to_contain_text("127.0.0.1", timeout=30_000)


def test_what_a_document_holds_is_shown_as_text(offline: App, look: Look, tmp_path: Path) -> None:
    trap = tmp_path / "trap.txt"
    trap.write_text(f"The quixotic zeppelin: {HOSTILE}", "utf-8")
    visit = look(offline)
    visit.upload(trap)
    visit.ask("What is the quixotic zeppelin picture?")
    expect(visit.sources).to_contain_text('<script>document.title = "owned"</script>')
    assert visit.sources.locator("img, script, video, iframe, style").count() == 0
    visit.page.wait_for_timeout(500)
    assert visit.page.title() != "owned"


def test_what_a_model_writes_is_shown_as_text(online: App, look: Look) -> None:
    visit = look(online)
    answer = visit.ask("Recite, please")
    # The app may break tags up with an invisible character.
    expect(answer).to_contain_text(re.compile(r'<\W?script>document.title = "owned"<\W?/script>'))
    assert answer.locator("img, script, video, iframe, style, [onload]").count() == 0
    assert answer.locator("a[href^=javascript]").count() == 0
    visit.page.wait_for_timeout(500)
    assert visit.page.title() != "owned"


def test_with_a_key_the_model_answers_word_by_word_and_the_badge_names_it(
    online: App, look: Look, photograph: Callable[[Visit, str], None]
) -> None:
    visit = look(online)
    expect(visit.badge).to_contain_text("mistral-small-latest")
    visit.page.evaluate(
        """() => {
            window.lengths = new Set();
            const watch = () => {
                const answer = document.querySelector("#chat [data-testid=bot]");
                if (answer) window.lengths.add(answer.innerText.length);
            };
            new MutationObserver(watch).observe(
                document.body, {childList: true, subtree: true, characterData: true});
        }"""
    )
    answer = visit.ask("What do the judges look at?")
    expect(answer).to_contain_text("According to")
    expect(answer.locator(".by")).to_contain_text("mistral-small-latest")
    assert visit.page.evaluate("window.lengths.size") > 3
    assert KEY not in visit.page.content() + online.log
    photograph(visit, "model")


def test_when_the_model_fails_the_stand_in_answers_and_says_so(
    online: App, model: Model, look: Look, photograph: Callable[[Visit, str], None]
) -> None:
    visit = look(online)
    visit.ask("What do the judges look at?")
    model.answer_with(500)
    answer = visit.ask("How should we spend the last three hours?")
    expect(answer.locator(".by")).to_contain_text("stand-in")
    expect(answer.locator(".by")).to_contain_text("problem")
    expect(answer.locator("a.cite").first).to_be_visible()
    expect(visit.badge).to_contain_text("stand-in")
    photograph(visit, "fallback")
    model.answer_with(200)
    answer = visit.ask("Which Mistral model should we start with?")
    expect(answer.locator(".by")).to_contain_text("mistral-small-latest")
    expect(visit.badge).to_contain_text("mistral-small-latest")
    model.stop()
    answer = visit.ask("What do the judges look at?")
    expect(answer.locator(".by")).to_contain_text("could not be reached")
    expect(visit.box).to_be_editable()
    assert "Traceback" not in online.log


def test_nothing_leaves_the_machine(offline: App, look: Look) -> None:
    visit = look(offline, dark=True)
    visit.ask("What do the judges look at?")
    visit.page.get_by_role("tab", name="Documents").click()
    visit.page.wait_for_timeout(500)
    assert visit.outside == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_its_window_with_the_question_box_in_view(
    offline: App,
    look: Look,
    photograph: Callable[[Visit, str], None],
    size: tuple[int, int],
    *,
    dark: bool,
) -> None:
    visit = look(offline, size, dark=dark)
    name = f"{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    expect(visit.box).to_be_in_viewport()
    photograph(visit, f"{name}-welcome")
    visit.ask("How do we keep the demo safe when the Wi-Fi fails?")
    expect(visit.box).to_be_in_viewport()
    wide, window = visit.widths()
    assert wide <= window
    photograph(visit, f"{name}-answer")
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 3 * 100) is dark


def test_the_page_keeps_its_width_from_tab_to_tab(offline: App, look: Look) -> None:
    visit = look(offline)
    head = visit.page.locator("#head")
    widths = [head.bounding_box()]
    visit.ask("What do the judges look at?")
    widths.append(head.bounding_box())
    visit.page.get_by_role("tab", name="Documents").click()
    widths.append(head.bounding_box())
    assert len({round(box["width"]) for box in widths if box}) == 1


def test_a_thumb_up_is_written_down_with_its_question(offline: App, look: Look) -> None:
    visit = look(offline)
    visit.ask("What do the judges look at?")
    visit.page.get_by_label("Like", exact=True).last.click()
    visit.page.wait_for_timeout(1000)
    row = json.loads(offline.feedback.read_text("utf-8").splitlines()[-1])
    assert row["liked"] is True
    assert row["question"] == "What do the judges look at?"
    assert row["answer"]


def test_an_app_that_was_killed_answers_after_a_restart(mortal: App, look: Look) -> None:
    visit = look(mortal)
    before = visit.ask("What do the judges look at?").locator("p").all_inner_texts()
    visit.page.context.close()  # it would complain of the power cut
    mortal.kill()
    mortal.start()
    after = look(mortal).ask("What do the judges look at?").locator("p").all_inner_texts()
    assert after[1:] == before[1:]  # the first line says how long it took


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked to end there")
def test_the_app_ends_without_a_word_while_a_page_is_open(mortal: App, browser: Browser) -> None:
    visit = Visit.begin(browser, mortal)
    assert mortal.end() == 0
    assert mortal.log.splitlines()[1:] == [f"Open {mortal.url}/"]  # after what was indexed
    visit.page.context.close()
