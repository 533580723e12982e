"""Dates: today's date, and the days between two dates."""

from __future__ import annotations

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
