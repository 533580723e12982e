"""All settings of this app, read once from the environment and `.env`."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from plumbing.settings import ROOT, ModelSettings, load


class Settings(ModelSettings):
    """The variable CHAT_MODEL sets the field `chat_model`; the environment wins over `.env`."""

    renamed = {
        "PASSAGE_CHARS": "CHUNK_SIZE",
        "OVERLAP_CHARS": "CHUNK_OVERLAP",
        "PASSAGES": "TOP_K",
        "KEYWORD_WEIGHT": "BM25_WEIGHT",
    }

    # Texts of the page
    title: str = "Ask the documents"
    tagline: str = "Answers from your own documents, each with its source."
    welcome: str = "What would you like to know?"
    examples: tuple[str, ...] = (
        "What do the judges look at?",
        "How should we spend the last three hours?",
        "Which Mistral model should we start with?",
        "How do we keep the demo safe when the Wi-Fi fails?",
    )

    # The model (where it runs, its limits and the page's address: plumbing/settings.py)
    embed_model: str = ""
    patience: float = Field(default=6, ge=0)  # seconds, for all retries of one question

    # Documents
    docs_dir: Path = Path("docs")
    index_dir: Path = Path("index")
    feedback_file: Path = Path("feedback.jsonl")
    max_file_mb: int = Field(default=50, ge=1)
    chunk_size: int = Field(default=1600, ge=200)  # characters, about 400 tokens
    chunk_overlap: int = Field(default=0, ge=0)

    # Retrieval: chunks per answer, and the weights of keyword search (BM25) and of dense search
    top_k: int = Field(default=5, ge=1)
    bm25_weight: float = Field(default=2.0, ge=0)
    dense_weight: float | None = Field(default=None, ge=0)  # empty: see `weights`
    store_url: str = ""  # of a vector database; empty: embedded in the index folder

    @property
    def embedder(self) -> str:
        """The embedding model's name; empty: search uses keywords alone."""
        if self.provider == "offline" or self.embed_model == "none":
            return ""
        return self.embed_model or "mistral-embed"

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of BM25 and of dense search: equal with Mistral's model, else 2 : 1.

        Measured with a small model (all-MiniLM-L6-v2): equal weights make retrieval worse.
        """
        dense = self.bm25_weight * (1.0 if self.provider == "mistral" else 0.5)
        return self.bm25_weight, dense if self.dense_weight is None else self.dense_weight

    @property
    def docs(self) -> Path:
        """The folder of documents; a relative path starts at the project folder."""
        return ROOT / self.docs_dir

    @property
    def index(self) -> Path:
        """The folder of the index, one per embedding model, so that vectors never mix."""
        server = urlsplit(self.llm_base_url).netloc if self.provider == "server" else ""
        name = f"{server}-{self.embedder}".strip("-") if self.embedder else "keywords"
        return ROOT / self.index_dir / re.sub(r"[^\w.-]+", "-", name)

    @property
    def feedback(self) -> Path:
        """The file for thumbs up and down."""
        return ROOT / self.feedback_file


SETTINGS = load(Settings)
