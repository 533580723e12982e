"""The README's header: what Hugging Face takes for a Space, and what it does not."""

from pathlib import Path

import pytest
from projects import context, write

from hackkit.doctor.checks import space_header
from hackkit.doctor.findings import Status
from hackkit.project.lockfile import locked_version
from hackkit.services.space_header import HeaderIssue, issues, parse_header

GOOD = {
    "title": "My app",
    "emoji": "📚",
    "colorFrom": "yellow",
    "colorTo": "red",
    "sdk": "gradio",
    "sdk_version": "6.31.0",
    "python_version": "3.11",
    "app_file": "app.py",
    "license": "mit",
    "short_description": "Answers questions",
}
README = """---
title: My app
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
---

# My app
"""
LOCK = (
    '[[package]]\nname = "gradio"\nversion = "6.31.0"\n\n[[package]]\nname = "x"\nversion = "1"\n'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, {"app.py": "", "uv.lock": LOCK, "README.md": README})
    write(tmp_path, {"pyproject.toml": '[project]\nrequires-python = ">=3.11"\n'})
    return tmp_path


def wrong(folder: Path, **changes: object) -> list[HeaderIssue]:
    """Return the problems of a good header with some keys changed; None removes a key."""
    header = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return issues(header, "6.31.0", folder)


def test_a_good_header_has_no_problems(folder: Path) -> None:
    assert not wrong(folder)


@pytest.mark.parametrize("emoji", ["📚", "❤️", "🇫🇷", "1️⃣", "👍🏽", "👨‍👩‍👧", "‼️"])
def test_one_emoji_is_one_however_it_is_made_up(folder: Path, emoji: str) -> None:
    assert not wrong(folder, emoji=emoji)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("title", None),
        ("title", " "),
        ("emoji", "🚀🔥"),
        ("emoji", "book"),
        ("emoji", ":-)"),
        ("emoji", ""),
        ("colorFrom", "orange"),
        ("colorTo", "Red"),
        ("sdk", "streamlit"),
        ("sdk", None),
        ("sdk_version", None),
        ("sdk_version", 6.31),
        ("sdk_version", "6.31"),
        ("sdk_version", "6.30.0"),
        ("python_version", None),
        ("python_version", 3.1),
        ("python_version", "3.10"),
        ("python_version", "latest"),
        ("app_file", "main.py"),
        ("app_port", "http"),
        ("app_port", 70000),
        ("license", "MIT"),
        ("license", "Apache 2.0"),
        ("license", ["mit", ""]),
        ("pinned", "yes"),
        ("short_description", "x" * 61),
    ],
)
def test_a_wrong_value_is_named_with_its_key(folder: Path, key: str, value: object) -> None:
    assert [problem.key for problem in wrong(folder, **{key: value})] == [key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("python_version", 3.11),
        ("python_version", "3.13.2"),
        ("short_description", "x" * 60),
        ("license", ["mit", "cc-by-4.0"]),
        ("emoji", None),
        ("license", None),
        ("models", ["mistralai/x"]),
        ("my_own_key", "anything"),
    ],
)
def test_a_right_or_unknown_value_is_left_alone(folder: Path, key: str, value: object) -> None:
    assert not wrong(folder, **{key: value})


def test_a_licence_is_answered_with_its_id(folder: Path) -> None:
    (problem,) = wrong(folder, license="Apache 2.0")
    assert str(problem) == 'license is "Apache 2.0", not an id such as apache-2.0'


def test_a_misspelt_key_is_answered_with_the_right_one(folder: Path) -> None:
    (problem,) = wrong(folder, colourFrom="red")
    assert str(problem) == "the key colourFrom is unknown to Spaces, not spelt colorFrom"


def test_a_docker_space_needs_a_dockerfile_and_no_version(folder: Path) -> None:
    changes = {"sdk": "docker", "sdk_version": None, "python_version": None, "app_file": None}
    assert [problem.key for problem in wrong(folder, **changes)] == ["sdk"]
    write(folder, {"Dockerfile": "FROM scratch\n"})
    assert not wrong(folder, **changes)


def test_without_a_lock_any_full_version_will_do(folder: Path) -> None:
    assert not issues({**GOOD, "sdk_version": "5.0.1"}, "", folder)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_header_is_read_with_any_line_ends(ending: str) -> None:
    assert parse_header(README.replace("\n", ending)).values["sdk"] == "gradio"


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("# My app\n", "has no header between two lines ---"),
        ("---\ntitle: My app\n", "has no header between two lines ---"),
        ("---\ntitle: a\nsdk: [\n---\n", "has a header that is not YAML (line 4)"),
        ("---\njust words\n---\n", "has a header without keys"),
    ],
)
def test_a_header_that_cannot_be_read_is_explained(text: str, trouble: str) -> None:
    assert parse_header(text).error == trouble


def test_the_locks_version_is_read(folder: Path) -> None:
    assert locked_version(folder, "gradio") == "6.31.0"
    assert locked_version(folder, "torch") == ""


def test_no_lock_has_no_version(tmp_path: Path) -> None:
    assert locked_version(tmp_path, "gradio") == ""


def test_a_good_space_is_well(folder: Path) -> None:
    finding = space_header.check(context(folder))
    assert (finding.status, finding.message) == (Status.OK, "valid, gradio 6.31.0")


def test_a_wrong_key_is_answered_with_what_it_must_be(folder: Path) -> None:
    write(folder, {"README.md": README.replace("6.31.0", "6.30.0").replace("title", "titel")})
    finding = space_header.check(context(folder))
    assert finding.status is Status.WARN
    assert finding.message == 'sdk_version is "6.30.0", not 6.31.0 as in uv.lock (and 2 more)'
    assert finding.fix == "edit README.md: sdk_version must be 6.31.0 as in uv.lock"
    assert finding.details[0] == "title is not set, not the app's name"


def test_a_readme_without_a_header_is_warned_about(folder: Path) -> None:
    write(folder, {"README.md": "# My app\n"})
    finding = space_header.check(context(folder))
    assert finding.status is Status.WARN
    assert finding.fix.startswith("open https://")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"])
def test_without_a_readme_nothing_is_looked_at(folder: Path, content: bytes | None) -> None:
    (folder / "README.md").unlink()
    if content:
        write(folder, {"README.md": content})
    assert space_header.check(context(folder)).status is Status.SKIP
