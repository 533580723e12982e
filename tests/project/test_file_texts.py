"""The texts in a file: of archives, documents, PDFs and databases, within limits."""

import gzip
import io
import zipfile
import zlib

import pytest

from hackkit.project.file_texts import MOST, Unpacker, unread
from hackkit.project.leaks import leaks

# Made up, and put together here so that no scan of this repository finds it.
KEY = "ab3de6gh" * 4
WORD = (
    f'<?xml version="1.0"?><w:p><w:t>API key: </w:t><w:t>{KEY[:9]}</w:t><w:t>{KEY[9:]}</w:t></w:p>'
)


def zipped(name: str = "word/document.xml", text: str | bytes = WORD) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return file.getvalue()


def pdf(text: bytes) -> bytes:
    return b"%PDF-1.7\n1 0 obj\n<<>>\nstream\n" + zlib.compress(text) + b"\nendstream\n"


def kinds(data: bytes) -> set[str]:
    return {leak.kind for each in Unpacker().texts(data) for leak in leaks(each.text)}


def length(data: bytes) -> int:
    return sum(len(each.text) for each in Unpacker().texts(data))


def test_a_key_in_a_document_is_found_although_tags_split_it() -> None:
    assert kinds(zipped()) == {"a Mistral API key"}


def test_a_key_on_a_page_of_a_pdf_is_found_also_with_its_letters_moved() -> None:
    shown = f"BT [(api key {KEY[:5]}) -20 ({KEY[5:]})] TJ ET".encode()
    assert kinds(pdf(shown)) == {"a Mistral API key"}


def test_the_number_of_a_pdf_is_no_key() -> None:
    assert kinds(f"%PDF-1.7\n/Title (mistral) /ID [<{KEY}>]\n".encode()) == set()


def test_text_in_utf_16_keeps_its_lines() -> None:
    [text] = Unpacker().texts("é\napi key\n".encode("utf-16"))
    assert text.has_lines
    assert text.text.splitlines()[1] == "api key"


def test_an_archive_cannot_hide_a_key_by_its_depth_and_what_is_deeper_is_said() -> None:
    data = f"api key {KEY}\n".encode()
    for _ in range(4):
        data = zipped("a", data)
    assert kinds(data) == {"a Mistral API key"}
    deeper = zipped("a", data)
    assert kinds(deeper) == set()
    assert unread(deeper) == ("a/a/a/a (an archive 4 archives deep)",)


def test_a_packed_file_in_a_packed_file_ends() -> None:
    data = b"x"
    for _ in range(100):
        data = gzip.compress(data)
    assert length(data) < 10_000


@pytest.mark.parametrize(
    "data",
    [zipped()[:60], b"PK\x03\x04nothing", pdf(b"")[:40], b"%PDF-stream\nx", b"\x1f\x8b", b"BZh"],
    ids=["cut office", "no zip", "cut pdf", "no pdf", "cut gzip", "cut bzip2"],
)
def test_a_broken_file_is_only_text(data: bytes) -> None:
    assert length(data) <= 2 * len(data)


@pytest.mark.parametrize(
    "data",
    [pdf(bytes(100_000_000)), zipped(text=bytes(100_000_000)), gzip.compress(bytes(100_000_000))],
    ids=["pdf", "zip", "gzip"],
)
def test_unpacking_a_file_stops_at_the_limit_and_says_so(data: bytes) -> None:
    assert length(data) <= MOST + len(data)
    assert any("only the first 30 MB" in each for each in unread(data))


def test_a_broken_database_is_searched_for_strings() -> None:
    data = b"SQLite format 3\0" + bytes(100) + f"\0api key {KEY}\0".encode()
    assert kinds(data) == {"a Mistral API key"}


def test_plain_text_is_not_unread() -> None:
    assert unread(b"print()\n") == ()
    assert unread(zipped()) == ()
