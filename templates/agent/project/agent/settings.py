"""All settings of this app, read once from the environment and from `.env`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plumbing.settings import ROOT, ModelSettings, load

# US dollars for a million tokens in and out, as of November 2026. Add your model here.
PRICES = {
    "mistral-small-latest": (0.15, 0.60),
    "mistral-medium-latest": (1.50, 7.50),
    "mistral-large-latest": (0.50, 1.50),
    "ministral-3b-2512": (0.10, 0.10),
    "ministral-8b-2512": (0.15, 0.15),
    "ministral-14b-2512": (0.20, 0.20),
}


def cost(tokens_in: int, tokens_out: int, model: str) -> float | None:
    """The price of these tokens in US dollars; None if the model's price is unknown."""
    if model not in PRICES:
        return None
    price_in, price_out = PRICES[model]
    return (tokens_in * price_in + tokens_out * price_out) / 1e6


class Settings(ModelSettings):
    """The variable CHAT_MODEL sets the field `chat_model`; the environment overrides `.env`."""

    # Texts on the page
    title: str = "Agent at work"
    tagline: str = "Works in steps, shows each one, and asks before it changes anything."
    welcome: str = "What shall we get done?"
    examples: tuple[str, ...] = (
        "What is 17.5% of 2,480, and how many days are left until 2026-12-24?",
        "Which three products brought in the most money? Write a short report to report.md.",
        "Search the files for complaints about delivery.",
        "Read meeting-notes.md and list what was decided.",
    )

    # The model (where it runs, its limits and the page's address: plumbing/settings.py)
    max_tokens: int = Field(default=2000, ge=1)  # of one reply
    transcribe_model: str = "voxtral-mini-transcribe-latest"

    # Limits of one task: the run ends with a summary when it reaches one; 0 is no limit
    max_steps: int = Field(default=12, ge=0)  # replies of the model
    max_seconds: float = Field(default=120, ge=0)  # without the time spent waiting for approval
    max_task_tokens: int = Field(default=60_000, ge=0)  # input and output together
    max_cost: float = Field(default=0.10, ge=0)  # US dollars, if the model's price is known

    # Tools: their folders and limits
    workspace_dir: Path = Path("workspace")
    databases_dir: Path = Path("data")
    tool_seconds: float = Field(default=20, gt=0)
    result_chars: int = Field(default=8000, ge=200)  # of one result; the rest is cut
    rows: int = Field(default=50, ge=1)  # of a query's result
    max_file_mb: int = Field(default=20, ge=1)

    # Memory
    memory_dir: Path = Path("memory")
    context_tokens: int = Field(default=24_000, ge=1000)  # a longer conversation is summarised

    @property
    def workspace(self) -> Path:
        """The only folder in which the tools may read and write files."""
        return ROOT / self.workspace_dir

    @property
    def databases(self) -> Path:
        """The folder of the SQLite databases that the tools may query."""
        return ROOT / self.databases_dir

    @property
    def memory(self) -> Path:
        """The folder of the saved conversations."""
        return ROOT / self.memory_dir


SETTINGS = load(Settings)
