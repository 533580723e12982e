"""The words of a text: its language, stems, n-grams and sentences."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from threading import Lock
from typing import Any

import snowballstemmer

NGRAM = 5  # letters

# Stop words: they identify a language, and search ignores them.
_LISTS = {
    "english": "the of and to in is that for it was on are as with be by this from or an a at "
    "which have has had not what who whom how when where why did does do many much were their "
    "they you i we he she his her its if but can will would could should about into than then "
    "there these s t",
    "french": "le la les l des d et est en que qu qui dans un une du de pour pas sur au aux avec "
    "ce il elle ils on plus par son sa ses ou sont cette ces ne n se s quel quelle quels quelles "
    "y comment combien quand où pourquoi quoi à a je nous vous être c j m",
    "german": "der die das den dem des und ist sind in im von vom zu zum zur mit nicht ein eine "
    "einen einem einer eines auf für sich auch als es an am wird werden wurde sie er ich man oder "
    "was wie wer wann warum wo welche welcher welches bei aus nach hat haben kann",
    "spanish": "el la los las de del y en que es un una por con para se no al su sus lo le más "
    "como son o ser ha qué quién cuál cuáles cuándo cómo dónde cuánto cuánta cuántos cuántas a fue "
    "este esta",
    "italian": "il lo la gli le i di e che è un una per con del della dei delle in non si da nel "
    "al sono come più o quale quali chi quando quanto quanti dove perché cosa a l d su ha",
    "portuguese": "o a os as de e em que é um uma por com para do da dos das não se no na nos nas "
    "ao mais como são ou qual quais quem quando quanto quantos onde foi ser",
    "dutch": "de het een en van in is dat op te voor met zijn niet aan er door die om ook als bij "
    "of wat wie hoe hoeveel wanneer waar waarom welke worden wordt kan",
}
STOP_WORDS = {name: frozenset(words.split()) for name, words in _LISTS.items()}
_WORD = re.compile(r"[^\W_]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_stemming = Lock()


def guess_language(text: str, fallback: str = "english") -> str:
    """The language with the most stop words in the text; `fallback` when it is not clear."""
    words = _WORD.findall(text[:2000].lower())
    hits = {name: sum(word in known for word in words) for name, known in STOP_WORDS.items()}
    best, second = sorted(hits.values(), reverse=True)[:2]
    return max(hits, key=lambda name: hits[name]) if best > second + 1 else fallback


def stems(text: str, language: str = "") -> list[str]:
    """The stems of a text, as search compares them; the language is guessed if not given."""
    language = language or guess_language(text)
    return [stem(word, language) for word in words(text)]


def content(text: str, language: str = "") -> list[str]:
    """The stems of a text without its stop words, unless it has no other words."""
    language = language or guess_language(text)
    return [stem(word, language) for word in without(words(text), STOP_WORDS[language])]


def without(found: Iterable[str], stop_words: frozenset[str]) -> list[str]:
    """The words that are no stop words; all of them if there are no others."""
    found = list(found)
    return [word for word in found if word not in stop_words] or found


def words(text: str) -> list[str]:
    """Lower-case words; text without spaces (Chinese, Japanese) gives pairs of characters."""
    found = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    if not _CJK.search(text):
        return found
    return [part for word in found for part in (_pairs(word) if _CJK.search(word) else [word])]


def _pairs(word: str) -> list[str]:
    return [word[at : at + 2] for at in range(max(1, len(word) - 1))]


@lru_cache(maxsize=200_000)
def stem(word: str, language: str) -> str:
    """The stem of a word, without accents."""
    with _stemming:  # a stemmer is not thread-safe
        return _plain(_stemmer(language).stemWord(word[:64])) or word


@cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(language)


@lru_cache(maxsize=200_000)
def ngrams(word: str) -> tuple[str, ...]:
    """The five-letter n-grams of a word with marked ends: _wort_ gives _wort and wort_."""
    marked = f"_{_plain(word[:64])}_"
    return tuple(marked[at : at + NGRAM] for at in range(len(marked) - NGRAM + 1))


def _plain(word: str) -> str:
    if word.isascii():
        return word
    return "".join(each for each in unicodedata.normalize("NFKD", word) if each.isalnum())


# Sentences

Span = tuple[int, int]  # start and end in a text

# The start of a list item, a table row, a quotation, a heading or a code fence.
_MARK = r"(?:[-*+•|>]|\d{1,3}[.)]|#{1,6})[ \t]|\||```|~~~"
_BLOCK = re.compile(r"\n[ \t]*\n\s*|^#{1,6}[ \t].*\n", re.MULTILINE)  # a heading is a block, too
_END = re.compile(
    r"""(?P<stop>(?<![.!?…])[.!?…]+["'’”»)\]*_]*)\s+(?=\S)"""  # Latin scripts: a mark, then a space
    r"""|[。！？]+[」』”）]*\s*"""  # Chinese and Japanese: no space
    rf"|\n(?=[ \t]*(?:{_MARK}))"
)
_LAST_WORD = re.compile(r"(\w+)\.$")
_ABBREVIATIONS = (
    " abb abs al anm apr art aug bd bsp bzw ca cap cf chap ch dec dept dez dr dra eg est feb fig "
    "figs gen ggf hr hrsg ie inkl jan jr kap lt mgr mio mlle mm mme mr mrs ms mt nb nos nov nr núm "
    "oct okt op pag pág pp prof resp sec sep sept sr sra srta st str tel vgl vol vs zb zt "
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order and stripped."""
    blocks = cut(text, (0, len(text)), _BLOCK)
    found = (text[start:end].strip() for span in blocks for start, end in prose(text, span))
    return [sentence for sentence in found if sentence]


def prose(text: str, span: Span) -> Iterator[Span]:
    """Split a span after each sentence, list item or table row."""
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


def cut(text: str, span: Span, separator: re.Pattern[str]) -> Iterator[Span]:
    """Split a span at a separator; each part keeps the separator after it."""
    start, end = span
    for match in separator.finditer(text, start, end):
        yield start, match.end()
        start = match.end()
    if start < end:
        yield start, end
