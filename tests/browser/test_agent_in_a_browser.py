"""What a visitor sees of an agent: steps, approvals, Stop, files and conversations."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from stage import DESKTOP, HOSTILE, KEY, PHONE, App, Look, Model, Photograph, Visit

from hackkit import Plan, new_project

# Without a browser no project is made either: the fixture `browser` comes first.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("browser")]
pytest_plugins = ["visits"]

WRITES = 'Write "The kettle boils." to note.md.'
ASKING = "wait for you to approve"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make and install a project as `hackkit new agent` does."""
    folder = tmp_path_factory.mktemp("generated") / "my-agent"
    return new_project(Plan(folder, template="agent", git=False)).directory


@pytest.fixture(scope="module")
def offline(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Start an app without a key."""
    app = App(project, tmp_path_factory.mktemp("offline")).start()
    yield app
    app.kill()


@pytest.fixture
def mortal(project: Path, tmp_path: Path) -> Iterator[App]:
    """Start an app that a test may kill."""
    app = App(project, tmp_path).start()
    yield app
    app.kill()


@pytest.fixture(scope="module")
def only_model(project: Path) -> Iterator[Model]:
    model = Model.start(project)
    yield model
    model.stop()


@pytest.fixture(scope="module")
def only_online(
    project: Path, only_model: Model, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    app = App(project, tmp_path_factory.mktemp("online"), only_model.settings()).start()
    yield app
    app.kill()


@pytest.fixture
def model(only_model: Model) -> Model:
    """Take the model when it has nothing left to say: a test tells it what."""
    only_model.will()
    return only_model


@pytest.fixture
def online(only_online: App, model: Model) -> App:
    """Start an app that has a key and that model."""
    assert model.url in only_online.settings.values()
    return only_online


def give(visit: Visit, task: str) -> None:
    visit.box.fill(task)
    visit.box.press("Enter")


def done(visit: Visit, words: str | re.Pattern[str]) -> None:
    """Wait until the last answer holds these words, and the next task may come."""
    expect(visit.answers.last).to_contain_text(words, timeout=60_000)
    expect(visit.page.locator("#box .submit-button")).to_be_visible(timeout=30_000)


def drop(visit: Visit, file: Path) -> None:
    visit.page.locator("input[type=file]").first.set_input_files(file)
    expect(visit.page.get_by_role("button", name="Remove file")).to_be_visible()


def rows(visit: Visit) -> list[str]:
    return visit.page.locator("#steps .call b").all_inner_texts()


def open_file(visit: Visit, name: str) -> None:
    visit.page.get_by_role("tab", name="Files").click()
    visit.page.locator("#files label", has_text=name).click()


# Without a model


def test_an_example_task_is_done_step_by_step(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    photograph(visit, "agent-welcome")
    visit.page.locator("#chat .example").first.click()
    done(visit, "434")
    assert set(rows(visit)) == {"calculate", "days_between"}
    expect(visit.page.locator("#counter")).to_contain_text("2 steps")
    expect(visit.badge).to_have_text("Offline stand-in")
    photograph(visit, "agent-done")


def test_an_edited_text_is_what_is_written(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    give(visit, WRITES)
    expect(visit.answers.last).to_contain_text(ASKING, timeout=60_000)
    photograph(visit, "agent-approval")
    visit.page.get_by_label("text", exact=True).fill("The tea is ready.")
    visit.page.locator("#approve").click()
    done(visit, "note.md")
    expect(visit.page.locator("#approval")).to_have_count(0)
    open_file(visit, "note.md")
    expect(visit.page.locator("#preview pre")).to_have_text("The tea is ready.")
    photograph(visit, "agent-files")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download").click()
    assert download.value.path().read_text("utf-8") == "The tea is ready."


def test_a_refusal_leaves_no_file_and_its_reason_in_the_steps(offline: App, look: Look) -> None:
    visit = look(offline)
    give(visit, 'Write "No." to refused.md.')
    expect(visit.answers.last).to_contain_text(ASKING, timeout=60_000)
    visit.page.get_by_label("Reason, if you refuse").fill("not on my watch")
    visit.page.locator("#refuse").click()
    done(visit, "not on my watch")
    expect(visit.page.locator("#steps .refused")).to_contain_text("not on my watch")
    assert not (offline.folder / "workspace" / "refused.md").exists()


def test_a_dropped_file_is_read_and_a_picture_gets_a_plain_line(
    offline: App, look: Look, tmp_path: Path
) -> None:
    (tmp_path / "kites.txt").write_text("A kite wants a steady wind.", encoding="utf-8")
    visit = look(offline)
    drop(visit, tmp_path / "kites.txt")
    give(visit, "Read it.")
    done(visit, "steady wind")
    (tmp_path / "dot.gif").write_bytes(b"GIF89a broken")
    drop(visit, tmp_path / "dot.gif")
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    expect(visit.page.locator("#steps .notice")).to_contain_text("dot.gif")


def test_each_browser_has_its_own_conversations(offline: App, look: Look) -> None:
    one, other = look(offline), look(offline)
    give(one, "What is 6 * 7?")
    done(one, "42")
    for visit, count in ((one, 1), (other, 0)):
        visit.page.get_by_role("tab", name="Conversations").click()
        expect(visit.page.locator("#past label")).to_have_count(count)
    one.page.get_by_role("button", name="New").click()
    expect(one.answers).to_have_count(0)
    one.page.locator("#past label").click()
    expect(one.answers.last).to_contain_text("42")
    one.page.get_by_role("button", name="Delete this one").click()
    expect(one.page.locator("#past label")).to_have_count(0)


def test_what_waits_is_still_there_after_a_power_cut(mortal: App, browser: Browser) -> None:
    visit = Visit.begin(browser, mortal)
    give(visit, WRITES)
    expect(visit.answers.last).to_contain_text(ASKING, timeout=60_000)
    mortal.kill()
    mortal.start()
    visit.page.goto(mortal.url)
    expect(visit.box).to_be_visible()
    visit.page.get_by_role("tab", name="Conversations").click()
    visit.page.locator("#past label").click()
    visit.page.locator("#approve").click()
    done(visit, "note.md")
    assert (mortal.folder / "workspace" / "note.md").exists()
    assert visit.outside == []
    visit.page.context.close()


def test_a_run_is_saved_as_a_page_that_needs_nothing_else(
    offline: App, look: Look, photograph: Photograph, tmp_path: Path
) -> None:
    visit = look(offline)
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Save this run as HTML").click()
    page = tmp_path / "run.html"
    download.value.save_as(page)
    assert "<script" not in page.read_text("utf-8")
    visit.outside.clear()
    visit.page.goto(page.as_uri())
    expect(visit.page.locator(".timeline")).to_contain_text("calculate")
    photograph(visit, "agent-report")
    assert [url for url in visit.outside if not url.startswith("file:")] == []
    visit.outside.clear()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_its_window_and_the_card_is_in_reach(
    offline: App, look: Look, photograph: Photograph, size: tuple[int, int], *, dark: bool
) -> None:
    visit = look(offline, size, dark=dark)
    name = f"agent-{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    expect(visit.box).to_be_in_viewport()
    give(visit, WRITES)
    expect(visit.page.locator("#approve")).to_be_visible(timeout=60_000)
    wide, window = visit.widths()
    assert wide <= window
    photograph(visit, name)
    visit.page.locator("#refuse").click()
    expect(visit.page.locator("#approval")).to_have_count(0)


# With a model


def test_words_and_calls_are_shown_while_the_run_goes_on(
    online: App, model: Model, look: Look
) -> None:
    model.will(
        ("calls", ("calculate", {"expression": "2 * 21"})), ("slowly", "It is " + "very " * 40, 0.1)
    )
    visit = look(online)
    give(visit, "What is 2 * 21?")
    expect(visit.answers.last).to_contain_text("very very", timeout=60_000)
    assert rows(visit) == ["calculate"]
    expect(visit.page.locator("#box .stop-button")).to_be_visible()
    done(visit, "mistral-small-latest")
    assert KEY not in visit.page.content()
    assert KEY not in online.log


@pytest.mark.parametrize("reply", [("hanging",), ("slowly", "word " * 300, 0.1)])
def test_stop_works_at_once_and_the_next_task_too(
    online: App, model: Model, look: Look, reply: tuple[object, ...]
) -> None:
    model.will(reply)
    visit = look(online)
    give(visit, "Take your time.")
    visit.page.locator("#box .stop-button").click(timeout=60_000)
    expect(visit.answers.last).to_contain_text("Stopped by you.", timeout=3_000)
    model.will(("text", "Here I am."))
    give(visit, "Still there?")
    done(visit, "Here I am.")


def test_a_model_that_fails_is_stood_in_for(online: App, model: Model, look: Look) -> None:
    model.answer_with(500)
    visit = look(online)
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    expect(visit.answers.last.locator(".by")).to_contain_text("service has a problem")
    expect(visit.badge).to_have_text("Offline stand-in")
    model.will(("text", "Back again."))
    give(visit, "And now?")
    done(visit, "Back again.")
    visit.complaints.clear()


def test_nothing_that_a_model_or_a_file_says_is_live(online: App, model: Model, look: Look) -> None:
    (online.folder / "workspace" / "a <img src=x>.md").write_text(HOSTILE, encoding="utf-8")
    model.will(
        ("calls", ("read_file", {"path": "a <img src=x>.md"})),
        ("calls", ("write_file", {"path": "out.md", "text": HOSTILE})),
        ("text", HOSTILE),
    )
    visit = look(online)
    give(visit, HOSTILE.replace("\n", " "))
    visit.page.locator("#approve").click(timeout=60_000)
    done(visit, "mistral-small-latest")
    for row in visit.page.locator("#steps summary").all():
        row.click()
    open_file(visit, "a <img src=x>.md")
    expect(visit.page.locator("#preview pre")).to_contain_text("script")
    assert visit.page.title() != "owned"
    assert visit.page.locator("#chat img, #steps img, #preview img").count() == 0


def test_a_picture_reaches_a_model_that_sees(
    online: App, model: Model, look: Look, tmp_path: Path
) -> None:
    model.will(("text", "A small picture."))
    visit = look(online)
    picture = tmp_path / "picture.png"
    visit.page.locator("#chat").screenshot(path=picture)
    drop(visit, picture)
    give(visit, "What do you see?")
    done(visit, "A small picture.")
    parts = model.heard()[-1]["messages"][-1]["content"]
    assert parts[1]["image_url"]["url"].startswith("data:image/")
