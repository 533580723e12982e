from pathlib import Path

import pytest

from agent.tools import ToolError

documents = pytest.importorskip(
    "agent.tools.documents", reason="no search over documents was chosen"
)


def search(question: str) -> str:
    return documents.search_documents.invoke({"question": question})


@pytest.fixture(autouse=True)
def indexed(tmp_path: Path) -> None:
    from rag import ingest

    (tmp_path / "tea.md").write_text("# Green tea\n\nIt is brewed at 80 degrees.\n")
    ingest.ingest([tmp_path / "tea.md"])


def test_a_chunk_comes_with_its_number_and_source() -> None:
    result = search("How hot must green tea be?")
    assert result.startswith("[1] tea.md, Green tea\n")
    assert "80 degrees" in result


def test_a_question_without_an_answer_in_the_documents_says_so() -> None:
    assert search("zyzzyva").startswith("The documents say nothing")


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(ToolError, match="what to search for"):
        search(" ")


def test_a_damaged_index_is_rebuilt() -> None:
    from rag.settings import SETTINGS

    (SETTINGS.index / "keywords.db").write_bytes(b"damaged" * 1000)
    assert search("tea")
