"""docs/doctor.md is made from the checks, and says of each what it asks."""

from conftest import ROOT

from hackkit.doctor.checks import all_checks
from hackkit.doctor.checks.__main__ import page

DOCS = ROOT / "docs" / "doctor.md"


def test_the_page_is_the_one_that_the_checks_make() -> None:
    fix = "uv run python -m hackkit.doctor.checks"
    assert DOCS.read_text("utf-8") == page(), f"Fix: {fix}"


def test_every_check_that_warns_or_fails_says_when() -> None:
    checks = all_checks()
    assert len(checks) > 20
    for check in checks:
        assert len(check.description.splitlines()) > 1, check.id
