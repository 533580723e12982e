"""Dates: today's date, the days between two dates, and a date plus a duration."""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta

from agent.tools import ToolError, tool

WORDS = {"yesterday": -1, "today": 0, "tomorrow": 1}
UNITS = {"day": 1, "week": 7, "month": 1, "year": 12}  # in days, and in months


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
    return f"{_counted(days, 'day')} from {_with_weekday(first)} to {_with_weekday(last)}"


@tool
def add_duration(start: str, amount: int, unit: str = "days") -> str:
    """Find the date that is some days, weeks, months or years after (or before) another date.

    `start` is written as 2026-11-25, or is today, tomorrow or yesterday; a negative `amount` goes
    back; `unit` is days, weeks, months or years. One month after January 31 is February 28.
    """
    first, one = _date(start), unit.strip().lower().removesuffix("s")
    if one not in UNITS:
        raise ToolError(f"There is no unit {unit}: use days, weeks, months or years.")
    try:
        if one in ("day", "week"):
            last = first + timedelta(days=amount * UNITS[one])
        else:
            last = _months_later(first, amount * UNITS[one])
    except (OverflowError, ValueError):
        raise ToolError("That date is outside the years 1 to 9999.") from None
    return f"{_with_weekday(last)}, {_counted(amount, one)} from {_with_weekday(first)}"


def _months_later(day: date, months: int) -> date:
    """The same day of another month, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    length = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(day.day, length))


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
    weekdays = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    return f"{weekdays[day.weekday()]} {day.isoformat()}"  # %A would use the system's language


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if abs(number) == 1 else f"{number} {unit}s"
