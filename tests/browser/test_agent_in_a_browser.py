"""What a visitor sees of an agent: steps, approvals, Stop, files and conversations."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

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

from hackkit import Plan, new_project

# Without a browser no project is made either: the fixture `browser` comes first.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("browser")]
pytest_plugins = ["visits"]

WRITES = 'Write "The kettle boils." to note.md.'
ASKING = "Please approve or reject it"
LIVE = "img, script, video, iframe, style, svg[onload], a[href^=javascript]"
# Diagrams and formulas may load or run something, too.
TRICKS = (
    HOSTILE
    + r"""
```mermaid
flowchart LR
    A@{ img: "http://outside.example/12.png" } --> B["<img src='http://outside.example/13.png'>"]
```

$$\href{javascript:document.title='owned'}{x} \includegraphics{http://outside.example/14.png}$$
"""
)
HALF = "\ud83d"  # of a character: it cannot be written to a file, or sent


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


@pytest.fixture
def cut_off(project: Path, tmp_path: Path) -> Iterator[App]:
    """Start an app whose model server does not run."""
    unserved = {"MISTRAL_API_KEY": KEY, "MISTRAL_SERVER_URL": f"http://127.0.0.1:{free_port()}"}
    app = App(project, tmp_path, unserved).start()
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
    """Return the model without replies: each test sets its own."""
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


def tab(visit: Visit, name: str) -> None:
    visit.page.get_by_role("tab", name=name).click()


def open_file(visit: Visit, name: str) -> None:
    tab(visit, "Files")
    visit.page.locator("#files label", has_text=name).click()


def stop(visit: Visit) -> Locator:
    return visit.page.get_by_role("button", name="Stop")


def approval(visit: Visit) -> Locator:
    """Wait for the card of a call that waits."""
    expect(visit.answers.last).to_contain_text(ASKING, timeout=60_000)
    card = visit.page.locator("#approval").first
    expect(card).to_contain_text("wants to run write_file")
    return card


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


def test_an_example_task_waits_until_the_page_is_loaded(offline: App, look: Look) -> None:
    visit = look(offline)
    visit.page.route("**/queue/join*", lambda _: None)
    visit.page.reload()
    example = visit.page.locator("#chat .example").first
    expect(example).to_have_css("pointer-events", "none")
    visit.page.unroute("**/queue/join*")  # what was held back goes on
    example.click()
    done(visit, "434")


def test_an_edited_text_is_what_is_written(
    offline: App, look: Look, photograph: Photograph
) -> None:
    visit = look(offline)
    give(visit, WRITES)
    card = approval(visit)
    photograph(visit, "agent-approval")
    expect(card.get_by_label("path", exact=True)).to_have_value("note.md")
    expect(card.get_by_label("text", exact=True)).to_have_value("The kettle boils.")
    assert not (offline.folder / "workspace" / "note.md").exists()
    card.get_by_label("text", exact=True).fill("The tea is ready.")
    visit.page.locator("#approve").click()
    done(visit, "Made note.md")
    expect(card).to_be_hidden()
    expect(visit.page.locator("#steps .done")).to_contain_text("edited")
    photograph(visit, "agent-edited")
    open_file(visit, "note.md")
    expect(visit.page.locator("#preview pre")).to_have_text("The tea is ready.")
    photograph(visit, "agent-files")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download").click()
    assert download.value.path().read_text("utf-8") == "The tea is ready."


def test_a_refusal_leaves_no_file_and_its_reason_in_the_steps(offline: App, look: Look) -> None:
    visit = look(offline)
    give(visit, 'Write "No." to refused.md.')
    approval(visit).get_by_label("Reason, if you reject").fill("not on my watch")
    visit.page.locator("#refuse").click()
    done(visit, "not on my watch")
    expect(visit.page.locator("#steps .refused")).to_contain_text("“not on my watch”")
    tab(visit, "Files")
    expect(visit.page.locator("#files label")).not_to_have_count(0)
    expect(visit.page.locator("#files")).not_to_contain_text("refused.md")
    assert not (offline.folder / "workspace" / "refused.md").exists()


def test_a_dropped_file_is_read_and_a_picture_gets_a_plain_line(
    offline: App, look: Look, tmp_path: Path
) -> None:
    (tmp_path / "kites.txt").write_text("A kite wants a steady wind.", encoding="utf-8")
    visit = look(offline)
    drop(visit, tmp_path / "kites.txt")
    give(visit, "Read it.")
    done(visit, "steady wind")
    tab(visit, "Files")
    expect(visit.page.locator("#files")).not_to_contain_text("kites.txt")  # nor for others
    tab(visit, "Steps")
    (tmp_path / "dot.gif").write_bytes(b"GIF89a broken")
    drop(visit, tmp_path / "dot.gif")
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    expect(visit.page.locator("#steps .notice")).to_contain_text("dot.gif needs a model")


def test_each_browser_has_its_own_conversations(offline: App, look: Look) -> None:
    one, other = look(offline), look(offline)
    give(one, "What is 6 * 7?")
    done(one, "42")
    expect(other.answers).to_have_count(0)
    for visit, count in ((one, 1), (other, 0)):
        tab(visit, "Conversations")
        expect(visit.page.locator("#past label")).to_have_count(count)
    for _ in range(2):
        one.page.get_by_role("button", name="New").click()
        expect(one.answers).to_have_count(0)
        one.page.locator("#past label").click()
        expect(one.answers.last).to_contain_text("42")
    one.page.get_by_role("button", name="Delete this one").click()
    expect(one.page.locator("#past label")).to_have_count(0)
    expect(one.answers).to_have_count(0)


def test_a_card_in_a_second_page_decides_on_no_other_call(mortal: App, browser: Browser) -> None:
    one = Visit.begin(browser, mortal)
    give(one, 'Write "First." to first.md.')
    approval(one)
    other = one.page.context.new_page()
    other.goto(mortal.url)
    other.get_by_role("tab", name="Conversations").click()
    other.locator("#past label").click()
    expect(other.locator("#approval").first).to_contain_text("wants to run write_file")
    one.page.locator("#refuse").click()
    done(one, "you rejected it")
    give(one, 'Write "Second." to second.md.')
    approval(one)
    other.get_by_label("text", exact=True).fill("Edited.")
    other.locator("#approve").click()
    expect(other.get_by_label("path", exact=True)).to_have_value("second.md", timeout=30_000)
    expect(other.get_by_label("text", exact=True)).to_have_value("Second.")
    files = mortal.folder / "workspace"
    assert not [name for name in ("first.md", "second.md") if (files / name).exists()]
    other.locator("#approve").click()
    expect(other.locator("#approval").first).to_be_hidden(timeout=30_000)
    assert (files / "second.md").read_text("utf-8") == "Second."
    assert not (files / "first.md").exists()
    one.page.context.close()


def test_a_page_in_the_workspace_is_downloaded_and_never_opened(offline: App, look: Look) -> None:
    evil = "<p>Hello</p><script>document.title = 'owned'</script>"
    (offline.folder / "workspace" / "evil.html").write_text(evil, encoding="utf-8")
    visit = look(offline)
    open_file(visit, "evil.html")
    with visit.page.expect_download() as download:
        visit.page.get_by_role("button", name="Download").click()
    with visit.page.expect_download() as again:  # also at its own address
        visit.page.evaluate("url => { location = url }", download.value.url)
    assert again.value.path().read_text("utf-8") == evil
    assert visit.page.title() == "Agent at work"


def test_what_waits_is_still_there_after_a_power_cut(mortal: App, browser: Browser) -> None:
    visit = Visit.begin(browser, mortal)
    give(visit, WRITES)
    approval(visit)
    mortal.kill()
    mortal.start()
    visit.page.goto(mortal.url)
    tab(visit, "Conversations")
    visit.page.locator("#past label").click()
    expect(approval(visit).get_by_label("text", exact=True)).to_have_value("The kettle boils.")
    visit.page.locator("#approve").click()
    done(visit, "Made note.md")
    assert (mortal.folder / "workspace" / "note.md").read_text("utf-8") == "The kettle boils."
    assert visit.outside == []
    visit.page.context.close()


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked to end there")
def test_the_app_ends_without_a_word_while_a_page_is_open(mortal: App, browser: Browser) -> None:
    visit = Visit.begin(browser, mortal)
    assert mortal.end() == 0
    assert mortal.log == f"Open {mortal.url}/\n"
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
    visit.page.goto(page.as_uri())
    expect(visit.page.locator(".timeline")).to_contain_text("calculate")
    visit.page.locator(".timeline summary").click()
    expect(visit.page.locator(".timeline pre").last).to_have_text("42")
    photograph(visit, "agent-report")
    assert visit.outside == [page.as_uri()]
    visit.outside.clear()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_its_window_and_the_card_is_in_reach(
    offline: App, look: Look, photograph: Photograph, size: tuple[int, int], *, dark: bool
) -> None:
    visit = look(offline, size, dark=dark)
    name = f"agent-{'phone' if size == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    expect(visit.box).to_be_in_viewport()
    widths = [visit.widths()]
    photograph(visit, f"{name}-welcome")
    give(visit, WRITES)
    approval(visit)
    expect(visit.page.locator("#approve")).to_be_in_viewport()
    widths.append(visit.widths())
    photograph(visit, f"{name}-card")
    visit.page.locator("#refuse").click()
    done(visit, "you rejected it")
    tab(visit, "Conversations")
    widths.append(visit.widths())
    open_file(visit, "feedback.csv")
    expect(visit.page.locator("#preview pre")).to_be_visible()
    widths.append(visit.widths())
    visit.page.locator("#preview").scroll_into_view_if_needed()
    photograph(visit, f"{name}-files")
    assert all(wide <= window for wide, window in widths)


# With a model


def test_words_and_calls_are_shown_while_the_run_goes_on(
    online: App, model: Model, look: Look
) -> None:
    model.will(
        ("calls", ("calculate", {"expression": "2 * 21"})),
        ("slowly", "It is " + "very " * 40, 0.05),
    )
    visit = look(online)
    give(visit, "What is 2 * 21?")
    expect(visit.answers.last).to_contain_text("very very", timeout=60_000)
    assert rows(visit) == ["calculate"]
    expect(stop(visit)).to_be_visible()
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
    stop(visit).click(timeout=60_000)
    done(visit, "Stopped by you.")
    model.will(("text", "Here I am."))
    give(visit, "Still there?")
    done(visit, "Here I am.")


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked to end there")
def test_a_run_that_the_app_s_end_stops_is_kept(
    project: Path, model: Model, browser: Browser, tmp_path: Path
) -> None:
    app = App(project, tmp_path, model.settings()).start()
    model.will(("slowly", "word " * 300, 0.1))
    visit = Visit.begin(browser, app)
    give(visit, "Take your time.")
    expect(visit.answers.last).to_contain_text("word word", timeout=60_000)
    assert app.end() == 0
    app.start()
    visit.page.goto(app.url)
    tab(visit, "Conversations")
    visit.page.locator("#past label").click()
    expect(visit.answers.last).to_contain_text("Stopped by you.")
    model.will(("text", "Here I am."))
    give(visit, "Still there?")
    done(visit, "Here I am.")
    assert "Take your time." in str(model.received()[-1]["messages"])
    visit.page.context.close()
    app.kill()


def test_a_model_that_fails_is_stood_in_for(
    online: App, model: Model, look: Look, photograph: Photograph
) -> None:
    model.answer_with(500)
    visit = look(online)
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    expect(visit.answers.last.locator(".by")).to_contain_text("service has a problem")
    expect(visit.page.locator("#steps .notice")).to_contain_text("continues in offline mode")
    expect(visit.badge).to_have_text("Offline stand-in")
    photograph(visit, "agent-fallback")
    model.will(("text", "Back again."))
    give(visit, "And now?")
    done(visit, "Back again.")
    expect(visit.badge).to_have_text("mistral-small-latest")
    assert "Traceback" not in online.log


def test_a_model_that_cannot_be_reached_is_stood_in_for(cut_off: App, look: Look) -> None:
    visit = look(cut_off)
    give(visit, "What is 2 * 21?")
    done(visit, "42")
    expect(visit.answers.last.locator(".by")).to_contain_text("could not be reached")
    give(visit, "What is 3 * 21?")
    done(visit, "63")


def test_a_new_conversation_leaves_the_old_run_behind(
    online: App, model: Model, look: Look
) -> None:
    model.will(("slowly", "word " * 300, 0.1))
    visit = look(online)
    give(visit, "Take your time.")
    expect(visit.answers.last).to_contain_text("word word", timeout=60_000)
    tab(visit, "Conversations")
    visit.page.get_by_role("button", name="New").click()
    expect(visit.answers).to_have_count(0)
    model.will(("text", "Here I am."))
    give(visit, "Still there?")
    done(visit, "Here I am.")
    expect(visit.answers).to_have_count(1)
    expect(visit.page.locator("#past label")).to_have_count(2)  # it is filled when a run is over
    visit.page.locator("#past label", has_text="Take your time.").click()
    expect(visit.answers.last).to_contain_text("Stopped by you.")
    visit.page.get_by_role("button", name="Delete this one").click()
    expect(visit.page.locator("#past label")).to_have_count(1)


def test_a_task_that_comes_too_early_leaves_the_run_to_be_stopped(
    online: App, model: Model, look: Look
) -> None:
    model.will(("calls", ("write_file", {"path": "early.md", "text": "Hm."})), ("hanging",))
    visit = look(online)
    give(visit, "Write a note.")
    approval(visit)
    visit.page.locator("#approve").click()
    expect(stop(visit)).to_be_visible(timeout=60_000)
    give(visit, "And another thing.")
    notice = visit.page.locator("#steps .notice")
    expect(notice).to_contain_text("still busy", timeout=60_000)
    stop(visit).click()
    expect(visit.answers.last).to_contain_text("Stopped by you.")


def test_nothing_that_a_model_or_a_file_says_is_live(
    online: App, model: Model, look: Look, photograph: Photograph
) -> None:
    name = "a <img src=x onerror=alert(1)>.md"
    (online.folder / "workspace" / name).write_text(TRICKS, encoding="utf-8")
    model.will(
        ("calls", ("read_file", {"path": name})),
        ("calls", ("write_file", {"path": "out.md", "text": TRICKS, TRICKS: "1"})),
        ("text", TRICKS),
    )
    visit, dialogs = look(online), list[str]()
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    give(visit, TRICKS.replace("\n", " "))
    card = approval(visit)
    expect(card.get_by_label("text", exact=True)).to_have_value(TRICKS)
    assert card.locator(LIVE).count() == 0
    visit.page.locator("#approve").click()
    done(visit, "mistral-small-latest")
    for row in visit.page.locator("#steps summary").all():
        row.click()
    expect(visit.page.locator("#steps pre").first).to_be_visible()
    photograph(visit, "agent-hostile")
    tab(visit, "Conversations")
    expect(visit.page.locator("#past label")).to_have_count(1)
    open_file(visit, name)
    expect(visit.page.locator("#preview pre")).to_contain_text("</script>")
    for place in ("#chat .message-content", "#steps", "#preview", "#files", "#past"):
        assert visit.page.locator(place).locator(LIVE).count() == 0, place
    assert visit.page.title() == "Agent at work"
    assert dialogs == []


def test_half_a_character_does_not_break_the_page(online: App, model: Model, look: Look) -> None:
    model.will(
        ("calls", ("write_file", {"path": "half.md", "text": HALF, HALF: HALF})),
        ("text", f"Half a face: {HALF}"),
    )
    visit = look(online)
    give(visit, "Smile.")
    approval(visit)
    visit.page.locator("#approve").click()
    done(visit, "Half a face: ?")


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
    parts = model.received()[-1]["messages"][-1]["content"]
    assert parts[1]["image_url"]["url"].startswith("data:image/")
