"""How a maintainer keeps an example: make it with today's template, edit it, save it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import clean_environment, files, write

ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def rework(checkout: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a copy of hackkit."""
    return subprocess.run(
        [sys.executable, "-m", "hackkit.new.rework", *map(str, words)],
        env={**clean_environment(), **ENV, "PYTHONPATH": str(checkout / "src")},
        cwd=checkout,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def example(checkout: Path) -> Path:
    """Add an example that changes nothing yet."""
    folder = checkout / "examples" / "ours"
    lines = ['template = "rag-app"', 'summary = "Ours."', "[answers]", 'store = "qdrant"', ""]
    write(folder / "example.toml", "\n".join(lines))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.mark.parametrize("name", ["course-tutor", "incident-helper", "support-tone"])
def test_an_example_made_and_saved_is_the_same_example(
    checkout: Path, tmp_path: Path, name: str
) -> None:
    before = content(checkout / "examples" / name)
    made = rework(checkout, "make", name, tmp_path / "x")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    saved = rework(checkout, "save", name, tmp_path / "x")
    assert (saved.returncode, saved.stdout) == (0, ""), saved.stderr
    assert content(checkout / "examples" / name) == before


def test_what_was_edited_is_saved_as_a_delta(checkout: Path, tmp_path: Path) -> None:
    folder, project = example(checkout), tmp_path / "x"
    assert rework(checkout, "make", "ours", project).returncode == 0
    settings = project / "rag" / "settings.py"
    text = settings.read_text("utf-8")
    title = next(line for line in text.splitlines() if "title: str" in line)
    write(settings, text.replace(title, '    title: str = "Ours"'))
    app = (project / "app.py").read_text("utf-8")
    write(project / "app.py", f"{app}\n# The end.\n")
    write(project / "notes" / "own.md", "# Ours\n")
    write(project / ".env", "MISTRAL_API_KEY=private\n")
    (project / "docs" / "rag.pdf").unlink()
    saved = rework(checkout, "save", "ours", project)
    assert saved.returncode == 0, saved.stdout + saved.stderr
    assert files(folder) == ["changes.patch", "example.toml", "notes/own.md"]
    patch = (folder / "changes.patch").read_text("utf-8")
    assert "+# The end.\n" in patch
    assert "settings.py" not in patch
    about = (folder / "example.toml").read_text("utf-8")
    assert '\nremove = [\n  "docs/rag.pdf",\n]\n' in about
    assert about.endswith('[answers]\nstore = "qdrant"\n\n[settings]\ntitle = "Ours"\n')


def test_what_fits_no_more_is_shown_and_the_rest_is_made(checkout: Path, tmp_path: Path) -> None:
    folder = example(checkout)
    with (folder / "example.toml").open("a") as about:
        about.write(f"\n[settings]\ntitle = {json.dumps('Ours')}\ngone = 1\n")
    hunk = "@@ -1,2 +1,2 @@\n-a line that was there\n+a new line\n"
    write(folder / "changes.patch", f"--- a/app.py\n+++ b/app.py\n{hunk}")
    made = rework(checkout, "make", "ours", tmp_path / "x")
    assert made.returncode == 1
    assert 'rag/settings.py: Settings has no field "gone"' in made.stdout
    assert "-a line that was there" in made.stdout
    assert 'title: str = "Ours"' in (tmp_path / "x" / "rag" / "settings.py").read_text("utf-8")


def test_a_folder_that_is_no_repository_cannot_be_saved(checkout: Path, tmp_path: Path) -> None:
    folder = example(checkout)
    before = content(folder)
    write(tmp_path / "x" / "app.py", "x = 1\n")
    saved = rework(checkout, "save", "ours", tmp_path / "x")
    assert saved.returncode == 1
    assert "could not be listed" in saved.stdout
    assert content(folder) == before
