"""Every template stays small enough to be read: tests/support/budgets.py has the numbers."""

from pathlib import Path

import pytest
from budgets import BUDGETS, EXEMPTIONS, Exemption, Size, measure, needed, shown, table
from conftest import write

from hackkit import Plan, new_project
from hackkit.project.catalog import Catalog

TEMPLATES = [template.name for template in Catalog.here().templates]


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Size]:
    """Render every template with its default answers, and count it."""
    parent = tmp_path_factory.mktemp("budgets")
    plans = [Plan(parent / name, template=name, git=False, install=False) for name in TEMPLATES]
    return {plan.template: measure(new_project(plan).directory) for plan in plans}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_keeps_to_its_budget(sizes: dict[str, Size], template: str) -> None:
    rows = table(template, sizes[template])
    assert not [row for row in rows if row.over], "\n" + shown(rows, sizes[template].private)


def test_every_template_has_a_budget_and_every_exemption_a_reason() -> None:
    assert set(TEMPLATES) == set(BUDGETS)
    assert all(each.reason for each in EXEMPTIONS)


def test_no_exemption_is_left_that_nothing_needs(sizes: dict[str, Size]) -> None:
    unneeded = [
        each.where
        for each in EXEMPTIONS
        if not any(needed(each, size) for size in sizes.values())
    ]
    assert unneeded == []


@pytest.fixture
def small(tmp_path: Path) -> Size:
    """Count a small project with a function of 30 lines, and with tests that know too much."""
    long = "".join(f"    x = {number}\n" for number in range(29))
    write(tmp_path / "app.py", f"class App:\n    name = 1\n\n\ndef build():\n{long}")
    write(tmp_path / ".venv" / "lib" / "other.py", "x = 1\n" * 9000)
    lines = [
        "import app, os",
        "from app import _screen",
        "app._screen()",
        "app.App()._window",
        'monkeypatch.setattr(app, "_screen", 1)',
        "app.__name__",
        "own._x",
        "os._exit(1)",
    ]
    write(tmp_path / "tests" / "test_app.py", "\n".join(lines))
    return measure(tmp_path)


def test_what_is_over_is_named(small: Size) -> None:
    over = [(row.what, row.count) for row in table("rag-app", small) if row.over]
    assert over == [("private names in tests", 4), ("app.py:build", 30)]
    assert [place.split(": ")[0] for place in small.private] == [
        f"tests/test_app.py:{line}" for line in (2, 3, 4, 5)
    ]


def test_an_exemption_allows_one_function_as_many_lines_as_it_says(small: Size) -> None:
    for lines, over in ((30, []), (29, ["app.py:build"])):
        row = Exemption("app.py:build", lines, "a reason")
        names = [each.what for each in table("rag-app", small, (row,)) if each.over]
        assert [name for name in names if name.startswith("app")] == over
        assert needed(row, small)
    assert not needed(Exemption("app.py", 300, "a reason"), small)
