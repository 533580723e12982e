"""What an example changes in its template's files: defaults in settings.py, and lines."""

import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from conftest import files, git, write

from hackkit import HackkitError, Plan, new_project
from hackkit.new import patches, settings_file
from hackkit.project.catalog import Catalog
from hackkit.system.command_line import hackkit

SETTINGS = '''\
"""All settings."""


class Settings(BaseSettings):
    """Größe: the accents count as one column."""

    # What people see
    title: str = "Ask"  # on the page
    tagline: str = (
        "A sentence that is long enough to need two lines, because all of it would not fit on one "
        "line of the file."
    )
    examples: tuple[str, ...] = ("One?", "Two?")
    port: int = Field(default=0, ge=0)  # 0: a free one
    host: str = os.environ.get("HOST", "127.0.0.1")
    prices: dict[str, float] = {}
    model: str


class Other:
    title: str = "not this one"
'''
APP = "".join(f"line {number}\n" for number in range(20))
PATCH = """\
--- a/app.py
+++ b/app.py
@@ -3,5 +3,6 @@
 line 2
 line 3
-line 4
+line four
+a new line
 line 5
 line 6
"""


def changed(name: str, value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - of several types
    """Write one default; return the lines that it took away and put in their place."""
    after = settings_file.with_default(name, value, SETTINGS)
    patch = patches.diff("settings.py", SETTINGS, after) if after != SETTINGS else ""
    lines = [line for line in patch.splitlines() if line[:3] not in {"---", "+++", "@@ "}]
    return [(line[0], line[1:].strip()) for line in lines if line[0] in "+-"]


# settings.py


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("title", "Tutor", 'title: str = "Tutor"  # on the page'),
        ("title", 'Say "hi"', "title: str = 'Say \"hi\"'  # on the page"),
        ("title", "It's \"\n", 'title: str = "It\'s \\"\\n"  # on the page'),
        ("examples", [], "examples: tuple[str, ...] = ()"),
        ("port", 7860, "port: int = Field(default=7860, ge=0)  # 0: a free one"),
        ("host", "0.0.0.0", 'host: str = "0.0.0.0"'),  # noqa: S104 - only a text here
    ],
)
def test_a_default_is_replaced_in_its_line(name: str, value: Any, line: str) -> None:  # noqa: ANN401
    [removed, added] = changed(name, value)
    assert removed[0] == "-"
    assert added == ("+", line)


def test_a_list_has_a_line_for_each_item() -> None:
    added = [line for sign, line in changed("examples", ["One?", "Ünd zwei?"]) if sign == "+"]
    assert added == ["examples: tuple[str, ...] = (", '"One?",', '"Ünd zwei?",', ")"]


def test_a_long_text_is_broken_behind_a_space_and_keeps_every_character() -> None:
    text = "Checkout has been failing, and nothing  in the logs says why: " * 3
    after = settings_file.with_default("examples", [text, "Short?"], SETTINGS)
    after = settings_file.with_default("tagline", text, after)
    assert max(map(len, after.splitlines())) <= 100
    found = settings_file.defaults(after)
    ruff = (sys.executable, "-m", "ruff", "format", "--diff", "--line-length", "100", "-")
    assert subprocess.run(ruff, input=after.encode(), check=False).returncode == 0
    assert (found["examples"], found["tagline"]) == ([text, "Short?"], text)


def test_what_it_reads_is_what_example_toml_can_hold() -> None:
    assert settings_file.defaults(SETTINGS) == {
        "title": "Ask",
        "tagline": "A sentence that is long enough to need two lines, because all of it would not "
        "fit on one line of the file.",
        "examples": ["One?", "Two?"],
        "port": 0,
    }


@pytest.mark.parametrize("name", ["model", "no_such", "prices.x"])
def test_a_field_without_a_default_is_refused(name: str) -> None:
    with pytest.raises(HackkitError, match=f'no field "{name}"'):
        settings_file.with_default(name, "x", SETTINGS)


# Patches


def test_a_hunk_finds_its_lines_wherever_they_are() -> None:
    [hunk] = patches.read(PATCH)["app.py"]
    before = f"a new head\n{APP}"
    assert patches.apply(hunk, before) == before.replace("line 4\n", "line four\na new line\n")


@pytest.mark.parametrize(
    ("text", "times"),
    [(APP.replace("line 6", "line six"), 0), (APP + APP, 2), (APP.replace("line 2", "line  2"), 0)],
)
def test_a_hunk_whose_lines_are_not_there_once_is_refused(text: str, times: int) -> None:
    [hunk] = patches.read(PATCH)["app.py"]
    with pytest.raises(HackkitError, match=f"{times} times, not once:\n line 2"):
        patches.apply(hunk, text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (APP, f"first\n{APP}last\n"),
        ("same\n" * 30, "same\n" * 11 + "new\n" + "same\n" * 19),  # more context than usual
        ("", "new\n"),
        ("a\n\fb\u2028c\n", "a\n\fB\u2028c\n"),  # these do not end a line
        ("-- a comment\n", "--- a/another\n"),
    ],
)
def test_what_is_made_applies(before: str, after: str) -> None:
    hunks = patches.read(patches.diff("a b.sql", before, after))["a b.sql"]
    assert reduce(lambda text, hunk: patches.apply(hunk, text), hunks, before) == after


def test_what_no_patch_can_say_is_refused() -> None:
    with pytest.raises(HackkitError, match="cannot be written as a patch"):
        patches.diff("app.py", "no newline at the end", "none here either")


# In `hackkit new`


@pytest.fixture
def ours(catalog: Catalog) -> Catalog:
    """Add an example to the tiny template: one default, and one line of its app."""
    project = catalog.templates_folder / "tiny" / "project"
    write(project / "app.py", APP)
    write(project / "tiny" / "settings.py", SETTINGS)
    write(project / "tiny" / "__main__.py", "")
    example = catalog.examples_folder / "ours"
    about = 'template = "tiny"\nsummary = "Ours."\nremove = [".env.example"]\n'
    write(example / "example.toml", f'{about}\n[settings]\ntitle = "Ours"\n')
    write(example / "changes.patch", PATCH)
    write(example / "own.md", "# Ours\n")
    return catalog


def made(folder: Path, catalog: Catalog, *, with_git: bool = False) -> Path:
    plan = Plan(folder, example="ours", install=False, git=with_git)
    return new_project(plan, catalog=catalog).directory


def test_an_example_s_defaults_and_lines_are_in_the_project(tmp_path: Path, ours: Catalog) -> None:
    project = made(tmp_path / "x", ours, with_git=True)
    assert "line four\n" in (project / "app.py").read_text()
    assert 'title: str = "Ours"  # on the page\n' in (project / "tiny/settings.py").read_text()
    assert not {"changes.patch", "example.toml", ".env.example"} & set(files(project))
    assert git(project, "show", "HEAD~1:app.py") == APP.strip()
    changed = git(project, "show", "--format=", "--name-only").splitlines()
    assert changed == [".env.example", "app.py", "own.md", "tiny/settings.py"]


def test_line_endings_of_windows_stay(tmp_path: Path, ours: Catalog) -> None:
    project = ours.templates_folder / "tiny" / "project"
    for path in (project / "app.py", project / "tiny" / "settings.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    patch = ours.examples_folder / "ours" / "changes.patch"
    for ending in (b"\n", b"\r\n"):  # git may have checked out the patch either way
        patch.write_bytes(PATCH.encode().replace(b"\n", ending))
        folder = made(tmp_path / str(len(ending)), ours)
        app = (folder / "app.py").read_bytes()
        assert b"line four\r\na new line\r\nline 5\r\n" in app
        assert app.count(b"\n") == app.count(b"\r\n")
        assert b'"Ours"  # on the page\r\n' in (folder / "tiny" / "settings.py").read_bytes()


@pytest.mark.parametrize(
    ("file", "edit", "named"),
    [
        ("changes.patch", ("line 6", "line six"), ["app.py", "0 times", "line six"]),
        ("changes.patch", ("app.py", "gone.py"), ["gone.py", "no such file"]),
        ("example.toml", ("title", "titel"), ["tiny/settings.py", '"titel"']),
    ],
)
def test_a_change_that_does_not_fit_is_named_and_leaves_nothing(
    tmp_path: Path, ours: Catalog, file: str, edit: tuple[str, str], named: list[str]
) -> None:
    path = ours.examples_folder / "ours" / file
    write(path, path.read_text().replace(*edit))
    with pytest.raises(HackkitError) as caught:
        made(tmp_path / "x", ours, with_git=True)
    for part in ("The example ours", *named):
        assert part in caught.value.problem
    assert caught.value.fix.startswith(hackkit("new", "tiny"))
    assert not (tmp_path / "x").exists()
