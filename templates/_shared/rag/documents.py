"""Documents: finds them, fetches them from the web, and reads each kind into pages of text."""

from __future__ import annotations

import csv
import io
import ipaddress
import logging
import os
import re
import socket
import ssl
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from rag.passages import Page
from rag.settings import ROOT

MAX_UNPACKED_MB = 300  # what a DOCX or PPTX may hold once unpacked
MAX_REDIRECTS = 5
FETCH_SECONDS = 20


class Unreadable(Exception):
    """What is wrong with a document, in words that follow its name: "is empty"."""


def find(paths: Iterable[str | Path]) -> Iterator[str]:
    """The names of the files and URLs given, and of the files in folders; hidden ones are left out.

    A URL is its own name, a file is named by its path from the project.
    """
    for path in paths:
        if is_url(path):
            yield str(path)
        elif (folder := Path(path)).is_dir():
            inside = (p for p in sorted(folder.rglob("*")) if p.is_file())
            yield from (
                name_of(p)
                for p in inside
                if not any(x.startswith(".") for x in p.relative_to(folder).parts)
            )
        else:
            yield name_of(Path(path))


def name_of(path: Path) -> str:
    """A file's one name, whichever way it is given: its path from the project, if it lies there."""
    for place in (Path(os.path.abspath(path)), path.resolve()):
        if place.is_relative_to(ROOT):
            return place.relative_to(ROOT).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def is_url(name: str | Path) -> bool:
    """Tell the web's documents from files."""
    return "://" in str(name)


def load(name: str, max_mb: int) -> tuple[str, bytes]:
    """A document's kind, as the ending of a file (".md"), and its bytes. Raises Unreadable."""
    if is_url(name):
        return fetch(name, max_mb)
    path = ROOT / name
    reader(path.suffix)  # else it is not even opened
    try:
        if path.stat().st_size > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
        return path.suffix, path.read_bytes()
    except OSError as error:
        raise Unreadable(f"could not be opened ({error.strerror})") from error


def reader(ending: str) -> Callable[[bytes], Iterator[Page]]:
    """The reader for files of this ending. Raises Unreadable."""
    try:
        return READERS[ending.lower()]
    except KeyError:
        kinds = ", ".join(sorted(READERS))
        raise Unreadable(f"is of a kind that is not read ({kinds} are)") from None


def read(ending: str, data: bytes) -> list[Page]:
    """A document's pages, in order; its `ending` (".pdf") chooses the reader. Raises Unreadable."""
    pages_of = reader(ending)
    if not data.strip():
        raise Unreadable("is empty")
    try:
        pages = [page for page in pages_of(data) if page.text.strip()]
    except Unreadable:
        raise
    except Exception as error:  # the readers are other people's code, the files are anybody's
        problem = f"is broken or not what its name says ({type(error).__name__})"
        raise Unreadable(problem) from error
    if not pages:
        raise Unreadable("holds no text (a scan, perhaps)")
    return pages


# One reader for each kind of file


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
    # Each row as a list item: it is kept whole, found and quoted on its own.
    lines = ("; ".join(f"{k}: {v}" for k, v in row.items() if k and v) for row in rows)
    yield Page("\n".join(f"- {line}" for line in lines if line))


def _pdf(data: bytes) -> Iterator[Page]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it has a line for every odd byte
    try:
        reader = PdfReader(io.BytesIO(data))
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:  # the stronger ciphers would need one more package
        locked = True
    if locked:
        raise Unreadable("is encrypted")
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
        if isinstance(node, PreformattedString):  # a comment and the like, not for readers
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

# The web


def fetch(
    url: str,
    max_mb: int,
    allowed: Callable[[str], bool] | None = None,
    seconds: float = FETCH_SECONDS,
) -> tuple[str, bytes]:
    """Download a page or file; returns the ending that tells its kind (".html"), and the bytes.

    Addresses inside this machine or its network are refused, at every redirect anew.
    `allowed` decides on an IP address. Raises Unreadable.
    """
    import httpx2

    # No proxy from the environment: it would resolve names again, and elsewhere.
    client = httpx2.Client(timeout=seconds / 2, trust_env=False, verify=_trusted())
    alarm = threading.Timer(seconds, client.close)  # the time-out counts one silence, not the whole
    try:
        alarm.start()
        for _ in range(MAX_REDIRECTS):
            with client.stream("GET", **_checked(url, allowed or is_public)) as response:
                if not response.has_redirect_location:
                    response.raise_for_status()
                    data = _body(response.iter_bytes(), max_mb)
                    return _ending(url, response.headers.get("content-type", "")), data
                url = urljoin(url, response.headers["location"])
        raise Unreadable("redirects too often")
    except httpx2.HTTPStatusError as error:
        raise Unreadable(f"the server answered {error.response.status_code}") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, RuntimeError, ValueError) as error:
        cause = type(error).__name__ if alarm.is_alive() else f"more than {seconds:g} seconds"
        raise Unreadable(f"could not be fetched ({cause})") from error
    finally:
        alarm.cancel()
        client.close()


@cache
def _trusted() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context(trust_env=False)  # takes longer than a small page


def _body(chunks: Iterable[bytes], max_mb: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > max_mb * 2**20:
            raise Unreadable(f"is larger than {max_mb} MB (MAX_FILE_MB raises the limit)")
    return bytes(data)


def is_public(address: str) -> bool:
    """Whether an IP address lies on the open internet, not in this machine or its network."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # IPv4 inside IPv6, by NAT64
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        else:
            ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def _checked(url: str, allowed: Callable[[str], bool]) -> dict[str, Any]:
    """The request for a URL, aimed at the very address that was checked (no second look-up)."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unreadable("only http:// and https:// addresses are read")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in found]
    if not all(allowed(address) for address in addresses):
        raise Unreadable("addresses inside your own network are not read")
    address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    host = parts.netloc.rpartition("@")[2].encode("idna").decode()
    return {
        "url": parts._replace(netloc=f"{address}:{port}", fragment="").geturl(),
        "headers": {"Host": host, "User-Agent": "rag-app"},
        "extensions": {"sni_hostname": parts.hostname},
    }


def _ending(url: str, content_type: str) -> str:
    """The kind of what came from a URL: as the server says, else as the address ends."""
    kinds = {"html": ".html", "pdf": ".pdf", "wordprocessing": ".docx", "presentation": ".pptx"}
    kinds |= {"csv": ".csv", "markdown": ".md"}
    for kind, ending in kinds.items():
        if kind in content_type.lower():
            return ending
    ending = Path(urlsplit(url).path).suffix.lower()
    if ending in READERS:
        return ending
    return {"text/plain": ".txt", "": ".html"}.get(content_type.partition(";")[0].lower(), "")
