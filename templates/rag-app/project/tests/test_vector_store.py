from pathlib import Path
from threading import Thread

from plumbing.readers import Page
from rag import vector_store
from rag.chunks import Chunk, split

EAST, NORTH, UP = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def chunk(source: str, text: str = "Some text.") -> Chunk:
    return split(source, [Page(text)])[0]


def test_vectors_are_stored_found_replaced_and_removed(tmp_path: Path) -> None:
    east, north = chunk("east.md"), chunk("north.md")
    vector_store.add(tmp_path, [east, north], [EAST, NORTH])
    assert vector_store.search(tmp_path, [0.9, 0.1, 0.0], 5) == [east.id, north.id]
    assert vector_store.search(tmp_path, EAST, 1) == [east.id]

    vector_store.add(tmp_path, [east], [UP])
    assert vector_store.count(tmp_path) == 2
    assert vector_store.search(tmp_path, UP, 1) == [east.id]

    vector_store.remove(tmp_path, "east.md")
    assert vector_store.count(tmp_path) == 1
    assert vector_store.search(tmp_path, UP, 5) == [north.id]


def test_an_empty_store_finds_nothing(tmp_path: Path) -> None:
    assert vector_store.count(tmp_path) == 0
    assert vector_store.search(tmp_path, EAST, 5) == []
    vector_store.add(tmp_path, [], [])
    vector_store.remove(tmp_path, "unknown.md")
    assert vector_store.count(tmp_path) == 0


def test_many_vectors_are_stored_in_one_call(tmp_path: Path) -> None:
    some = [chunk("a.md", f"Text number {number}.") for number in range(600)]
    vector_store.add(tmp_path, some, [EAST] * len(some))
    assert vector_store.count(tmp_path) == len(some)


def test_several_threads_open_the_same_store(tmp_path: Path) -> None:
    vector_store.add(tmp_path / "other", [chunk("b.md")], [EAST])  # loads the slow imports first
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(vector_store.count(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [0] * 4
    vector_store.add(tmp_path, [chunk("a.md")], [EAST])
    assert vector_store.count(tmp_path) == 1
