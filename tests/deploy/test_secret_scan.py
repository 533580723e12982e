"""Keys are found in documents, archives and PDFs too."""

import io
import zipfile
import zlib

import pytest

from hackkit.deploy.secret_scan import contents
from hackkit.project.leaks import leaks

# Made up, and put together here so that no scan of this repository finds it.
KEY = "ab3de6gh" * 4
WORD = (
    f'<?xml version="1.0"?><w:p><w:t>API key: </w:t><w:t>{KEY[:9]}</w:t><w:t>{KEY[9:]}</w:t></w:p>'
)


def office(name: str = "word/document.xml", text: str = WORD) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return file.getvalue()


def pdf(text: bytes) -> bytes:
    return b"%PDF-1.7\n1 0 obj\n<<>>\nstream\n" + zlib.compress(text) + b"\nendstream\n"


def found(data: bytes) -> set[str]:
    return {leak.kind for part in contents(data) for leak in leaks(part)}


def test_a_key_in_a_document_is_found_although_tags_split_it() -> None:
    assert found(office()) == {"a Mistral API key"}


def test_a_key_in_a_file_of_an_archive_is_found() -> None:
    assert found(office("settings.py", f"MISTRAL_API_KEY = '{KEY}'\n")) == {"a Mistral API key"}


def test_a_key_on_a_page_of_a_pdf_is_found_also_with_its_letters_moved() -> None:
    shown = f"BT [(api key {KEY[:5]}) -20 ({KEY[5:]})] TJ ET".encode()
    assert found(pdf(shown)) == {"a Mistral API key"}


@pytest.mark.parametrize(
    "data",
    [b"plain text", office()[:60], b"PK\x03\x04nothing", pdf(b"")[:40], b"%PDF-stream\nx"],
    ids=["text", "cut office", "no zip", "cut pdf", "no pdf"],
)
def test_plain_or_broken_files_yield_nothing(data: bytes) -> None:
    assert not any(contents(data))


def test_unpacking_a_file_stops_at_the_limit() -> None:
    assert sum(map(len, contents(pdf(b"0" * 100_000_000)))) <= 30_000_000
    assert sum(map(len, contents(office(text="0" * 100_000_000)))) <= 30_000_000
