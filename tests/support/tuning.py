"""A project of the template `fine-tune` with everything that trains installed."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from conftest import clean_environment

from hackkit.system import uv

TORCH = "torch==2.13.0"  # as tested


@dataclass(frozen=True)
class Tuner:
    """The project, and the environment that its commands run in."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        # With two threads on two busy cores a tiny model takes five times as long.
        quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "UV_NO_SYNC": "1"}
        return {**uv.outer_environment(clean_environment()), **quiet, **self.variables}

    def run(self, *words: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's environment."""
        return subprocess.run(
            [*uv.command(), "run", "--no-sync", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=seconds,
        )

    def must(self, *words: str, seconds: float = 600) -> str:
        """Run a command that must succeed; return what it printed."""
        result = self.run(*words, seconds=seconds)
        assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
        return result.stdout


def made(folder: Path, *words: str) -> Tuner:
    """Make a project and install what trains, as its README says it, for a processor."""
    variables = clean_environment()
    subprocess.run(
        [sys.executable, "-m", "hackkit", "new", *words, str(folder), "--defaults"],
        env=variables,
        check=True,
        capture_output=True,
        timeout=900,
    )
    # Where the machine brings PyTorch along, it is taken from there.
    wheels = os.environ.get("TORCH_WHEELS")
    source = ["--find-links", wheels] if wheels else ["--torch-backend", "cpu"]
    needs = [TORCH, "--requirements", "pyproject.toml", "--extra", "train", "--extra", "qlora"]
    result = subprocess.run(
        [*uv.command(), "pip", "install", "--python", ".venv", *source, *needs],
        cwd=folder,
        env=uv.outer_environment(variables),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=1800,
    )
    assert result.returncode == 0, result.stderr
    return Tuner(folder)
