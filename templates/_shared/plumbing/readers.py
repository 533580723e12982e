"""Readers: turn the bytes of a file into pages of text, one reader for each file type."""

import csv
import io
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

MAX_UNPACKED_MB = 300  # the largest size of a DOCX or PPTX once unpacked


class Unreadable(Exception):
    """A document cannot be read. The message continues the document's name: "is empty"."""


@dataclass(frozen=True)
class Page:
    """A page, a slide, or the whole text of a document without pages."""

    text: str
    page: int | None = None  # PDF page or slide number, from 1
    section: str = ""  # the nearest heading, "A › B" when nested


def reader(ending: str) -> Callable[[bytes], Iterator[Page]]:
    """The reader for a file extension. Raises Unreadable."""
    try:
        return READERS[ending.lower()]
    except KeyError:
        kinds = ", ".join(sorted(READERS))
        raise Unreadable(f"has an unsupported file type (supported: {kinds})") from None


def read(ending: str, data: bytes) -> list[Page]:
    """A document's pages, in order; its extension (".pdf") picks the reader. Raises Unreadable."""
    pages_of = reader(ending)
    if not data.strip():
        raise Unreadable("is empty")
    try:
        pages = [page for page in pages_of(data) if page.text.strip()]
    except Unreadable:
        raise
    except Exception as error:  # third-party parsers, unknown files
        problem = f"is broken, or is not a {ending} file ({type(error).__name__})"
        raise Unreadable(problem) from error
    if not pages:
        raise Unreadable("contains no text (is it a scan?)")
    return pages


# One reader for each file type


def _text(data: bytes) -> Iterator[Page]:
    yield Page(_decode(data))


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\0" in data[:4096]:
        raise Unreadable("is not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _csv(data: bytes) -> Iterator[Page]:
    text = _decode(data)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:4096], ",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = csv.DictReader(io.StringIO(text, newline=""), dialect=dialect, restval="")
    # Each row becomes a list item, so that it stays whole and can be found and quoted alone.
    lines = ("; ".join(f"{k}: {v}" for k, v in row.items() if k and v) for row in rows)
    yield Page("\n".join(f"- {line}" for line in lines if line))


def _pdf(data: bytes) -> Iterator[Page]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it logs a line for every odd byte
    try:
        reader = PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:  # strong ciphers need one more package
        locked = True
    if locked:
        raise Unreadable("is encrypted (a password is needed)")
    for number, page in enumerate(reader.pages, start=1):
        text = re.sub(r"(?<=\w)-\n(?=[a-zß-ÿ])", "", page.extract_text())  # a hyphenated word
        yield Page(re.sub(r"(?<=\S)\n(?=[a-zß-ÿ(])", " ", text), page=number)  # a broken sentence


def _docx(data: bytes) -> Iterator[Page]:
    from docx import Document
    from docx.table import Table

    _refuse_bomb(data)
    blocks = []
    for block in Document(io.BytesIO(data)).iter_inner_content():
        if isinstance(block, Table):
            blocks.append("\n".join(_row(cell.text for cell in row.cells) for row in block.rows))
        else:
            style = (block.style and block.style.name) or ""
            level = re.fullmatch(r"Heading (\d)|Title", style)
            blocks.append("#" * int(level[1] or 1) + " " + block.text if level else block.text)
    yield Page("\n\n".join(blocks))


def _pptx(data: bytes) -> Iterator[Page]:
    from pptx import Presentation

    _refuse_bomb(data)
    for number, slide in enumerate(Presentation(io.BytesIO(data)).slides, start=1):
        title = slide.shapes.title
        blocks = list(_shapes(shape for shape in slide.shapes if shape != title))
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame:
            blocks.append(slide.notes_slide.notes_text_frame.text)
        heading = title.text.strip() if title else ""
        yield Page("\n\n".join(blocks) or heading, page=number, section=heading)


def _shapes(shapes: Iterable) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):  # a group
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text
        elif getattr(shape, "has_table", False):
            yield "\n".join(_row(cell.text for cell in row.cells) for row in shape.table.rows)


def _html(data: bytes) -> Iterator[Page]:
    from bs4 import BeautifulSoup, NavigableString
    from bs4.element import PreformattedString

    soup = BeautifulSoup(data, "lxml")
    for tag in soup(["script", "style", "noscript", "template", "svg", "nav", "form", "iframe"]):
        tag.decompose()
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for node in soup.find_all(string=True):
        if isinstance(node, PreformattedString):  # comments and the like: not visible text
            node.extract()
        elif not node.find_parent("pre"):
            node.replace_with(NavigableString(re.sub(r"\s+", " ", node)))
    for row in soup("tr"):
        row.replace_with("\n" + _row(cell.get_text(" ") for cell in row(["td", "th"])) + "\n")
    for heading in soup(re.compile("^h[1-6]$")):
        heading.replace_with(
            f"\n\n{'#' * int(heading.name[1])} {heading.get_text(' ', strip=True)}\n\n"
        )
    for block in soup(
        ["p", "div", "section", "li", "pre", "table", "blockquote", "br", "dd", "dt"]
    ):
        block.append("\n" if block.name in {"li", "br"} else "\n\n")
    text = (soup.body or soup).get_text()
    yield Page(re.sub(r"[ \t]*\n\s*\n\s*", "\n\n", text).strip(), section=title)


def _row(cells: Iterable[str]) -> str:
    return " | ".join(" ".join(cell.split()) for cell in cells)


def _refuse_bomb(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED_MB * 2**20:
            raise Unreadable(f"unpacks to more than {MAX_UNPACKED_MB} MB")


READERS: dict[str, Callable[[bytes], Iterator[Page]]] = {
    ".pdf": _pdf,
    ".docx": _docx,
    ".pptx": _pptx,
    ".html": _html,
    ".htm": _html,
    ".md": _text,
    ".txt": _text,
    ".csv": _csv,
}
