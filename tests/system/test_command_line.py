"""Commands as text: they can be typed where they are said to be typed."""

import sys
from pathlib import Path

import pytest

from hackkit.system.command_line import hackkit


def test_a_command_is_written_as_this_one_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    assert hackkit("doctor", "--only", "uv") == "hackkit doctor --only uv"
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    assert hackkit("doctor") == "uv run hackkit doctor"


def test_in_a_project_uv_is_told_where_hackkit_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    checkout = Path(sys.prefix).parent
    assert hackkit("list", folder=checkout / "examples") == "uv run hackkit list"
    assert hackkit("list", folder=tmp_path) == f"uv run --project {checkout} hackkit list"
