"""Dates: today's date, the days between two dates, and a date plus a duration."""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta

from agent.tools import ToolError, tool

WORDS = {"yesterday": -1, "today": 0, "tomorrow": 1}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@tool
def today() -> str:
    """Get today's date, its weekday and the time. Use it when a task depends on now."""
    now = datetime.now().astimezone()
    return f"{_with_weekday(now.date())}, {now:%H:%M} (UTC{now:%z})"


@tool
def days_between(start: str, end: str) -> str:
    """Count the days from one date to another; negative if the second one is earlier.

    A date is written as 2026-11-25, or is one of the words today, tomorrow, yesterday.
    """
    first, last = _date(start), _date(end)
    days = (last - first).days
    unit = "day" if abs(days) == 1 else "days"
    return f"{days} {unit} from {_with_weekday(first)} to {_with_weekday(last)}"


@tool
def add_duration(start: str, days: int = 0, weeks: int = 0, months: int = 0) -> str:
    """Find the date that is some days, weeks and months after another date (before: negative).

    `start` is written as 2026-11-25, or is today, tomorrow or yesterday. One month after January
    31 is February 28.
    """
    first = _date(start)
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    try:
        length = calendar.monthrange(year, month + 1)[1]
        last = date(year, month + 1, min(first.day, length)) + timedelta(days=days, weeks=weeks)
    except (OverflowError, ValueError):
        raise ToolError("That date is outside the years 1 to 9999.") from None
    return f"{_with_weekday(last)}, counted from {_with_weekday(first)}"


def _date(text: str) -> date:
    word = text.strip().lower()
    if word in WORDS:
        return date.today() + timedelta(days=WORDS[word])
    try:
        return datetime.fromisoformat(word).date()
    except ValueError:
        raise ToolError(
            f"{text} is not a date: write it as 2026-11-25, or use today, tomorrow or yesterday."
        ) from None


def _with_weekday(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()]} {day.isoformat()}"  # %A would use the system's language
