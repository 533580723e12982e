import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from plumbing.readers import Page
from rag import bm25, index_state, text
from rag.chunks import Chunk, split


def fill(folder: Path, **texts: str) -> dict[str, list[Chunk]]:
    made = {name: split(f"{name}.md", [Page(text)]) for name, text in texts.items()}
    for name, chunks in made.items():
        bm25.add(folder, f"{name}.md", "digest", chunks)
    return made


def best(folder: Path, question: str) -> str:
    hits = bm25.search(folder, question, 5)
    return bm25.fetch(folder, hits[:1])[0].source.removesuffix(".md") if hits else ""


def test_the_chunk_with_the_words_comes_first(tmp_path: Path) -> None:
    fill(
        tmp_path,
        cats="The cats were sleeping on a warm roof of the house.",
        dogs="The dogs are barking at the postman in the street.",
        fish="A fish swims in the river and is never seen by the birds.",
    )
    assert best(tmp_path, "Which cat sleeps?") == "cats"
    assert best(tmp_path, "barked") == "dogs"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Comment installer les paquets ?", "french"),
        ("Wie installiere ich ein Paket?", "german"),
        ("¿Cómo se instalan los paquetes?", "spanish"),
        ("How are packages installed?", "english"),
        ("réseau", "french"),
        ("reseau", "french"),
    ],
)
def test_each_language_is_found_by_its_own_word_forms(
    tmp_path: Path, question: str, expected: str
) -> None:
    fill(
        tmp_path,
        french="L'installation d'un paquet se fait par la commande du gestionnaire, sur le réseau.",
        german="Die Pakete werden mit dem Befehl installiert, der auf der Seite des Netzes ist.",
        spanish="La instalación de los paquetes se hace con la orden que está en el manual.",
        english="The installation of a package is done with the command that is in the manual.",
    )
    assert best(tmp_path, question) == expected


@pytest.mark.parametrize(
    "question",
    ["", " ", '"', 'a" OR "b', "NEAR(a b)", "x AND NOT y*", "^col:a", "(", "\0", "a\0b", "😀",
     "'; --", "the", "\ud800", "word " * 2_000, "é" * 10_000, "漢字", "-", "stems:a", "{a b}: c"],
)  # fmt: skip
def test_any_text_is_a_valid_question(tmp_path: Path, question: str) -> None:
    assert bm25.search(tmp_path, question, 5) == []
    fill(tmp_path, one="Some words about a thing that is here.")
    assert len(bm25.search(tmp_path, question, 5)) <= 1


def test_any_text_can_be_indexed(tmp_path: Path) -> None:
    made = fill(tmp_path, odd='nul \0 quote " emoji 😀 half \ud83d 漢字の本 end')
    assert best(tmp_path, "漢字") == "odd"
    assert bm25.fetch(tmp_path, [made["odd"][0].id])[0].start == 0


def test_a_source_without_its_chunks_is_unfinished(tmp_path: Path) -> None:
    made = fill(tmp_path, page="The text is about apples.")
    assert bm25.ledger(tmp_path) == {"page.md": "digest"}
    bm25.begin(tmp_path, "page.md")
    assert bm25.ledger(tmp_path) == {"page.md": ""}
    assert (bm25.count(tmp_path), bm25.count(tmp_path, complete=True)) == (1, 0)
    bm25.add(tmp_path, "page.md", "other", made["page"])
    assert bm25.ledger(tmp_path) == {"page.md": "other"}


def test_damage_that_look_misses_is_remembered_after_the_first_error(tmp_path: Path) -> None:
    made = fill(tmp_path, tea="Tea is brewed hot.")
    file = tmp_path / "keywords.db"
    file.write_bytes(file.read_bytes().replace(b"brewed", b"\xff" * 6))
    assert index_state.look(tmp_path) == ({"tea.md": "digest"}, 1)
    with pytest.raises(bm25.IndexCorrupted):
        bm25.fetch(tmp_path, [made["tea"][0].id])
    with pytest.raises(bm25.IndexCorrupted):
        index_state.look(tmp_path)
    assert index_state.rescue(tmp_path) == ["tea.md"]


def test_other_threads_see_only_complete_sources_during_a_write(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {number} is about apples and pears." for number in range(40))
    whole = len(split("a.md", [Page(text)], size=60))
    seen: set[int] = set()
    failed: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(30):
                bm25.search(tmp_path, "apples", 5)
                seen.add(bm25.count(tmp_path))
        except Exception as error:
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for digest in "123456":
        bm25.add(tmp_path, "a.md", digest, split("a.md", [Page(text)], size=60))
    for reader in readers:
        reader.join()
    assert not failed
    assert seen <= {0, whole}


def test_a_german_word_is_found_inside_a_compound(tmp_path: Path) -> None:
    fill(
        tmp_path,
        net="Vor dem Anschluss ist die Netzwerkverwaltung zu fragen, wie es sich gehört.",
        disk="Die Festplatte ist in drei Teile geteilt, und das ist auch gut so.",
    )
    assert best(tmp_path, "Wer kennt das Netzwerk?") == "net"


def test_stop_words_are_left_out() -> None:
    assert text.content("What is the name of the rose?") == ["name", "rose"]
    assert text.content("Wie heißen die Rosen?", "german") == ["heiss", "ros"]
    assert text.content("the") == ["the"]


def test_an_index_of_the_version_before_keeps_everything(tmp_path: Path) -> None:
    made = fill(tmp_path, tea="Green tea is brewed hot.", web="A page that is gone by today.")
    with closing(sqlite3.connect(tmp_path / "keywords.db")) as db, db:
        db.execute("ALTER TABLE chunks RENAME TO passages")
        db.execute("CREATE VIRTUAL TABLE words USING fts5 (stems, pieces)")
        db.execute("INSERT INTO words (rowid, stems, pieces) SELECT rowid, * FROM terms")
        db.execute("DROP TABLE terms")
        db.execute("PRAGMA user_version = 2")
    assert index_state.look(tmp_path) == ({"tea.md": "digest", "web.md": "digest"}, 2)
    assert best(tmp_path, "How is tea brewed?") == "tea"
    assert bm25.fetch(tmp_path, [made["web"][0].id]) == made["web"]
    assert bm25.ledger(tmp_path) == {"tea.md": "digest", "web.md": "digest"}
