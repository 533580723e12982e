"""The question for a name or a folder: what is typed, and what is proposed."""

from pathlib import Path

import pytest

from hackkit.new.questions import NewRequest, Question, plan_from
from hackkit.project.catalog import Catalog


def answered(name: str) -> tuple[Path, str | None]:
    """Return the folder and the project's name for what is typed."""
    plan = plan_from(NewRequest("rag-app"), Catalog.here(), lambda q: name if not q.options else "")
    return plan.directory, plan.answers.get("project_name")


def test_a_name_becomes_a_folder_here() -> None:
    assert answered("Our Great App") == (Path("our-great-app"), "Our Great App")
    assert answered("v1.2") == (Path("v1-2"), "v1.2")


@pytest.mark.parametrize("typed", ["../my app", "sub/app", "/srv/app", ".", "..", "C:\\work\\app"])
def test_a_path_is_a_folder_and_never_a_name(typed: str) -> None:
    assert answered(typed) == (Path(typed), None)


def test_a_path_in_the_home_folder_is_expanded() -> None:
    assert answered("~/app") == (Path.home() / "app", None)


def proposed(checkout: Path | None) -> str:
    asked: list[Question] = []

    def ask(question: Question) -> str:
        asked.append(question)
        return question.default

    plan_from(NewRequest("rag-app", checkout=checkout), Catalog.here(), ask)
    return asked[0].default


def test_inside_a_clone_of_hackkit_a_folder_outside_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hackkit" / "docs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "hackkit" / "docs")
    folder = Path(proposed(tmp_path / "hackkit"))
    assert folder.resolve() == (tmp_path / "my-app").resolve()
    assert proposed(None) == proposed(tmp_path / "elsewhere") == "my-app"
