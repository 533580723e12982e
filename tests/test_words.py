"""Holds the plain English of everything that people read: the words to avoid are in no text."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

# Each word is matched whole and in any case; the words of a name (`_was_told`, `NotHeard`) count.
AVOIDED = (
    *(
        "told",
        "tell",
        "tells",
        "telling",
        "hear",
        "hears",
        "heard",
        "hearing",
        "nobody",
        "somebody",
    ),
    *("whoever", "mend", "mends", "mended", "mending", "anew", "reckon", "reckons", "reckoned"),
    *(
        "reckoning",
        "stands",
        "lies",
        "dwell",
        "dwells",
        "begun",
        "otherwise than",
        "wish",
        "wishes",
    ),
    *("utter", "utters", "uttered", "dear", "knob", "knobs", "what became of", "for now", "by now"),
    *("as it came", "the whole way"),
)
# Names that hackkit itself once had for the field's deployment, request, prompt and problem.
AVOIDED_IN_SOURCE = (
    "orders",
    "voice",
    "objection",
    "objections",
    "obstacle",
    "obstacles",
    "pristine",
)
# A file's method is Python's own; scripts read this key of `hackkit deploy --dry-run --json`.
KEPT = (".tell()", '"objections"')
READ_BY_PEOPLE = {
    *(".py", ".md", ".toml", ".yml", ".yaml", ".jinja", ".j2", ".css", ".js", ".html", ".ipynb"),
    *(".sh", ".example", ".txt", ".patch", ""),
}
# What these hold is data: documents to search in, answers of models, a licence's own words.
DATA = re.compile(
    r"(^|/)(docs/(?!doctor)|data/|workspace/|evals/.*\.jsonl$|LICENSE|_slots/license/)|^tests/test_words.py$"
)


def texts(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every tracked file in a folder that people read."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (
            Path(name).suffix in READ_BY_PEOPLE
            and not DATA.search(name)
            and (ROOT / name).is_file()
        ):
            yield name, (ROOT / name).read_text("utf-8")


def words_of(text: str) -> str:
    """Take the names in a text apart into words, without what is not ours to name."""
    for kept in KEPT:
        text = text.replace(kept, "")
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)


def found(folder: str, avoided: tuple[str, ...]) -> list[str]:
    """List each place of an avoided word as `file:line: word`."""
    pattern = re.compile(rf"\b({'|'.join(avoided)})\b", re.IGNORECASE)
    places, looked_at = [], 0
    for name, text in texts(folder):
        looked_at += 1
        for number, line in enumerate(words_of(text).splitlines(), 1):
            places += [f"{name}:{number}: {match[0]}" for match in pattern.finditer(line)]
    assert looked_at, f"no text in {folder}"
    return places


@pytest.mark.parametrize(
    "folder",
    [
        *("src", "templates", "examples", "tests", "benchmarks", "docs"),
        *(".ci", ".github", ":(glob)*"),
    ],
)
def test_a_text_holds_no_word_to_avoid(folder: str) -> None:
    places = found(folder, AVOIDED)
    assert not places, "\n".join(places)


def test_the_source_has_the_fields_names() -> None:
    places = found("src", AVOIDED_IN_SOURCE)
    assert not places, "\n".join(places)
