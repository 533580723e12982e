"""The vector store: Chroma, in the index folder or on the server at STORE_URL."""

# requires: chromadb>=1.5.9,<2
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import chromadb
from chromadb.api import ClientAPI

from rag.chunks import Chunk, Vector
from rag.settings import SETTINGS

BATCH = 5000  # Chroma accepts at most 5,461 per call
_opening = threading.Lock()


def add(folder: Path, chunks: Sequence[Chunk], vectors: Sequence[Vector]) -> None:
    """Store the vectors of chunks; a chunk that exists already is replaced."""
    for start in range(0, len(chunks), BATCH):
        some = chunks[start : start + BATCH]
        theirs: list[Sequence[float] | Sequence[int]] = [*vectors[start : start + BATCH]]
        _collection(folder).upsert(
            ids=[chunk.id for chunk in some],
            embeddings=theirs,
            metadatas=[{"source": chunk.source} for chunk in some],
        )


def search(folder: Path, vector: Vector, limit: int) -> list[str]:
    """The ids of the nearest chunks by cosine similarity, best first."""
    wanted = list[Sequence[float] | Sequence[int]]([vector])
    return _collection(folder).query(query_embeddings=wanted, n_results=limit, include=[])["ids"][0]


def remove(folder: Path, source: str) -> None:
    """Delete all vectors of a document."""
    _collection(folder).delete(where={"source": source})


def count(folder: Path) -> int:
    """The number of vectors."""
    return _collection(folder).count()


def _collection(folder: Path) -> chromadb.Collection:
    with _opening:  # Chroma fails when two threads open a folder at the same time
        return _open(folder)


@cache
def _open(folder: Path) -> chromadb.Collection:
    # We pass our own vectors: without `None` Chroma would download a model.
    return _client(folder).get_or_create_collection(
        f"passages-{folder.name}",  # of the first version: another name would lose the vectors
        embedding_function=None,
        configuration={"hnsw": {"space": "cosine"}},
    )


def _client(folder: Path) -> ClientAPI:
    settings = chromadb.Settings(anonymized_telemetry=False)
    if SETTINGS.store_url:
        url = urlsplit(SETTINGS.store_url)
        tls, host = url.scheme == "https", url.hostname or "localhost"
        port = url.port or (443 if tls else 8000)
        return chromadb.HttpClient(host, port, ssl=tls, settings=settings)
    folder.mkdir(parents=True, exist_ok=True)
    return chromadb.PersistentClient(str(folder / "vectors"), settings=settings)
