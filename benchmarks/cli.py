"""How fast the command is: `uv run python benchmarks/cli.py [ROUNDS]`.

Two pairs, each run in turns so that a busy machine slows both: `hackkit --help` beside a bare
`import typer`, and `hackkit new` beside a plain `copier copy` of the same files.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

from hackkit.project.catalog import Catalog

ROUNDS = 15
Command = list[str]


def seconds(command: Command, environment: dict[str, str]) -> float:
    """Run the command once and return how long it took."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def pairs(folder: Path) -> dict[str, tuple[str, Command, Command]]:
    """Return, for each line of the table: its bound, our command and the one beside it."""
    python, numbers = sys.executable, count()
    hackkit, copier = [python, "-m", "hackkit"], [python, "-m", "copier", "copy", "--defaults"]
    template = Catalog.here().templates[0]
    ours = [*hackkit, "new", template.name, f"{folder}/{next(numbers)}"]
    theirs = [*copier, "--data", f"template={template.name}", str(template.folder.parent)]
    return {
        "hackkit --help / import typer": (
            "1.5",
            [*hackkit, "--help"],
            [python, "-c", "import typer"],
        ),
        f"hackkit new {template.name} / copier copy": (
            "1.3",
            [*ours, "--defaults", "--no-install", "--no-git"],
            [*theirs, f"{folder}/{next(numbers)}"],
        ),
    }


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    # Without compiled files every start would compile them again.
    environment = {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    }
    print(f"{'':44} {'ours':>8} {'theirs':>8} {'ratio':>6} {'bound':>6}   (median of {rounds})")
    with tempfile.TemporaryDirectory() as name:
        for title, (bound, ours, theirs) in pairs(Path(name)).items():
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(-1, rounds):
                for command, record in zip((ours, theirs), times, strict=True):
                    fresh = [word.replace(name, f"{name}/{number + 1}") for word in command]
                    taken = seconds(fresh, environment)
                    if number >= 0:  # the first round fills the caches
                        record.append(taken)
            mine, other = map(statistics.median, times)
            print(f"{title:44} {mine:7.3f}s {other:7.3f}s {mine / other:6.2f} {bound:>6}")


if __name__ == "__main__":
    main()
