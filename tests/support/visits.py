"""A browser, pages in it that may not misbehave, and pictures of them: fixtures for the tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_app import DESKTOP, App, Look, Photograph, Visit, chromium, find_chromium
from conftest import lacking
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not find_chromium():
        lacking("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with chromium() as browser:
        yield browser


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Open pages; when the test is over, none may have asked for the world or complained."""
    visits: list[Visit] = []

    def begin(app: App, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> Visit:
        visits.append(Visit.begin(browser, app, size, dark=dark))
        return visits[-1]

    yield begin
    for visit in visits:
        visit.page.context.close()
        assert visit.outside == []
        assert visit.complaints == []


@pytest.fixture
def photograph(tmp_path: Path) -> Photograph:
    """Keep a picture of the page; in the folder HACKKIT_SCREENSHOTS where that is set."""
    wanted = os.environ.get("HACKKIT_SCREENSHOTS")
    folder = Path(wanted or tmp_path)

    def take(visit: Visit, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if wanted:
            visit.page.wait_for_timeout(700)  # for what still fades in or out
        visit.page.screenshot(path=folder / f"{name}.png")

    return take
