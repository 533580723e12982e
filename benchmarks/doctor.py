"""How fast `hackkit doctor --offline` is: `uv run python benchmarks/doctor.py [ROUNDS]`.

Outside a project, in a rag-app, and in one whose app.py was edited since doctor last imported it;
each beside `hackkit --version`, in turns, so that a busy machine slows both. Then each check's
share, as doctor itself reports it: the checks run side by side, so their sum is not the whole.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROUNDS = 11
HACKKIT = [sys.executable, "-m", "hackkit"]
DOCTOR = [*HACKKIT, "doctor", "--offline", "--json"]
SHARES = 12  # lines of the second table


def environment() -> dict[str, str]:
    """Return this environment, with compiled files: without them every start compiles again."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def run(words: list[str], folder: Path) -> tuple[float, str]:
    """Run a command in the folder; return its seconds and what it printed."""
    began = time.perf_counter()
    ended = subprocess.run(
        words, cwd=folder, env=environment(), capture_output=True, encoding="utf-8", check=False
    )
    taken = time.perf_counter() - began
    if ended.returncode not in {0, 1}:
        sys.exit(f"{' '.join(words)} ended with {ended.returncode}:\n{ended.stderr}")
    return taken, ended.stdout


def measure(title: str, bound: str, folder: Path, *, edited: Path | None = None) -> None:
    """Print a line for the whole and the shares of the checks in it."""
    ours, theirs, shares = list[float](), list[float](), defaultdict[str, list[float]](list)
    for number in range(-1, rounds()):
        if edited:
            edited.write_text(edited.read_text("utf-8") + "\n", encoding="utf-8")
        taken, said = run(DOCTOR, folder)
        other, _ = run([*HACKKIT, "--version"], folder)
        if number < 0:  # the first round fills the caches
            continue
        ours.append(taken)
        theirs.append(other)
        for check in json.loads(said)["checks"]:
            shares[check["id"]].append(check["seconds"])
    mine, reference = statistics.median(ours), statistics.median(theirs)
    print(f"{title:40} {mine:7.3f}s {reference:7.3f}s {mine / reference:6.1f} {bound:>6}")
    medians = {name: statistics.median(seconds) for name, seconds in shares.items()}
    slowest = sorted(medians, key=lambda name: -medians[name])[:SHARES]
    print("    " + ", ".join(f"{name} {medians[name] * 1000:.0f} ms" for name in slowest))


def rounds() -> int:
    """Return how many rounds the user wants."""
    return int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([*HACKKIT, "new", "rag-app", "app", "--defaults"], folder)
        head = f"median of {rounds()}"
        print(f"{head:40} {'doctor':>8} {'version':>8} {'ratio':>6} {'bound':>6}")
        app = folder / "app"
        measure("outside a project", "0.6", folder)
        measure("in a rag-app", "1.5", app)
        measure("in a rag-app, app.py edited since", "-", app, edited=app / "app.py")


if __name__ == "__main__":
    main()
