import random
import time

import pytest

from plumbing.readers import Page
from rag.chunks import split
from rag.text import sentences


def texts(text: str, size: int = 1600, overlap: int = 0) -> list[str]:
    return [chunk.text for chunk in split("a.md", [Page(text)], size, overlap)]


@pytest.mark.parametrize("seed", range(60))
def test_random_text_is_split_without_losing_a_character(seed: int) -> None:
    chance = random.Random(seed)
    bits = ["word", "Éa", " ", "  ", "\n", "\n\n", ". ", "e.g. ", "3.5", "# H\n", "## ", "```\n",
            "~~~", "| a | b |\n", "- x\n", "。", "漢字", "😀", "\t", "\r\n", "\0", "! ", "?) ",
            "x" * 90]  # fmt: skip
    text = "".join(chance.choices(bits, k=chance.randint(0, 400)))
    size, overlap = chance.randint(1, 200), 0
    if chance.random() < 0.5:
        overlap = chance.randint(0, size // 2)
    chunks = split("a.md", [Page(text)], size, overlap)
    covered = set()
    for chunk in chunks:
        end = chunk.start + len(chunk.text)
        assert text[chunk.start : end] == chunk.text
        assert 0 < len(chunk.text) <= size
        covered.update(range(chunk.start, end))
    assert all(text[at].isspace() for at in range(len(text)) if at not in covered)
    assert [chunk.start for chunk in chunks] == sorted({p.start for p in chunks})
    assert len({chunk.id for chunk in chunks}) == len(chunks)


def test_an_id_depends_only_on_source_position_and_text() -> None:
    pages = [Page("One. Two.", page=1), Page("One. Two.", page=2)]
    first, again = split("a.pdf", pages), split("a.pdf", pages)
    assert first == again
    assert len({chunk.id for chunk in first + split("b.pdf", pages)}) == 4


def test_a_heading_starts_a_chunk_and_names_its_section() -> None:
    text = "Before.\n\n# Guide\n\n## Setup\n\nDo it.\n\n## Use\n\nRun it.\n\n# End\n\nDone."
    found = [(chunk.section, chunk.text) for chunk in split("a.md", [Page(text)])]
    assert found == [
        ("", "Before."),
        ("Guide › Setup", "# Guide\n\n## Setup\n\nDo it."),
        ("Guide › Use", "## Use\n\nRun it."),
        ("End", "# End\n\nDone."),
    ]


def test_chunks_end_with_a_paragraph_when_one_ends_late_enough() -> None:
    text = "A b c d. " * 9 + "\n\n" + "E f g h. " * 9
    assert [found[0] for found in texts(text, size=110)] == ["A", "E"]


def test_overlap_repeats_whole_sentences() -> None:
    found = texts("One two. Three four. Five six. Seven eight.", size=22, overlap=13)
    assert found == ["One two. Three four.", "Three four. Five six.", "Five six. Seven eight."]


def test_a_heading_is_not_part_of_the_sentence_below_it() -> None:
    text = "# Rules\n## Teams\nA team has five people. No more.\n## Money\nNone."
    expected = ["# Rules", "## Teams", "A team has five people.", "No more.", "## Money", "None."]
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One is here. Two is there! Three? Four…", 4),
        ("Das geht, z. B. Montag, usw. Und Dr. Meier kommt am 3. Mai.", 2),
        ("See e.g. Figure 2, i.e. this. It costs 3.5 euros.", 2),
        ("M. Dupont arrive. Il dit : « Bonjour. » Puis il part.", 3),
        ("¿Quién viene? El Sr. López viene.", 2),
        ("これは本です。あれは何ですか？はい。", 3),
        ("- first point\n- second point\n- third", 3),
        ("Hard-wrapped\nlines are one sentence.", 1),
        ("Visit docs.python.org now. Yes.", 2),
        ("", 0),
    ],
)
def test_sentences_end_in_the_right_places(text: str, count: int) -> None:
    assert len(sentences(text)) == count, sentences(text)


@pytest.mark.parametrize(
    "bit", ["x", ".", ". ", " ", "\n", "# ", "#\n", "```\n", 'a."', " \n", "。"]
)
def test_long_repetitive_text_is_split_fast(bit: str) -> None:
    text = bit * (200_000 // len(bit))
    started = time.thread_time()
    found = texts(text)
    assert time.thread_time() - started < 10  # seconds of CPU; usual are 0.2
    assert sum(len(each) - sum(map(str.isspace, each)) for each in found) == sum(
        not letter.isspace() for letter in text
    )
