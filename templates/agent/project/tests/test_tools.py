import re
from pathlib import Path

import pytest
from langchain_core.tools import BaseTool

from agent.tools import BadTool, collect

HEAD = "from agent.tools import asks_first, tool\n\n\n"
GREET = '''@tool
def greet(name: str) -> str:
    """Greet a person."""
    return f"Hello {name}"
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package, named after the test so that no other test has imported it."""
    package = tmp_path / tmp_path.name.replace("-", "_")
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_tool_is_a_function_in_a_file(folder: Path) -> None:
    (folder / "greetings.py").write_text(HEAD + GREET)
    (greet,) = collect(folder.name)
    assert greet.invoke({"name": "Mira"}) == "Hello Mira"
    assert (greet.name, greet.description) == ("greet", "Greet a person.")


def test_a_tool_that_another_file_imports_counts_once(folder: Path) -> None:
    (folder / "b.py").write_text(HEAD + GREET)
    (folder / "a.py").write_text(f"from {folder.name}.b import greet\n\nassert greet\n")
    assert [each.name for each in collect(folder.name)] == ["greet"]


def test_two_tools_of_one_name_are_refused(folder: Path) -> None:
    (folder / "a.py").write_text(HEAD + GREET)
    (folder / "b.py").write_text(HEAD + GREET)
    with pytest.raises(BadTool, match=r"greet.\nFix: rename one in b.py"):
        collect(folder.name)


def test_a_tool_without_a_docstring_is_refused_with_file_and_function(folder: Path) -> None:
    (folder / "a.py").write_text(HEAD + "@tool\ndef mute() -> str:\n    return ''\n")
    with pytest.raises(BadTool, match=r"a.py: mute has no docstring"):
        collect(folder.name)


def test_asks_first_on_a_function_without_tool_says_what_to_do(folder: Path) -> None:
    (folder / "a.py").write_text(HEAD + GREET.replace("@tool", "@asks_first"))
    with pytest.raises(BadTool, match="write it below @asks_first"):
        collect(folder.name)


@pytest.mark.parametrize("each", collect(), ids=lambda each: each.name)
def test_a_model_can_call_each_tool_of_this_app(each: BaseTool) -> None:
    assert re.fullmatch(r"[\w-]{1,64}", each.name)
    assert each.description
    untyped = [name for name, about in each.args.items() if not set(about) - {"title", "default"}]
    assert untyped == []
