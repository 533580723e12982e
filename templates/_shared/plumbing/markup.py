"""Makes Markdown from models and documents safe to show: no HTML tag or image is rendered."""

from __future__ import annotations

import re

JOINER = "\u2060"  # invisible; after it, "<" starts no tag and "!" no image


def inert(text: str) -> str:
    """Disable the tags, images and diagrams in a text; bold, lists, links and code still work.

    Inside code too: the Markdown renderer may not agree with us about what is code.
    """
    text = re.sub(r"<(?=[a-zA-Z/!?])|!(?=\[)", rf"\g<0>{JOINER}", text)
    return re.sub(r"(?i)(`{3,}|~{3,})(\s*)mermaid", r"\1\2text", text)  # a diagram can load images
