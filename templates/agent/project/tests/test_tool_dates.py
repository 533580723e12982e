import re
from datetime import date, timedelta

import pytest

from agent.tools import ToolError
from agent.tools.dates import add_duration, days_between, today


def test_today_comes_with_weekday_time_and_zone() -> None:
    earliest = date.today()
    found = re.fullmatch(r"\w+day (\S+), \d\d:\d\d \(UTC[+-]\d{4}\)", today.invoke({}))
    assert found and earliest <= date.fromisoformat(found[1]) <= date.today()


def test_days_between_two_dates_are_counted() -> None:
    result = days_between.invoke({"start": "2026-11-25", "end": "2026-12-24"})
    assert result == "29 days from Wednesday 2026-11-25 to Thursday 2026-12-24"


def test_an_earlier_second_date_gives_a_negative_count() -> None:
    result = days_between.invoke({"start": "2026-03-01", "end": "2026-02-28T10:00"})
    assert result.startswith("-1 day from")


def test_words_for_days_are_understood() -> None:
    result = days_between.invoke({"start": "Yesterday", "end": "tomorrow"})
    assert result.startswith("2 days from")


@pytest.mark.parametrize(
    ("start", "amount", "unit", "end"),
    [
        ("2026-11-25", 10, "days", "2026-12-05"),
        ("2026-11-25", -1, "day", "2026-11-24"),
        ("2026-11-25", 2, "Weeks", "2026-12-09"),
        ("2026-01-31", 1, "month", "2026-02-28"),
        ("2026-01-31", -1, "months", "2025-12-31"),
        ("2026-11-25", 14, "months", "2028-01-25"),
        ("2024-02-29", 1, "years", "2025-02-28"),
        ("2024-02-29", 4, "years", "2028-02-29"),
    ],
)
def test_a_duration_is_added(start: str, amount: int, unit: str, end: str) -> None:
    result = add_duration.invoke({"start": start, "amount": amount, "unit": unit})
    assert result.split()[1] == f"{end},"


def test_days_are_the_default_unit() -> None:
    earliest = date.today()
    result = add_duration.invoke({"start": "today", "amount": 1})
    assert earliest < date.fromisoformat(result.split()[1][:10]) <= date.today() + timedelta(1)


@pytest.mark.parametrize("text", ["24.12.2026", "2026-02-30", "next week", ""])
def test_an_invalid_date_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ToolError, match="write it as 2026-11-25"):
        days_between.invoke({"start": text, "end": "today"})


def test_an_unknown_unit_names_the_known_ones() -> None:
    with pytest.raises(ToolError, match="days, weeks, months or years"):
        add_duration.invoke({"start": "today", "amount": 1, "unit": "fortnights"})


@pytest.mark.parametrize("unit", ["days", "weeks", "months", "years"])
def test_a_date_outside_the_calendar_is_refused(unit: str) -> None:
    with pytest.raises(ToolError, match="years 1 to 9999"):
        add_duration.invoke({"start": "today", "amount": 10**12, "unit": unit})
