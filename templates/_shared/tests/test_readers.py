import io

import pytest
from docx import Document
from pptx import Presentation
from pptx.util import Inches
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from plumbing import readers
from plumbing.readers import Page, Unreadable


def saved(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file) if hasattr(document, "save") else document.write(file)  # type: ignore[attr-defined]
    return file.getvalue()


def pdf(*pages: str, password: str = "") -> bytes:
    writer = PdfWriter()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    font_object = DictionaryObject({NameObject(k): NameObject(v) for k, v in font.items()})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font_object})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        page[NameObject("/Contents")] = writer._add_object(content)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    return saved(writer)


def only(ending: str, data: bytes) -> Page:
    (page,) = readers.read(ending, data)
    return page


def problem(ending: str, data: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        readers.read(ending, data)
    return str(caught.value)


def test_a_pdf_keeps_its_page_numbers_and_skips_empty_pages() -> None:
    pages = readers.read(".pdf", pdf("First words", "", "Third words"))
    assert [(page.text.strip(), page.page) for page in pages] == [
        ("First words", 1),
        ("Third words", 3),
    ]


def test_a_word_document_keeps_its_headings_and_tables_in_order() -> None:
    document = Document()
    document.add_heading("Costs", level=1)
    document.add_paragraph("What we pay:")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Item", "Price", "Server", "12 euros"], strict=True):
        cell.text = text
    document.add_heading("Later", level=2)
    text = only(".docx", saved(document)).text
    assert text.split("\n\n") == [
        "# Costs",
        "What we pay:",
        "Item | Price\nServer | 12 euros",
        "## Later",
    ]


def test_a_presentation_gives_a_page_for_each_slide_with_tables_and_notes() -> None:
    deck = Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Plan"
    box = Inches(1), Inches(2), Inches(4), Inches(1)
    table = slide.shapes.add_table(1, 2, *box).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Monday", "Build"
    slide.notes_slide.notes_text_frame.text = "Speak slowly."
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "End"
    first, second = readers.read(".pptx", saved(deck))
    assert first == Page("Monday | Build\n\nSpeak slowly.", page=1, section="Plan")
    assert second == Page("End", page=2, section="End")


def test_a_web_page_gives_its_text_without_scripts_and_comments() -> None:
    page = only(
        ".html",
        b"<html><head><title>Guide</title><style>p {}</style></head><body><!-- hidden -->"
        b"<nav>Menu</nav><h1>Start</h1><p>One <b>bold</b>\n word.</p><script>alert(1)</script>"
        b"<table><tr><th>a</th><td>1</td></tr></table><pre>x\n  y</pre></body></html>",
    )
    assert page.section == "Guide"
    assert page.text.split("\n\n") == ["# Start", "One bold word.", "a | 1", "x\n  y"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_common_encodings(encoding: str) -> None:
    assert only(".txt", "Où est le café ? 5 €".encode(encoding)).text == "Où est le café ? 5 €"


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_a_csv_file_may_use_any_common_separator(mark: str) -> None:
    rows = [["city", "people"], ["Bern", "134"], ["Köln", ""], ["Lyon", '"a ""b"""']]
    data = "\r\n".join(mark.join(row) for row in rows).encode()
    lines = only(".csv", data).text.splitlines()
    assert lines == ["- city: Bern; people: 134", "- city: Köln", '- city: Lyon; people: a "b"']


@pytest.mark.parametrize(
    ("ending", "data", "expected"),
    [
        (".txt", b" \n", "is empty"),
        (".txt", b"a\0b", "is not text"),
        (".md", b"", "is empty"),
        (".pdf", b"%PDF-1.7 broken", "is broken"),
        (".pdf", pdf(""), "contains no text"),
        (".pdf", pdf("Secret", password="x"), "is encrypted"),
        (".docx", b"PK\x03\x04 broken", "is broken"),
        (".pptx", b"no zip at all", "is broken"),
        (".csv", b"only,a,header\n", "contains no text"),
        (".exe", b"MZ", "has an unsupported file type"),
        ("", b"no ending", "has an unsupported file type"),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_line(ending: str, data: bytes, expected: str) -> None:
    message = problem(ending, data)
    assert message.startswith(expected)
    assert "\n" not in message


def test_a_document_that_unpacks_to_too_much_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_UNPACKED_MB", 0)
    assert problem(".docx", saved(Document())).startswith("unpacks to more than")
