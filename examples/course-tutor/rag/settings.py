"""All settings of this app, read once from the environment and `.env`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The variable CHAT_MODEL sets the field `chat_model`; the environment wins over `.env`."""

    model_config = SettingsConfigDict(
        env_file=ROOT / os.environ.get("ENV_FILE", ".env"),
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
    )

    # Texts of the page, and its address
    title: str = "Course Tutor"
    tagline: str = "CS 210, Operating Systems: answers from the course, each with its source."
    welcome: str = "What shall we go through today?"
    examples: tuple[str, ...] = (
        "Why does round robin need a good time slice?",
        "Which four conditions make a deadlock possible?",
        "What happens on a page fault?",
        "When is the midterm, and what does it count?",
    )
    host: str = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")  # Spaces sets it
    port: int = Field(default=0, ge=0, le=65535)  # 0: 7860, or the next free one

    # Which model answers: LLM_BASE_URL if set, else Mistral's API if there is a key, else offline
    mistral_api_key: SecretStr = SecretStr("")
    mistral_server_url: str = "https://api.mistral.ai"
    llm_base_url: str = ""
    llm_api_key: SecretStr = SecretStr("")
    chat_model: str = ""
    embed_model: str = ""
    temperature: float = Field(default=0.1, ge=0, le=1.5)
    max_tokens: int = Field(default=900, ge=1)

    # Timeouts and retries (seconds)
    requests_per_second: float = Field(default=1.0, ge=0)  # as Mistral's free tier; 0: no limit
    timeout: float = Field(default=30, gt=0)  # no data for this long is a failure
    patience: float = Field(default=6, ge=0)  # for all retries of one question
    backoff: float = Field(default=0.5, ge=0)  # first pause before a retry; then it doubles
    cooldown: float = Field(default=20, ge=0)  # of offline mode after a failure

    # Documents
    docs_dir: Path = Path("docs")
    index_dir: Path = Path("index")
    feedback_file: Path = Path("feedback.jsonl")
    max_file_mb: int = Field(default=50, ge=1)
    passage_chars: int = Field(default=1600, ge=200)
    overlap_chars: int = Field(default=0, ge=0)

    # Search: passages per answer, and the weights of keyword and vector search
    passages: int = Field(default=5, ge=1)
    keyword_weight: float = Field(default=2.0, ge=0)
    dense_weight: float | None = Field(default=None, ge=0)  # empty: see `vector_weight`
    store_url: str = ""  # of a vector database; empty: embedded in the index folder

    @property
    def provider(self) -> Literal["server", "mistral", "offline"]:
        """Where the model runs: your own server, Mistral's API, or nowhere (offline mode)."""
        if self.llm_base_url:
            return "server"
        return "mistral" if self.mistral_api_key.get_secret_value().strip() else "offline"

    @property
    def chat(self) -> str:
        """The chat model's name: CHAT_MODEL, or the provider's default."""
        defaults = {"mistral": "mistral-small-latest", "server": "ministral-3:8b", "offline": ""}
        return self.chat_model or defaults[self.provider]

    @property
    def embedder(self) -> str:
        """The embedding model's name; empty: search uses keywords alone."""
        if self.provider == "offline" or self.embed_model == "none":
            return ""
        return self.embed_model or "mistral-embed"

    @property
    def vector_weight(self) -> float:
        """The weight of vector search: with Mistral's model that of keywords, else half of it.

        Measured with a small model (all-MiniLM-L6-v2): equal weights make search worse.
        """
        if self.dense_weight is not None:
            return self.dense_weight
        return self.keyword_weight * (1.0 if self.provider == "mistral" else 0.5)

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


def load() -> Settings:
    """Read the settings; exit with a line for each invalid value."""
    try:
        return Settings()
    except SettingsError as error:  # a list that is not JSON
        raise SystemExit(f"{error}.\nFix: correct it in .env") from None
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}." for e in error.errors()]
        raise SystemExit(
            "\n".join([*lines, "Fix: correct it in .env (.env.example shows how)"])
        ) from None


SETTINGS = load()
