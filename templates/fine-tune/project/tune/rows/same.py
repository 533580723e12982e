"""Tells what says the same, whichever its case, its spaces and its punctuation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from unicodedata import normalize

from tune.rows.row import Message, reply

# Signs that a question may have or lack; not those that change what it says: + - * / = < > % # $
_SIGNS = b'.,;:!?"()[]{}'
_PLAIN = bytes.maketrans(_SIGNS, b" " * len(_SIGNS)).lower()  # quick: each row is read so
_OTHER_SIGNS = re.compile("[“”„«»‹›–—¿¡。、「」『』·•]")
_UNSEEN = re.compile("[’‘´\u00ad\u200b\u200c\u200d\ufeff]")  # “don’t” is “dont”; soft hyphens


def plain(message: Message) -> bytes:
    """A message's text as it is compared. One of signs alone stays as it is."""
    text = reply(message)
    if not text.isascii():
        text = _OTHER_SIGNS.sub(" ", _UNSEEN.sub("", normalize("NFKC", text).casefold()))
    whole = text.encode("utf-8", "replace")
    return b" ".join(whole.translate(_PLAIN, b"'").split()) or whole


def fingerprint(messages: Iterable[Message], key: bytes = b"") -> int:
    """A number for what was said: equal where two conversations say the same, or nearly.

    The same on every machine.
    """
    whole = b"\0".join(map(plain, messages))
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8, key=key).digest(), "big")


def without_numbers(text: bytes) -> bytes:
    """A plain text without its numbers and what stands between them: itself where it has none."""
    rest = text.translate(None, b"0123456789")
    return text if len(rest) == len(text) else rest.replace(b" ", b"")
