"""Lists and numbers in a message: "a, b and 3 more", "a (and 3 more)", "2 files"."""

from collections.abc import Sequence


def listed(items: Sequence[str], most: int) -> str:
    """Write the first items, and how many more there are: "a, b and 3 more"."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")


def first_of(messages: Sequence[str]) -> str:
    """Write the first of several messages, and how many more there are: "a (and 3 more)"."""
    more = len(messages) - 1
    return messages[0] + (f" (and {more} more)" if more else "")


def counted(number: int, word: str) -> str:
    """Write a number with its word, singular or plural: "1 file", "2,000 files"."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"
