import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import KEY, MODELS, QUICK, Write
from filelock import FileLock
from mistral_server import EMBEDDINGS, MistralServer, Reply, hanging, status

from rag import bm25, chunks, index_state, ingest, pipeline, vector_store
from rag.index_state import IndexBusy
from rag.ingest import Ingested
from rag.settings import ROOT, Settings

LONG = "\n\n".join(f"Paragraph {number} is about tea. " + "Word. " * 20 for number in range(65))


def names(settings: Settings) -> list[str]:
    return sorted(Path(name).name for name in bm25.ledger(settings.index))


def sources(settings: Settings, question: str) -> set[str]:
    found = pipeline.retrieve(question, 10, settings)
    return {Path(hit.chunk.source).name for hit in found}


def assert_complete(settings: Settings) -> None:
    """Every chunk is in the index and in the store exactly once, and nothing else is."""
    ledger = bm25.ledger(settings.index)
    assert all(ledger.values())
    expected = 0
    for name in ledger:
        document = chunks.load(name, None, settings)
        assert document
        ids = [chunk.id for chunk in document.chunks]
        assert len(bm25.fetch(settings.index, ids)) == len(ids)
        expected += len(ids)
    assert bm25.count(settings.index) == expected
    if settings.embedder:
        assert vector_store.count(settings.index) == expected


class Doomed(NamedTuple):
    process: subprocess.Popen[bytes]
    server: MistralServer
    settings: Settings


@pytest.fixture(scope="module", autouse=True)
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doomed]:
    """An ingest in another process that hangs half-way; it gets there while other tests run."""
    folder = tmp_path_factory.mktemp("doomed")
    (folder / "docs").mkdir()
    for name in ("a.md", "b.md", "c.md"):
        (folder / "docs" / name).write_text(f"About {name}.\n\n{LONG}", encoding="utf-8")
    with MistralServer() as server:
        server.will(Reply(), hanging(), path=EMBEDDINGS)  # the store already has some vectors
        values = {"docs_dir": str(folder / "docs"), "index_dir": str(folder / "index")}
        values |= {"mistral_api_key": KEY, "mistral_server_url": server.url} | MODELS | QUICK
        code = (
            "import json, sys; from rag import ingest; from rag.settings import Settings; "
            "ingest.ingest(settings=Settings(**json.loads(sys.argv[1])))"
        )
        command = [sys.executable, "-c", code, json.dumps(values | {"timeout": 60})]
        with subprocess.Popen(command, cwd=ROOT) as process:
            yield Doomed(process, server, Settings(**values))
            process.kill()


# New, unchanged, changed, deleted


def test_new_changed_and_deleted_documents_are_indexed(
    online: Settings, server: MistralServer, write: Write
) -> None:
    tea = write("tea.md", "Green tea is brewed at 80 degrees.")
    write("coffee.txt", "Coffee is brewed at 95 degrees.")
    assert ingest.ingest(settings=online) == Ingested(2, 0, 2, ())
    asked = len(server.requests)

    assert ingest.ingest(settings=online) == Ingested(0, 0, 2, ())
    assert len(server.requests) == asked, "unchanged documents need no request"

    write("tea.md", "White tea is brewed at 70 degrees.")
    assert ingest.ingest(settings=online) == Ingested(1, 0, 2, ())
    assert "tea.md" in sources(online, "white")
    assert "Green" not in "".join(hit.chunk.text for hit in pipeline.retrieve("green", 9, online))
    assert_complete(online)

    tea.unlink()
    assert ingest.ingest(settings=online) == Ingested(0, 1, 1, ())
    assert sources(online, "tea") == {"coffee.txt"}
    assert_complete(online)


def test_uploads_are_found_when_their_folder_is_a_link(settings: Settings, write: Write) -> None:
    aside = settings.docs.parent / "data"
    aside.mkdir()
    (aside / "tea.md").write_text("Tea.", encoding="utf-8")
    write("coffee.md", "Coffee.")
    try:
        (settings.docs / "uploads").symlink_to(aside, target_is_directory=True)
    except OSError:
        pytest.skip("this system lets only administrators make links")
    assert ingest.ingest(settings=settings).changed == 2
    assert ingest.ingest(settings=settings) == Ingested(0, 0, 2, ())


def test_each_problem_is_one_line_with_the_document_s_name(
    settings: Settings, write: Write
) -> None:
    write("good.md", "A good text.")
    write("sub/broken.pdf", b"%PDF-1.4 broken")
    write("empty.txt", "")
    write("photo.png", b"\x89PNG")
    write("huge.txt", b"x" * (2**20 + 1))
    small = Settings(**(settings.model_dump() | {"max_file_mb": 1}))
    done = ingest.ingest([settings.docs, "http://127.0.0.1:1/page"], small)
    assert (done.changed, names(settings)) == (1, ["good.md"])
    assert len(done.problems) == 5
    for name in ("sub/broken.pdf", "empty.txt", "photo.png", "huge.txt", "http://127.0.0.1:1/page"):
        [line] = [line for line in done.problems if f"{name}: " in line]
        assert "\n" not in line


# Interrupted


def test_when_the_model_fails_keyword_search_works_and_the_next_ingest_completes(
    online: Settings, server: MistralServer, write: Write
) -> None:
    for name in ("a.md", "c.md"):
        write(name, LONG)
    write("b.md", f"About coffee.\n\n{LONG}")  # too long for one request
    server.will(Reply(), status(401), path=EMBEDDINGS)
    done = ingest.ingest(settings=online)
    assert len(done.problems) == 1
    assert "refused the API key" in done.problems[0]
    assert "b.md" in sources(online, "coffee")

    assert ingest.ingest(settings=online).problems == ()
    assert_complete(online)


# One writer, one embedding model


def test_a_second_process_cannot_write_while_one_holds_the_index(
    settings: Settings, write: Write
) -> None:
    write("tea.md", "Tea.")
    settings.index.mkdir(parents=True)
    other = FileLock(settings.index / "writer.lock", timeout=0)
    with other, pytest.raises(IndexBusy, match="Another process"):
        ingest.ingest(settings=settings)
    with pytest.raises(IndexBusy):  # what it has read in the meantime may be stale
        ingest.ingest(settings=settings)


def test_threads_of_one_process_take_turns(settings: Settings, write: Write) -> None:
    write("tea.md", "Tea.")
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(ingest.ingest, settings=settings) for _ in range(4)]
        assert sorted(run.result().changed for run in runs) == [0, 0, 0, 1]


def test_a_new_chunk_size_splits_every_document_again(settings: Settings, write: Write) -> None:
    write("tea.md", LONG)
    before = ingest.ingest(settings=settings).chunks
    smaller = Settings(**(settings.model_dump() | {"chunk_size": 400}))
    done = ingest.ingest(settings=smaller)
    assert done.changed == 1
    assert done.chunks > before
    assert_complete(smaller)


def test_a_chunk_is_embedded_with_its_heading_only(
    online: Settings, server: MistralServer, write: Write
) -> None:
    write("tea.md", "# Tea\n\nGreen tea is brewed at 80 degrees.")
    assert ingest.ingest(settings=online).problems == ()
    [request] = server.requests
    assert request.body["input"] == ["Tea\n# Tea\n\nGreen tea is brewed at 80 degrees."]


# Damage


def garble_the_middle(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(size // 4)
        opened.write(os.urandom(size // 2))


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def elsewhere(settings: Settings) -> Settings:
    """The same with a copy of the index, as for a new process."""
    copy = settings.index_dir.with_name("copy")
    shutil.copytree(settings.index_dir, copy)
    return Settings(**(settings.model_dump() | {"index_dir": copy}))


@pytest.mark.parametrize("damage", [garble_the_middle, cut])
def test_a_damaged_index_is_moved_away_and_rebuilt(
    settings: Settings, write: Write, caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:  # fmt: skip
    write("tea.md", f"{LONG} Green tea.")
    write("coffee.md", LONG)
    ingest.ingest(settings=settings)
    file = settings.index / "keywords.db"
    for _ in range(2):  # the second replaces the first
        damage(file)
        damaged = file.read_bytes()
        caplog.clear()
        done = ingest.ingest(settings=settings)
        assert (done.changed, done.removed, done.problems) == (2, 0, ())
        assert_complete(settings)
        assert sources(settings, "green") == {"tea.md"}
        aside = settings.index.with_name("keywords.damaged")
        assert {path.name: path.read_bytes() for path in aside.glob("keywords.db")} == {
            "keywords.db": damaged
        }
        [line] = [record.getMessage() for record in caplog.records]
        assert line.startswith("The index was damaged (keywords.db: ")
        assert ingest.ingest(settings=settings).changed == 0


def test_documents_from_elsewhere_are_read_again_if_the_damaged_index_still_lists_them(
    settings: Settings, write: Write, tmp_path: Path
) -> None:
    write("tea.md", LONG)
    outside = tmp_path / "outside.txt"
    outside.write_text("A text from elsewhere.", encoding="utf-8")
    ingest.ingest([settings.docs, outside], settings)
    bm25.add(settings.index, "http://127.0.0.1:1/page", "digest", [])
    outside.write_text("Another text.", encoding="utf-8")
    cut(settings.index / "keywords.db")
    done = ingest.ingest(settings=settings)
    assert names(settings) == ["outside.txt", "page", "tea.md"]
    assert [line.split(": ")[0] for line in done.problems] == ["http://127.0.0.1:1/page"]


@pytest.mark.parametrize("damage", [garble_the_middle, cut, Path.unlink])
def test_missing_and_damaged_vectors_are_rebuilt(
    online: Settings, write: Write, damage: Callable[[Path], None]
) -> None:
    write("tea.md", LONG)
    write("coffee.md", LONG)
    ingest.ingest(settings=online)
    again = elsewhere(online)
    for file in (again.index / "vectors").rglob("*.sqlite*"):
        damage(file)
    assert ingest.ingest(settings=again).changed == 2
    assert_complete(again)
    assert ingest.ingest(settings=again).changed == 0


@pytest.mark.parametrize("searched", [False, True])
def test_lost_vectors_are_rebuilt_even_after_a_search(
    online: Settings, server: MistralServer, write: Write, searched: bool
) -> None:
    write("tea.md", "Green tea.")
    ingest.ingest(settings=online)
    again = elsewhere(online)
    shutil.rmtree(again.index / "vectors")
    if searched:  # it creates an empty store
        assert sources(again, "tea") == {"tea.md"}
    server.will(status(401), path=EMBEDDINGS)
    assert len(ingest.ingest(settings=again).problems) == 1
    assert vector_store.count(again.index) == 0
    assert ingest.ingest(settings=again) == Ingested(1, 0, 1, ())
    assert_complete(again)


# Status


def ends(paths: Sequence[str]) -> list[str]:
    return [Path(path.partition(": ")[0]).name for path in paths]


def test_status_shows_what_an_ingest_would_do_and_changes_nothing(
    settings: Settings, write: Write
) -> None:
    for name in ("same.md", "changed.md", "gone.md"):
        write(name, f"About {name}.")
    ingest.ingest(settings=settings)
    write("changed.md", "Another text.")
    write("new.md", "A new text.")
    write("broken.pdf", b"%PDF-1.4 broken")
    (settings.docs / "gone.md").unlink()
    before = {path: path.stat().st_mtime_ns for path in settings.index.iterdir()}
    for _ in range(2):
        now = index_state.status(settings, seconds=60)
        assert (ends(now.new), ends(now.changed), ends(now.gone)) == (
            ["new.md"], ["changed.md"], ["gone.md"],
        )  # fmt: skip
        assert ends(now.unreadable) == ["broken.pdf"]
        assert (now.documents, now.chunks, now.damage) == (3, 3, "")
    assert {path: path.stat().st_mtime_ns for path in settings.index.iterdir()} == before


def test_status_finds_missing_and_damaged_vectors(online: Settings, write: Write) -> None:
    write("tea.md", "Tea.")
    ingest.ingest(settings=online)
    free = Settings(**(online.model_dump() | {"index_dir": online.index_dir.with_name("copy")}))
    shutil.copytree(online.index, free.index)
    assert index_state.status(free).damage == ""
    for file in (free.index / "vectors").rglob("*.sqlite*"):
        file.write_bytes(b"garbage" * 100)
    assert index_state.status(free).damage
    shutil.rmtree(free.index / "vectors")
    assert index_state.status(free).damage == "the vectors are missing"
    assert not (free.index / "vectors").exists()


def test_status_shows_that_another_process_has_the_index_open(
    settings: Settings, write: Write
) -> None:
    write("tea.md", "Tea.")
    settings.index.mkdir(parents=True)
    with FileLock(settings.index / "writer.lock", timeout=0):
        assert index_state.status(settings).busy
    assert not index_state.status(settings).busy
    assert ingest.ingest(settings=settings).changed == 1


# Killed


def test_a_killed_ingest_is_completed_by_the_next(doomed: Doomed) -> None:
    while len(doomed.server.requests) < 2 and doomed.process.poll() is None:
        time.sleep(0.01)
    doomed.process.kill()
    doomed.process.wait()
    assert "" in bm25.ledger(doomed.settings.index).values()

    assert ingest.ingest(settings=doomed.settings).changed == 3
    assert_complete(doomed.settings)
