"""How long a rehearsal takes, step by step: `uv run python benchmarks/deploy.py [ROUNDS]`.

A new rag-app is rehearsed as a Space and as a container, where a container engine is installed.
The sizes are those of the Space's environment after each installation, and of the image.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
TARGETS = ("spaces", "docker")
HACKKIT = [sys.executable, "-m", "hackkit"]


def rehearse(target: str, app: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Rehearse once; return the seconds and the outcome of each step, and the total time."""
    started = time.perf_counter()
    ended = subprocess.run(
        [*HACKKIT, "deploy", target, str(app), "--rehearse", "--json"],
        env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    total = time.perf_counter() - started
    if ended.returncode:
        raise ValueError(" ".join(ended.stderr.split()))
    result = json.loads(ended.stdout)
    Path(result["log"]).unlink()
    seconds = {step["name"]: float(step["seconds"]) for step in result["steps"]}
    outcomes = {step["name"]: str(step["outcome"]) for step in result["steps"]}
    return seconds | {"The whole command": total}, outcomes


def measure(target: str, app: Path, rounds: int) -> None:
    """Print the steps of a target's rehearsal, or why it failed."""
    print(f"\n{target + f' (median of {rounds})':44} {'seconds':>8}  outcome")
    try:
        seen = [rehearse(target, app) for _ in range(rounds)]
    except ValueError as error:
        print(f"    {error}")
        return
    for step in seen[0][0]:
        median = statistics.median(seconds[step] for seconds, _ in seen)
        print(f"{step[:44]:44} {median:8.2f}  {seen[-1][1].get(step, '')}")


def main() -> None:
    """Print a table for each target."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        app = Path(name) / "app"
        subprocess.run(
            [*HACKKIT, "new", "rag-app", str(app), "--defaults"], check=True, capture_output=True
        )
        for target in TARGETS:
            measure(target, app, rounds)


if __name__ == "__main__":
    main()
