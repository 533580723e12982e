"""What is only rendered, and not installed: names of any length, and slots that bring no code."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from combinations import NAMES, is_plain, values_of

from hackkit import Plan, new_project
from hackkit.project.catalog import Catalog, Template

TEMPLATES = Catalog.here().templates


def rendered(folder: Path, template: str, **answers: str) -> Path:
    plan = Plan(folder, template=template, answers=answers, git=False, install=False)
    return new_project(plan).directory


def plain_values() -> Iterator[tuple[str, str, str]]:
    """Read the folders: every template with every value of its slots that bring no code."""
    for template in TEMPLATES:
        for slot in filter(is_plain, template.slots):
            for value in values_of(slot):
                yield template.name, slot.name, value


@pytest.mark.parametrize(("template", "slot", "value"), list(plain_values()))
def test_a_slot_without_code_changes_no_code(
    tmp_path: Path, template: str, slot: str, value: str
) -> None:
    default = rendered(tmp_path / "default" / "x", template)
    chosen = rendered(tmp_path / "chosen" / "x", template, **{slot: value})
    answers = yaml.safe_load((chosen / ".hackkit.yml").read_text("utf-8"))
    assert answers[slot] == value
    code = {path.relative_to(chosen) for path in chosen.rglob("*.py")}
    assert len(code) > 10
    for path in (*code, Path("pyproject.toml")):
        assert (chosen / path).read_bytes() == (default / path).read_bytes(), path


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda item: item.name)
def test_a_licence_is_a_file_and_a_line_of_the_header(tmp_path: Path, template: Template) -> None:
    for licence, title in {"mit": "MIT License", "apache-2.0": "Apache License"}.items():
        folder = rendered(tmp_path / licence, template.name, license=licence)
        assert title in (folder / "LICENSE").read_text("utf-8")
        assert f"\nlicense: {licence}\n" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda item: item.name)
def test_no_licence_leaves_nothing(tmp_path: Path, template: Template) -> None:
    folder = rendered(tmp_path / "x", template.name, license="none")
    assert not (folder / "LICENSE").exists()
    assert "license:" not in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES, ids=len)
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda item: item.name)
def test_a_name_of_any_length_leaves_the_code_clean_and_formatted(
    tmp_path: Path, template: Template, name: str
) -> None:
    folder = rendered(tmp_path / name, template.name)
    for words in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "."],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
