# /// script
# requires-python = ">=3.11"
# dependencies = ["pydantic-settings", "snowballstemmer"]
# ///
"""Which chunk size finds the most reference text: `uv run benchmarks/chunking.py`.

Splits the five texts of ../shared/data/chunking with the template's splitter, searches them with
its keyword search, and counts the characters of the reference answers in the first five chunks.
The data is not in the repository; without it there is nothing to measure.
"""

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "chunking"
TEXTS = ("chatlogs", "finance", "pubmed", "state_of_the_union", "wikitexts")
SIZES = (400, 800, 1200, 1600, 2000, 2400)
sys.path[0] = str(HERE.parent / "templates" / "_shared")  # not our own rag.py

from plumbing.readers import Page  # noqa: E402
from rag import bm25  # noqa: E402
from rag.chunks import Chunk, split  # noqa: E402

Span = tuple[int, int]


def main() -> None:
    if not DATA.is_dir():
        print(f"Nothing to measure: {DATA} does not exist.")
        return
    texts = {name: (DATA / f"{name}.md").read_text(encoding="utf-8") for name in TEXTS}
    questions = list(_questions())
    print("recall: reference text in the first k chunks; share: reference text in the retrieved")
    print(" size  overlap  chunks  recall@1  recall@3  recall@5  share@5  split s")
    for size in SIZES:
        for overlap in (0, size // 8, size // 4):
            _row(texts, questions, size, overlap)


def _row(texts: dict[str, str], questions: list, size: int, overlap: int) -> None:
    started = time.perf_counter()
    chunks = [
        chunk for name, text in texts.items() for chunk in split(name, [Page(text)], size, overlap)
    ]
    seconds = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        bm25.add(Path(folder), "all", "", chunks)
        found = [bm25.search(Path(folder), question, 5) for question, _, _ in questions]
    by_id = {chunk.id: chunk for chunk in chunks}
    recall = dict.fromkeys((1, 3, 5), 0.0)
    share = 0.0
    for (_, name, spans), hits in zip(questions, found, strict=True):
        wanted = sum(end - start for start, end in spans)
        for k in recall:
            recall[k] += _held(spans, name, [by_id[each] for each in hits[:k]]) / wanted
        first = [by_id[each] for each in hits]
        share += _held(spans, name, first) / max(1, sum(len(each.text) for each in first))
    total = len(questions)
    found_at = "  ".join(f"{recall[k] / total:8.1%}" for k in recall)
    print(f"{size:5} {overlap:8} {len(chunks):9}  {found_at}  {share / total:7.2%}  {seconds:7.2f}")


def _held(spans: list[Span], name: str, chunks: Iterable[Chunk]) -> int:
    """Count the characters of the spans that are in the chunks, each one once."""
    wanted = {at for start, end in spans for at in range(start, end)}
    mine = (each for each in chunks if each.source == name)
    return len(wanted.intersection(*[{
        at for each in mine for at in range(each.start, each.start + len(each.text))
    }]))  # fmt: skip


def _questions() -> Iterable[tuple[str, str, list[Span]]]:
    with (DATA / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spans = [
                (each["start_index"], each["end_index"]) for each in json.loads(row["references"])
            ]
            yield row["question"], row["corpus_id"], spans


if __name__ == "__main__":
    main()
