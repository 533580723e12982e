"""Turns a project's name into one that packages, folders and web addresses accept."""

import re
import unicodedata

# Letters that Unicode does not split into a base letter and an accent.
_SPELLED_OUT = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "þ": "th",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    }
)


def slug(name: str, otherwise: str = "my-app") -> str:
    """Turn any name into lower-case ASCII words joined by dashes ("Café du Nord" → cafe-du-nord).

    A name without any ASCII letter or digit becomes `otherwise`.
    """
    folded = name.casefold().translate(_SPELLED_OUT)
    plain = unicodedata.normalize("NFKD", folded).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or otherwise
