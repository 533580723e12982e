# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-common>=1.13,<2"]
# ///
"""How fast the fine-tune template checks rows: `uv run benchmarks/finetune_data.py [--quick]`.

Writes chat rows like those of teams, and reads them in turns in separate processes: with a bare
loop of `json.loads`, and with the template's check, which counts Mistral's tokens and compares all
rows with each other. Memory is the process's peak; it should hardly grow with the rows.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "templates" / "fine-tune" / "project"
SIZES = (10_000, 100_000, 1_000_000)
ROUNDS = 3
ITEMS = ("lamp", "mug", "blanket", "plant", "chair", "kettle", "shelf", "candle", "basket", "vase")
FAULTS = ("broken", "late", "missing", "scratched", "wrong", "noisy", "leaking", "empty")
TEAMS = ("delivery", "billing", "returns", "account", "product", "praise")
SAID = (
    "The {0} that I ordered {1} days ago is {2}, and no one has answered my two messages so far.",
    "Hello, my {0} came {2}. I would like to send it back; order {1}. What do I have to do?",
    "Wie lange dauert es noch? Der Artikel ({0}) sollte vor {1} Tagen hier sein und ist {2}.",
)


def write(path: Path, rows: int) -> None:
    """Write rows, no two of them alike, each with a question of some twenty words."""
    dice = random.Random(rows)  # noqa: S311 (no secret)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            words = dice.choice(ITEMS), number, dice.choice(FAULTS)
            team = {"team": dice.choice(TEAMS), "urgent": dice.random() < 0.3}
            question = {"role": "user", "content": dice.choice(SAID).format(*words)}
            answer = {"role": "assistant", "content": json.dumps(team)}
            file.write(json.dumps({"messages": [question, answer]}, ensure_ascii=False) + "\n")


def bare(path: Path) -> int:
    """Read the rows without checking them."""
    with path.open(encoding="utf-8") as file:
        return sum(1 for line in file if json.loads(line)["messages"])


def checked(path: Path) -> int:
    """Read the rows as `python -m tune check` does."""
    sys.path.insert(0, str(PROJECT))
    found = import_module("tune.validate").survey([path], 2048)
    if found.findings:
        sys.exit(f"The rows should be good: {found.findings}")
    rows: int = found.files[0].examples
    return rows


def measure(way: str, path: Path) -> tuple[float, float]:
    """Run one way in a separate process; return its seconds and its peak memory in MB."""
    command = [sys.executable, __file__, "--only", way, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def only(way: str, path: Path) -> None:
    """Print what `measure` reads."""
    started = time.perf_counter()
    {"bare": bare, "checked": checked}[way](path)
    seconds = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6]))


def line(path: Path, rows: int, rounds: int) -> None:
    """Print one line of the table."""
    taken: dict[str, list[tuple[float, float]]] = {"bare": [], "checked": []}
    for _ in range(rounds):
        for way, record in taken.items():
            record.append(measure(way, path))
    seconds = {way: statistics.median(s for s, _ in record) for way, record in taken.items()}
    memory = {way: statistics.median(m for _, m in record) for way, record in taken.items()}
    cells = "  ".join(f"{rows / seconds[way]:12,.0f} {memory[way]:6.0f}" for way in taken)
    print(f"{rows:10,}  {cells}  {seconds['checked'] / seconds['bare']:6.1f}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round")
    parser.add_argument("--only", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        only(asked.only[0], Path(asked.only[1]))
        return
    sizes, rounds = (SIZES[:2], 1) if asked.quick else (SIZES, ROUNDS)
    print(f"{'':10}  {'json.loads':^19}  {'tune check':^19}  (median of {rounds})")
    print(f"{'rows':>10}  {'rows/s':>12} {'MB':>6}  {'rows/s':>12} {'MB':>6}  {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            path = Path(folder) / f"{rows}.jsonl"
            write(path, rows)
            line(path, rows, rounds)
            path.unlink()


if __name__ == "__main__":
    main()
