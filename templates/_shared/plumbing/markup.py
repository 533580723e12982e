"""Markdown that models and documents wrote, made so that nothing in it is live."""

from __future__ import annotations

import re

JOINER = "\u2060"  # invisible; "<" and "!" followed by it begin no tag and no image


def inert(text: str) -> str:
    """The text with its tags, images and diagrams broken; bold, lists, links and code stay.

    They are broken even inside code, where Markdown and we might disagree about what is code.
    """
    text = re.sub(r"<(?=[a-zA-Z/!?])|!(?=\[)", rf"\g<0>{JOINER}", text)
    return re.sub(r"(?i)(`{3,}|~{3,})(\s*)mermaid", r"\1\2text", text)  # it can load images, too
