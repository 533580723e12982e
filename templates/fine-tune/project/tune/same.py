"""Compares texts without their case, spaces and punctuation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from unicodedata import normalize

from tune.example import Message, reply

# Signs that do not count; not those that change the meaning: + - * / = < > % # $
_SIGNS = b'.,;:!?"()[]{}'
_PLAIN = bytes.maketrans(_SIGNS, b" " * len(_SIGNS)).lower()  # fast: used for every row
_OTHER_SIGNS = re.compile("[“”„«»‹›–—¿¡。、「」『』·•]")
_UNSEEN = re.compile("[’‘´\u00ad\u200b\u200c\u200d\ufeff]")  # “don’t” is “dont”; soft hyphens


def plain(message: Message) -> bytes:
    """A message's text in the form that is compared. Text of signs alone stays as it is."""
    text = reply(message)
    if not text.isascii():
        text = _OTHER_SIGNS.sub(" ", _UNSEEN.sub("", normalize("NFKC", text).casefold()))
    whole = text.encode("utf-8", "replace")
    return b" ".join(whole.translate(_PLAIN, b"'").split()) or whole


def fingerprint(messages: Iterable[Message], key: bytes = b"") -> int:
    """A hash of a conversation: equal for two that say the same, or nearly.

    It is the same on every machine.
    """
    whole = b"\0".join(map(plain, messages))
    return int.from_bytes(hashlib.blake2b(whole, digest_size=8, key=key).digest(), "big")


def without_numbers(text: bytes) -> bytes:
    """A plain text without its digits and spaces; unchanged if it has no digits."""
    rest = text.translate(None, b"0123456789")
    return text if len(rest) == len(text) else rest.replace(b" ", b"")
