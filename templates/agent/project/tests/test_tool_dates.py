from datetime import date

import pytest

from agent.tools import ToolError
from agent.tools.dates import days_between, today


def test_today_has_its_weekday_and_the_time() -> None:
    text = today.invoke({})
    assert date.today().isoformat() in text
    assert ":" in text and "UTC" in text


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        ("2026-11-25", "2026-12-24", "29 days from Wednesday 2026-11-25 to Thursday 2026-12-24"),
        ("2026-11-25", "2026-11-24", "-1 day from Wednesday 2026-11-25 to Tuesday 2026-11-24"),
        ("2024-02-28", "2024-03-01", "2 days from Wednesday 2024-02-28 to Friday 2024-03-01"),
    ],
)
def test_days_are_counted(start: str, end: str, text: str) -> None:
    assert days_between.invoke({"start": start, "end": end}) == text


def test_words_for_dates_are_understood() -> None:
    assert days_between.invoke({"start": "Yesterday", "end": "tomorrow"}).startswith("2 days")


def test_what_is_no_date_says_how_to_write_one() -> None:
    with pytest.raises(ToolError, match="write it as 2026-11-25"):
        days_between.invoke({"start": "25.11.2026", "end": "today"})
