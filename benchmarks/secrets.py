"""What the secret scan finds: `uv run python benchmarks/secrets.py [FOLDER ...]`.

Plants every kind of tests/support/planted.py and prints which are found by what a deployment sends,
by the check before each commit and by the check of training data. For each FOLDER, a checkout of a
public repository for example, it prints what is found there: these are false hits, or real leaks.
"""

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from planted import Planted, planted  # noqa: E402

from hackkit.project.leaks import leaks  # noqa: E402
from hackkit.project.secret_parts import SETTINGS_FILE  # noqa: E402
from hackkit.project.secret_rules import RULES, SETTINGS  # noqa: E402
from hackkit.project.secret_search import search  # noqa: E402

SKIPPED = {".git", ".venv", "node_modules"}


def in_hook(each: Planted) -> bool:
    """Return whether the check before a commit stops a file: it reads text only."""
    if b"\0" in each.data:
        return False
    text = each.data.decode("utf-8", "replace")
    rules = (*RULES, *SETTINGS) if re.search(SETTINGS_FILE, each.path) else RULES
    return any(re.search(f"(?x){rule.plain}", text) for rule in rules)


def kinds() -> None:
    """Print the kinds that each scan misses, and how many it finds."""
    every = planted()
    scans: dict[str, Callable[[Planted], bool]] = {
        "deploy, doctor": lambda each: bool(search(each.path, each.data)),
        "before a commit": in_hook,
        "training data": lambda each: any(leaks(each.data.decode("utf-8", "replace"))),
    }
    print(f"{'scan':16} found of {len(every)}  missed")
    for name, scan in scans.items():
        missed = [each.kind for each in every if not scan(each)]
        print(f"{name:16} {len(every) - len(missed):11}  {', '.join(missed)}")


def hits(folder: Path) -> tuple[int, int]:
    """Print what is found in a folder; return the number of its files and of the hits."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    paths = [path for path in paths if not SKIPPED & set(path.relative_to(folder).parts)]
    found, started = 0, time.process_time()
    for path in paths:
        name = path.relative_to(folder).as_posix()
        for each in search(name, path.read_bytes()):
            found += 1
            print(f"    {name}:{each.line} {each.member}: {each.kind}")
    seconds = time.process_time() - started
    print(f"{folder.name[:30]:30} {len(paths):6} files {found:4} hits {seconds:8.1f} s of CPU time")
    return len(paths), found


def main() -> None:
    """Print both tables."""
    kinds()
    counts = [hits(Path(name)) for name in sys.argv[1:]]
    if counts:
        print(f"{'all':30} {sum(n for n, _ in counts):6} files {sum(n for _, n in counts):4} hits")


if __name__ == "__main__":
    main()
