"""The texts in a file: of archives, documents, PDFs and databases, within limits."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable

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


PACKED = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}
LINE = f"api key {KEY}\n".encode()


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_every_part_of_a_packed_file_is_searched(pack: Callable[[bytes], bytes]) -> None:
    for first in (b"", b"one\n", bytes(300_000)):
        assert kinds(pack(first) + pack(LINE)) == {"a Mistral API key"}
        assert unread(pack(first) + pack(LINE)) == ()
    assert kinds(pack(b"one\n") * 20_000 + pack(LINE)) == {"a Mistral API key"}


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_what_follows_a_packed_file_is_named(pack: Callable[[bytes], bytes]) -> None:
    data = pack(LINE) + b"x" * 40
    assert kinds(data) == {"a Mistral API key"}
    assert unread(data) == ("the rest (damaged)",)


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_a_cut_packed_file_is_searched_up_to_there_and_named(
    pack: Callable[[bytes], bytes],
) -> None:
    data = pack(b"one\n" * 9) + pack(LINE)[:-9]
    assert unread(data) == ("the rest (damaged)",)
    assert unread(data[:20])


def test_zeros_at_the_end_of_a_packed_file_are_no_damage() -> None:
    assert unread(lzma.compress(LINE) + bytes(8)) == ()
    assert unread(gzip.compress(LINE) + bytes(8)) == ()


@pytest.mark.parametrize(
    "before",
    [b"#!/usr/bin/env python3\n", b"MZ\x90\0" + bytes(5_000), zipped("a", b"hi"), b"\x89PNG" * 9],
    ids=["python", "windows", "another zip", "picture"],
)
def test_a_zip_that_unpacks_itself_is_searched(before: bytes) -> None:
    assert kinds(before + zipped()) == {"a Mistral API key"}
    assert unread(b"MZ" + zipped()) == ()


def test_what_is_before_a_zip_is_searched() -> None:
    assert kinds(LINE + zipped(text="hello")) == {"a Mistral API key"}
    assert kinds(zipped() + zipped(text="hello")) == {"a Mistral API key"}


@pytest.mark.parametrize(
    "data",
    [zipped()[:60], zipped() + bytes(70_000), gzip.compress(LINE)[:9]],
    ids=["cut zip", "filled zip", "cut gzip"],
)
def test_a_damaged_archive_is_named(data: bytes) -> None:
    assert unread(data) == ("all of it (damaged)",)


def test_text_that_begins_like_an_archive_is_text() -> None:
    for beginning in (b"BZhou\n", b"LZIP is\n"):
        assert kinds(beginning + LINE) == {"a Mistral API key"}
        assert unread(beginning + LINE) == ()


def test_plain_text_is_not_unread() -> None:
    assert unread(b"print()\n") == ()
    assert unread(zipped()) == ()
