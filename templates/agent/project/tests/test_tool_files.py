import io
import os
from pathlib import Path

import pytest
from docx import Document

from agent.sandbox import list_paths
from agent.settings import SETTINGS
from agent.tools import ToolError
from agent.tools.files import list_files, read_file, search_files, write_file

SECRET = "the secret"


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def link(place: Path, target: Path) -> None:
    try:
        place.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("links cannot be created here")


# What is refused

OUTSIDE = [
    "..",
    "../outside.txt",
    "notes/../../outside.txt",
    "/etc/passwd",
    "//server/share/outside.txt",
    "C:/outside.txt",
    "C:\\outside.txt",
    "..\\outside.txt",
    "notes.txt:stream",
    "notes\0.txt",
    ".env",
    ".git/config",
    "notes/.hidden/a.txt",
    "a" * 300,
    "a/" * 600,
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_is_read_listed_or_written(workspace: Path, path: str) -> None:
    put(workspace.parent, "outside.txt", SECRET)
    put(workspace, ".env", SECRET)
    before = sorted(workspace.parent.rglob("*"))
    for call in (read_file, list_files, search_files, write_file):
        with pytest.raises(ToolError, match="is refused"):
            call.invoke({"path": path, "folder": path, "text": "secret"})
    assert sorted(workspace.parent.rglob("*")) == before


@pytest.mark.parametrize("path", ["notes.txt", "folder/new.txt", "folder/deep/outside.txt"])
def test_a_link_to_the_outside_is_refused(workspace: Path, tmp_path: Path, path: str) -> None:
    target = put(tmp_path, "deep/outside.txt", SECRET)
    link(workspace / "notes.txt", target)
    link(workspace / "folder", tmp_path)
    with pytest.raises(ToolError, match="is a link"):
        read_file.invoke({"path": path})
    with pytest.raises(ToolError, match="is a link"):
        write_file.invoke({"path": path, "text": "mine"})
    assert target.read_text() == SECRET
    assert not (tmp_path / "new.txt").exists()


def test_links_and_hidden_files_are_neither_listed_nor_searched(
    workspace: Path, tmp_path: Path
) -> None:
    put(workspace, "plain.txt", "nothing here")
    put(workspace, ".git/config", SECRET)
    link(workspace / "file.txt", put(tmp_path, "outside.txt", SECRET))
    link(workspace / "folder", tmp_path)
    link(workspace / "loop", workspace)
    link(workspace / "self", workspace / "self")
    assert list_paths() == ["plain.txt"]
    assert search_files.invoke({"text": "secret"}) == "Nothing was found."


def test_a_hard_link_to_a_file_outside_is_replaced(workspace: Path, tmp_path: Path) -> None:
    target = put(tmp_path, "outside.txt", SECRET)
    try:
        os.link(target, workspace / "notes.txt")
    except OSError:
        pytest.skip("links cannot be created between these folders")
    write_file.invoke({"path": "notes.txt", "text": "mine"})
    assert (workspace / "notes.txt").read_text() == "mine"
    assert target.read_text() == SECRET


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_a_file(workspace: Path) -> None:
    os.mkfifo(workspace / "pipe.txt")
    with pytest.raises(ToolError, match="There is no file"):
        read_file.invoke({"path": "pipe.txt"})
    with pytest.raises(ToolError, match="is not a file"):
        write_file.invoke({"path": "pipe.txt", "text": "mine"})


# Listing


def test_files_are_listed_with_their_folders_and_sizes(workspace: Path) -> None:
    put(workspace, "notes.md", "Hello")
    put(workspace, "reports/June.md", "x" * 20_000)
    assert list_files.invoke({}) == "notes.md (5 bytes)\nreports/June.md (20 kB)"
    assert list_files.invoke({"folder": "reports/"}) == "reports/June.md (20 kB)"


def test_a_long_list_is_cut_and_says_so(workspace: Path) -> None:
    for number in range(100):
        put(workspace, f"{'long-name' * 20}-{number:03}.txt", "")
    *shown, last = list_files.invoke({}).splitlines()
    assert last == f"… and {100 - len(shown)} more: name a folder."


# Reading


def test_a_file_is_read_with_the_count_of_its_lines(workspace: Path) -> None:
    put(workspace, "notes.md", "\n# Notes\r\nHello\n")
    result = read_file.invoke({"path": "./notes.md"})
    assert result == "./notes.md, lines 1 to 3 of 3:\n\n# Notes\nHello"


def test_a_word_document_is_read_as_text(workspace: Path) -> None:
    document, file = Document(), io.BytesIO()
    document.add_paragraph("Hello from Word")
    document.save(file)
    put(workspace, "letter.docx", file.getvalue())
    assert read_file.invoke({"path": "letter.docx"}).endswith("Hello from Word")


def test_a_long_file_comes_in_parts(workspace: Path) -> None:
    put(workspace, "long.txt", "\n".join(map(str, range(1, 501))))
    first = read_file.invoke({"path": "long.txt"})
    assert first.startswith(
        "long.txt, lines 1 to 200 of 500; continue with first_line=201:\n1\n2\n"
    )
    last = read_file.invoke({"path": "long.txt", "first_line": 500, "lines": 9})
    assert last == "long.txt, lines 500 to 500 of 500:\n500"


@pytest.mark.parametrize("content", ["wide line " * 40 + "\n", "x" * 50_000])
def test_a_result_stays_short(workspace: Path, content: str) -> None:
    put(workspace, "long.txt", content * 100)
    assert len(read_file.invoke({"path": "long.txt"})) <= SETTINGS.result_chars


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("minutes.md", r"There is no file minutes.md. list_files shows"),
        ("notes.txt", r"Is it reports/notes.md\?"),
        ("notes.md", r"Is it reports/notes.md\?"),
        ("reports", "is a folder"),
        ("", "is a folder"),
        ("empty.txt", "empty.txt is empty"),
        ("photo.png", "photo.png is not text"),
        ("broken.pdf", "broken.pdf is broken"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(workspace: Path, path: str, problem: str) -> None:
    put(workspace, "reports/notes.md", "Hello")
    put(workspace, "empty.txt", "")
    put(workspace, "photo.png", b"\x89PNG\0\0")
    put(workspace, "broken.pdf", "no PDF")
    with pytest.raises(ToolError, match=problem):
        read_file.invoke({"path": path})


# Searching


def test_lines_with_all_words_are_found_wherever_they_are(workspace: Path) -> None:
    put(workspace, "a/notes.md", "Nothing\nThe DELIVERY was far too late\n")
    put(workspace, "log.txt", "late again\n")
    result = search_files.invoke({"text": "late deliverys"})  # a plural finds the singular
    assert result == "Lines found: 1\na/notes.md:2: The DELIVERY was far too late"


def test_lines_with_some_of_the_words_are_better_than_none(workspace: Path) -> None:
    put(workspace, "notes.md", "tea\ngreen tea\ncoffee\n")
    result = search_files.invoke({"text": "green tea pot"})
    assert result.splitlines() == [
        "No line contains all the words. Lines with 2 of them: 1",
        "notes.md:2: green tea",
    ]


def test_a_search_stays_in_its_folder_and_names_what_it_could_not_read(workspace: Path) -> None:
    for name in ("notes.md", "a/notes.md"):
        put(workspace, name, "tea")
    put(workspace, "a/photo.png", b"\0tea")
    result = search_files.invoke({"text": "tea", "folder": "a"})
    assert result.splitlines()[1:] == ["a/notes.md:1: tea", "Not searched: a/photo.png"]


def test_many_lines_are_cut_and_counted(workspace: Path) -> None:
    put(workspace, "log.txt", "tea\n" * 500)
    head, *lines = search_files.invoke({"text": "tea"}).splitlines()
    assert head == f"Lines found: 500; only the first {len(lines)} are shown"


def test_a_long_line_is_shown_around_the_match(workspace: Path) -> None:
    put(workspace, "data.json", "x" * 5000 + " green tea " + "y" * 5000)
    result = search_files.invoke({"text": "tea"})
    assert "green tea" in result and len(result) < 400


# Writing


def test_a_file_is_created_with_its_folders(workspace: Path) -> None:
    result = write_file.invoke({"path": "reports/june.md", "text": "Grüße\n"})
    assert result == "Made reports/june.md: 8 bytes."
    assert (workspace / "reports" / "june.md").read_bytes() == "Grüße\n".encode()


def test_a_file_is_replaced_and_nothing_else_is_left(workspace: Path) -> None:
    put(workspace, "notes.md", "Hello there")
    result = write_file.invoke({"path": "notes.md", "text": "Bye"})
    assert result == "Replaced notes.md: 3 bytes, before 11 bytes."
    assert [path.name for path in workspace.iterdir()] == ["notes.md"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is not a file"),
        (".", "is not a file"),
        ("reports", "is not a file"),
        ("report.pdf", "is not a text file"),
        ("reports/june.md/deeper.md", "could not be written"),
    ],
)
def test_a_file_that_cannot_be_written_says_why(workspace: Path, path: str, problem: str) -> None:
    put(workspace, "reports/june.md", "Hello")
    with pytest.raises(ToolError, match=problem):
        write_file.invoke({"path": path, "text": "mine"})
    assert list_paths() == ["reports/june.md"]
