"""Lists and numbers in a message: what is left out is counted."""

import pytest

from hackkit.system.wording import counted, first_of, listed


@pytest.mark.parametrize(
    ("items", "written"),
    [
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_a_list_says_how_many_items_it_leaves_out(items: list[str], written: str) -> None:
    assert listed(items, 2) == written


@pytest.mark.parametrize(
    ("messages", "written"),
    [(["a is b"], "a is b"), (["a is b", "c", "d"], "a is b (and 2 more)")],
)
def test_of_several_messages_the_first_is_written(messages: list[str], written: str) -> None:
    assert first_of(messages) == written


@pytest.mark.parametrize(
    ("number", "written"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (2000, "2,000 files")]
)
def test_one_thing_is_singular(number: int, written: str) -> None:
    assert counted(number, "file") == written
