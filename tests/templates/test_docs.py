"""What a project says about itself: short, complete, and true of the files that it has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import project_docs
import pytest
from combinations import covering, is_plain, values_of

from hackkit import Plan, new_project
from hackkit.project.catalog import Catalog

CATALOG = Catalog.here()
LONGEST_NOTES, LONGEST_TOUR = 60, 40  # lines


def plans() -> Iterator[tuple[str, Plan]]:
    """Read the folders: every template with any two values of its slots, and every example."""
    for template in CATALOG.templates:
        slots = {slot.name: values_of(slot) for slot in template.slots if not is_plain(slot)}
        for answers in covering(slots):
            title = "-".join([template.name, *(f"{key}={value}" for key, value in answers.items())])
            yield title, Plan(Path(), template=template.name, answers=answers)
    for example in CATALOG.examples:
        yield f"example-{example.name}", Plan(Path(), example=example.name)


PLANS = dict(plans())
TEMPLATES = [title for title, plan in PLANS.items() if plan.template]


@pytest.fixture(scope="module", params=PLANS)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render one project, without installing it."""
    plan = PLANS[request.param]
    folder = tmp_path_factory.mktemp("docs") / "x"
    made = Plan(folder, plan.template, plan.example, plan.answers, install=False, git=False)
    return new_project(made).directory


def test_every_file_it_names_exists(project: Path) -> None:
    for name, text in project_docs.texts(project).items():
        assert project_docs.missing(project, text) == [], name


def test_the_notes_for_assistants_are_there_and_short(project: Path) -> None:
    text = (project / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_NOTES
    assert any(block.kind == "shell" for block in project_docs.blocks(text))


@pytest.mark.parametrize("project", TEMPLATES, indirect=True)
def test_a_tour_goes_through_its_files(project: Path) -> None:
    tour = project_docs.tour(project)
    assert 0 < len(tour.splitlines()) <= LONGEST_TOUR
    assert len(set(re.findall(r"\]\((\S+\.py)\)", tour))) >= 3


def test_it_says_how_to_see_what_the_team_wrote(project: Path) -> None:
    assert "git diff --stat" in (project / "README.md").read_text("utf-8")


def test_a_shell_block_holds_commands_of_known_programs_only(project: Path) -> None:
    for text in project_docs.texts(project).values():
        for block in project_docs.blocks(text):
            programs = {words[0] for words in block.commands}
            assert programs <= project_docs.PROGRAMS, block.text


def test_json_in_it_can_be_read(project: Path) -> None:
    for text in project_docs.texts(project).values():
        for block in project_docs.blocks(text):
            for line in block.text.splitlines() if block.kind == "json" else ():
                json.loads(line)


def test_every_module_that_a_command_runs_exists(project: Path) -> None:
    for text in project_docs.texts(project).values():
        for module, _ in project_docs.modules(text):
            path = project / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


# The reading itself


def test_a_path_is_found_in_backticks_links_and_trees(tmp_path: Path) -> None:
    for name in ("app.py", "rag/text.py", "data/train.jsonl", "data/test.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    text = (
        "`app.py`, `gone.py`, `rag/gone`, `rag/`, `data/*.jsonl`, `test.jsonl`, `python -m rag`,\n"
        "`you/name`, `a.b`, `runs/x/run.json`, [text](rag/text.py#L3), [no](no.md), [web](https://x.y/z)\n"
        "```\napp.py   the app\nlost.py  is lost\n```\n"
        "```\ndocs/ - a picture\n```\n"
    )
    assert project_docs.missing(tmp_path, text) == ["lost.py", "docs/", "no.md", "gone.py", "rag/gone"]


def test_blocks_have_their_kinds_and_commands() -> None:
    text = (
        "```\nuv sync     # install\nuv run app.py \\\n  --x 'a b'\n```\n"
        "```python\n# agent/tools/a.py\nx = 1\n```\n```\nquestion ─ answer\n```\n"
    )
    shell, python, picture = project_docs.blocks(text)
    assert [each.kind for each in (shell, python, picture)] == ["shell", "python", "text"]
    assert shell.commands == [["uv", "sync"], ["uv", "run", "app.py", "--x", "a b"]]
    assert (python.path, picture.commands) == ("agent/tools/a.py", [])


def test_a_module_is_found_with_its_subcommand() -> None:
    text = '`python -m tune check`, uv run python -m rag "a", `python -m cloud.job --x`'
    assert project_docs.modules(text) == {("tune", "check"), ("rag", ""), ("cloud.job", "")}


@pytest.mark.parametrize(
    ("command", "run", "training"),
    [
        ("uv run python -m rag status", True, False),
        ("uv run python -m rag ingest https://example.com/a.html", False, False),
        ("uv run python -m tune train --resume", True, True),
        ("uv run pytest", False, False),
    ],
)
def test_a_command_is_run_or_has_its_reason(command: str, *, run: bool, training: bool) -> None:
    words = command.split()
    assert bool(project_docs.reason_not_to_run(words)) is not run
    assert project_docs.needs_training(words) is training
