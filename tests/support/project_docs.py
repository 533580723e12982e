"""Reads what a generated project says about itself: the blocks, commands and files in its texts."""

import fnmatch
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DOCUMENTS = ("README.md", "AGENTS.md", "docs/tour.md")
PROGRAMS = {"cp", "curl", "docker", "git", "hackkit", "python", "sky", "uv", "uvx"}

# Commands that no test runs as they are written, and the reason.
NOT_RUN = {
    r"docker ": "needs Docker; tests/deploy builds and starts the image",
    r"sky ": "needs an account of a cloud; tests/templates/test_fine_tune_cloud.py reads its task",
    r"uv run accelerate ": "needs several GPUs; test_fine_tune_cloud.py runs it on two processes",
    r"uv pip install --torch-backend ": "downloads PyTorch; tests/support/tuning.py installs it",
    r"uv run pytest( |$)": "a step of its own in test_matrix.py",
    r"uv run app\.py$": "a step of its own in test_matrix.py: it is started and asked a question",
    r"uv run python -m tune rehearse$": "test_fine_tune.py does it, once for all its tests",
    r"uv run python -m tune\.serve": "runs until it is stopped; test_fine_tune_serve.py asks it",
    r".*https?://(?!127\.0\.0\.1|localhost)": "needs the network",
    r".*--push ": "needs an account on the Hugging Face hub",
    r".*--base ": "downloads a model from the Hugging Face hub",
    r".*--yes$": "an agent that writes needs a model, and so a key",
}
# Commands that need PyTorch: test_fine_tune.py runs them, on the base model of a rehearsal.
TRAINING = re.compile(r"uv run python -m tune(\.gguf| (train|evaluate|export))\b")
# Files that a project makes while it is used.
MADE_LATER = (
    *("runs/*", "votes.jsonl", "feedback.jsonl", "evals/report.json", "memory/*", "index/*"),
    *(".venv/", "uv.lock"),
)

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?![.*]+$)[\w.*-]+(?:/[\w.*-]+)*/?")
_SUFFIXES = (
    *(".py", ".md", ".css", ".toml", ".json", ".jsonl", ".yaml", ".yml", ".ipynb", ".csv", ".db"),
    *(".html", ".txt", ".env", ".env.example", ".lock", "/"),
)


@dataclass(frozen=True)
class Block:
    """A block of code; `kind` is shell, python, json, tree or text."""

    kind: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines() if self.kind == "shell" else []
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def path(self) -> str:
        """The file that a Python block is, from the comment in its first line."""
        found = re.match(r"# ([\w./-]+\.py)\n", self.text)
        return found[1] if found else ""


def texts(folder: Path) -> dict[str, str]:
    """Return the documents that a project has."""
    paths = {name: folder / name for name in DOCUMENTS}
    return {name: path.read_text("utf-8") for name, path in paths.items() if path.is_file()}


def blocks(text: str) -> list[Block]:
    """Return a document's blocks of code, in order."""
    return [Block(_kind(*found), found[1]) for found in _BLOCK.findall(text)]


def tour(folder: Path) -> str:
    """Return the tour: docs/tour.md, or the section of the README with that title; or nothing."""
    if (folder / "docs" / "tour.md").is_file():
        return (folder / "docs" / "tour.md").read_text("utf-8")
    text = (folder / "README.md").read_text("utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return next((each for each in sections if "tour" in each.splitlines()[0].lower()), "")


def missing(folder: Path, text: str) -> list[str]:
    """Return the files and folders that a document names, and that are not there."""
    return [name for name in dict.fromkeys(_named(folder, text)) if not _exists(folder, name)]


def modules(text: str) -> set[tuple[str, str]]:
    """Return the modules that commands in a document run, each with its subcommand or nothing."""
    # A subcommand is a word of letters; anything else is an argument.
    found = re.findall(r"python -m ([a-z_]\w*(?:\.\w+)*)(?: ([a-z]+)\b(?![./=]))?", text)
    return {(module, command) for module, command in found}


def reason_not_to_run(words: list[str]) -> str:
    """Return why no test runs a command as it is written; nothing if one does."""
    command = " ".join(words)
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command)), "")


def needs_training(words: list[str]) -> bool:
    """Return whether a command needs PyTorch."""
    return bool(TRAINING.match(" ".join(words)))


def _kind(tag: str, text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    if tag in {"python", "json"}:
        return tag
    if tag in {"bash", "console", "sh", "shell"} or lines[0].split()[0] in PROGRAMS:
        return "shell"
    if not tag and all(_is_path(line.split()[0]) for line in lines):
        return "tree"
    return "text"


def _is_path(word: str) -> bool:
    return bool(_PATH.fullmatch(word)) and word.endswith(_SUFFIXES)


def _named(folder: Path, text: str) -> Iterator[str]:
    """Yield the paths in backticks, in links, and at the beginning of the lines of a tree."""
    for block in blocks(text):
        if block.kind == "tree":
            yield from (line.split()[0] for line in block.text.splitlines() if line.strip())
    prose = _BLOCK.sub("", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not re.match(r"https?:|mailto:|#", link):
            yield link.split("#")[0]
    for word in re.findall(r"`([^`\n]+)`", prose):
        inside = "/" in word and (folder / word.split("/")[0]).is_dir()
        if _is_path(word) or (inside and _PATH.fullmatch(word)):
            yield word


def _exists(folder: Path, name: str) -> bool:
    """Return whether a file is there: at its place, or in a folder that was named before."""
    if any(fnmatch.fnmatch(name, pattern) for pattern in MADE_LATER):
        return True
    pattern = name.rstrip("/")
    return any(folder.glob(pattern)) or ("/" not in pattern and any(folder.glob(f"*/{pattern}")))
