"""The vector store: Qdrant, in the index folder or on the server at STORE_URL."""

# requires: qdrant-client>=1.16,<2
import atexit
import threading
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from qdrant_client import QdrantClient, models

from rag.chunks import Chunk, Vector
from rag.settings import SETTINGS

BATCH = 256
_opening = threading.Lock()


def add(folder: Path, chunks: Sequence[Chunk], vectors: Sequence[Vector]) -> None:
    """Store the vectors of chunks; a chunk that exists already is replaced."""
    if not chunks:
        return
    client, name = _client(folder), _name(folder)
    if not client.collection_exists(name):
        space = models.VectorParams(size=len(vectors[0]), distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=space)
    points = [
        models.PointStruct(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, chunk.id)),  # Qdrant accepts only UUIDs
            vector=vector,
            payload={"id": chunk.id, "source": chunk.source},
        )
        for chunk, vector in zip(chunks, vectors, strict=True)
    ]
    for start in range(0, len(points), BATCH):
        client.upsert(name, points[start : start + BATCH], wait=True)


def search(folder: Path, vector: Vector, limit: int) -> list[str]:
    """The ids of the nearest chunks by cosine similarity, best first."""
    client, name = _client(folder), _name(folder)
    if not client.collection_exists(name):
        return []
    points = client.query_points(name, query=vector, limit=limit).points
    return [(point.payload or {})["id"] for point in points]


def remove(folder: Path, source: str) -> None:
    """Delete all vectors of a document."""
    client, name = _client(folder), _name(folder)
    if client.collection_exists(name):
        same = models.FieldCondition(key="source", match=models.MatchValue(value=source))
        client.delete(name, points_selector=models.Filter(must=[same]), wait=True)


def count(folder: Path) -> int:
    """The number of vectors."""
    client, name = _client(folder), _name(folder)
    return client.count(name).count if client.collection_exists(name) else 0


def _name(folder: Path) -> str:
    return f"passages-{folder.name}"  # of the first version: another would lose the vectors


def _client(folder: Path) -> QdrantClient:
    with _opening:  # a folder accepts only one client
        return _open(folder)


@cache
def _open(folder: Path) -> QdrantClient:
    if SETTINGS.store_url:
        return QdrantClient(url=SETTINGS.store_url)
    folder.mkdir(parents=True, exist_ok=True)
    client = QdrantClient(path=str(folder / "vectors"))
    atexit.register(client.close)  # otherwise it logs an error when Python exits
    return client
