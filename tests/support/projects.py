"""Small real projects, in real git repositories, to hand to the checks."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from hackkit.project.app_status import AppStatus
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system import processes
from hackkit.version import VERSION

# Made up, and put together here so that no scan takes this file for a leak.
MISTRAL_KEY = "a1b2c3d4" * 4
OLD_KEY = "Z9y8X7w6" * 4
HF_TOKEN = "hf_" + "aB3" * 11

_VARIABLES = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_MERGE_AUTOEDIT": "no",
}
MACHINE = {
    key: value for key, value in os.environ.items() if not key.startswith("GIT_")
} | _VARIABLES
FILES = {
    ".hackkit.yml": f"_commit: v{VERSION}\n_src_path: hackkit.bundle\ntemplate: rag-app\n",
    ".gitignore": ".env\n.venv/\n",
    ".env.example": "# The model.\nMISTRAL_API_KEY=\nLLM_BASE_URL=\nPORT=\n",
    "app.py": "print('hello')\n",
}


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, and the folders above them."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def git(folder: Path, *words: str) -> str:
    """Run git as the made-up Ada and return what it printed."""
    ran = subprocess.run(
        ["git", *words], cwd=folder, env=MACHINE, capture_output=True, encoding="utf-8", check=True
    )
    return ran.stdout.strip()


def commit(folder: Path, files: Mapping[str, str | bytes], message: str = "Change") -> str:
    """Write and commit files, also those that git ignores; return the commit's short name."""
    write(folder, files)
    git(folder, "add", "--force", "--", *files)
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "--short", "HEAD")


def new_project(folder: Path) -> Path:
    """Make a small project with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, FILES, "Start from hackkit's rag-app")
    return folder


def context(
    folder: Path,
    env: Mapping[str, str] | None = None,
    app: AppStatus | None = None,
    system: str = "linux",
) -> Context:
    """Gather the facts of a project whose commands are real ones."""
    status = app or AppStatus()
    return Context(
        folder=folder,
        project=ProjectFiles(folder),
        env=env or {},
        system=system,
        run=processes.runner(MACHINE),
        stream=processes.streamer(MACHINE),
        app=lambda: status,
    )
