"""Passages: splits the text of a document into the parts that are searched and cited."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plumbing.readers import Page

Vector = list[float]

SIZE = 1600  # characters, about 400 tokens
OVERLAP = 0


@dataclass(frozen=True)
class Passage:
    """A part of a document; `page.text[start:start + len(text)] == text`."""

    id: str
    source: str  # "docs/guide.pdf" or a URL
    text: str
    page: int | None
    section: str
    start: int


@dataclass(frozen=True)
class Hit:
    """A search result: a passage's id and its score (higher is better)."""

    id: str
    score: float


@dataclass(frozen=True)
class Citation:
    """A number in an answer, and the passage that it points to."""

    number: int
    passage: Passage


# The start of a list item, a table row, a quotation, a heading or a code fence.
_MARK = r"(?:[-*+•|>]|\d{1,3}[.)]|#{1,6})[ \t]|\||```|~~~"
_HEADING = re.compile(r"^(#{1,6})[ \t]+(\S.*)$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
_BLOCK = re.compile(r"\n[ \t]*\n\s*|^#{1,6}[ \t].*\n", re.MULTILINE)  # a heading is a block, too
_END = re.compile(
    r"""(?P<stop>(?<![.!?…])[.!?…]+["'’”»)\]*_]*)\s+(?=\S)"""  # Latin scripts: a mark, then a space
    r"""|[。！？]+[」』”）]*\s*"""  # Chinese and Japanese: no space
    rf"|\n(?=[ \t]*(?:{_MARK}))"
)
_SPACE = re.compile(r"\s+")
_LAST_WORD = re.compile(r"(\w+)\.$")
_ABBREVIATIONS = (
    " abb abs al anm apr art aug bd bsp bzw ca cap cf chap ch dec dept dez dr dra eg est feb fig "
    "figs gen ggf hr hrsg ie inkl jan jr kap lt mgr mio mlle mm mme mr mrs ms mt nb nos nov nr núm "
    "oct okt op pag pág pp prof resp sec sep sept sr sra srta st str tel vgl vol vs zb zt "
)

Span = tuple[int, int]


def split(
    source: str, pages: Iterable[Page], size: int = SIZE, overlap: int = OVERLAP
) -> list[Passage]:
    """Split pages into passages of at most `size` characters, at the best break in reach."""
    passages = []
    for number, page in enumerate(pages):
        for section, span in _sections(page):
            for start, end in _pack(list(_units(page.text, span, size)), size, overlap):
                text = page.text[start:end].strip()
                if text:
                    start = page.text.index(text[0], start)
                    key = f"{source}\0{number}\0{start}\0{text}".encode(errors="replace")
                    name = hashlib.blake2b(key, digest_size=16).hexdigest()
                    passages.append(Passage(name, source, text, page.page, section, start))
    return passages


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order and stripped."""
    blocks = _cut(text, (0, len(text)), _BLOCK)
    cut = (text[start:end].strip() for span in blocks for start, end in _prose(text, span))
    return [sentence for sentence in cut if sentence]


def _sections(page: Page) -> Iterator[tuple[str, Span]]:
    """The sections of a page, one per heading; a heading without text joins the next one."""
    fences = [match.span() for match in _FENCE.finditer(page.text)][::-1]
    trail: list[tuple[int, str]] = []
    name, start, body = page.section, 0, 0
    for match in _HEADING.finditer(page.text):
        while fences and fences[-1][1] <= match.start():
            fences.pop()
        if fences and fences[-1][0] <= match.start():
            continue
        if page.text[body : match.start()].strip():
            yield name, (start, match.start())
            start = match.start()
        body = match.end()
        level = len(match[1])
        trail = [above for above in trail if above[0] < level] + [(level, _title(match[2]))]
        titles = [title for _, title in trail]
        name = " › ".join(
            filter(None, [page.section if titles[0] != page.section else "", *titles])
        )
    yield name, (start, len(page.text))


def _title(line: str) -> str:
    """The title without closing hashes ("Title ##"); the one in "C#" stays."""
    words = line.split()
    return " ".join(words if words[-1].strip("#") else words[:-1] or words)


def _units(text: str, span: Span, size: int) -> Iterator[tuple[int, int, bool]]:
    """The smallest units that are not split, in order; True where a paragraph ends."""
    for paragraph in _cut(text, span, _PARAGRAPH):
        for part in _prose(text, paragraph):
            whole = part[1] - part[0] <= size
            for start, end in [part] if whole else _cut(text, part, _SPACE):
                for at in range(start, end, size):
                    stop = min(at + size, end)
                    if not text[at:stop].isspace():
                        yield at, stop, stop == paragraph[1]


def _prose(text: str, span: Span) -> Iterator[Span]:
    """Split after each sentence, list item or table row."""
    start, end = span
    for match in _END.finditer(text, start, end):
        if match["stop"] and not _ends(text, match):
            continue
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether the full stop ends a sentence: not after "e.g.", "Dr.", "z. B." or "3."."""
    if match["stop"] != "." or "\n\n" in match[0]:
        return True
    if text[match.end()].islower():
        return False
    word = _LAST_WORD.search(text, max(0, match.start() - 24), match.start() + 1)
    if word is None:
        return True
    short = len(word[1]) == 1 or (len(word[1]) == 2 and word[1].isdigit())
    return not short and f" {word[1].lower()} " not in _ABBREVIATIONS


def _cut(text: str, span: Span, separator: re.Pattern[str]) -> Iterator[Span]:
    """Split a span at a separator; each part keeps the separator after it."""
    start, end = span
    for match in separator.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end


def _pack(units: list[tuple[int, int, bool]], size: int, overlap: int) -> Iterator[Span]:
    """Join units up to `size`; end with a paragraph if one ends in the last third."""
    first = 0
    while first < len(units):
        last = best = first
        while last < len(units) and units[last][1] - units[first][0] <= size:
            if units[last][2] and units[last][1] - units[first][0] > size * 2 // 3:
                best = last
            last += 1
        last = max(last, first + 1)
        if best > first and last < len(units):
            last = best + 1
        yield units[first][0], units[last - 1][1]
        if last == len(units):
            return
        back = last
        while back - 1 > first and units[last - 1][1] - units[back - 1][0] <= overlap:
            back -= 1
        while back < last and units[last][1] - units[back][0] > size:
            back += 1
        first = back
