"""docs/doctor.md is made from the checks, and says of each what it asks."""

import subprocess
import sys

from conftest import ROOT

from hackkit.doctor.checks import all_checks

DOCS = ROOT / "docs" / "doctor.md"


def test_the_page_is_the_one_that_the_checks_make() -> None:
    made = subprocess.run(
        [sys.executable, "-m", "hackkit.doctor.checks"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    fix = "uv run python -m hackkit.doctor.checks > docs/doctor.md"
    assert DOCS.read_text("utf-8") == made, f"Fix: {fix}"


def test_every_check_that_warns_or_fails_says_when() -> None:
    checks = all_checks()
    assert len(checks) > 20
    for check in checks:
        assert len(check.description.splitlines()) > 1, check.id
