"""Writes docs/doctor.md from the checks themselves: `python -m hackkit.doctor.checks`."""

from collections.abc import Iterable
from pathlib import Path

from hackkit.doctor.checks import Check, all_checks
from hackkit.doctor.findings import Category, Status

_INTRODUCTION = """\
# What `hackkit doctor` checks

<!-- Made by: uv run python -m hackkit.doctor.checks -->

`hackkit doctor` checks this machine and, inside a project, the project too. A warning means that
quality suffers, a failure that the main job does not work.

- `--only ID` and `--skip ID` choose checks. Repeat them, or list several: `--only uv,git`.
- `--offline` skips the checks that need the network.
- `--strict` counts a warning as a failure.
- `--verbose` shows every detail.
- `--fix` repairs what can be repaired safely and shows the result. It asks before each repair;
  `--yes` answers yes.

The exit code is 0 when nothing fails, 1 when something does, 2 when a check could not look: it
crashed, or took too long. A check that took too long has the status `skip`, and a message that
starts with "could not look".

`--json` prints one document and nothing else:

```
{
  "checks": [{"id", "title", "category", "status", "message", "fix", "seconds"}, ...],
  "summary": {"ok", "warn", "fail", "skip"}
}
```

`category` is one of CATEGORIES; `status` is one of STATUSES; `fix`
is a command, a page to open, or empty; `seconds` is how long the check took. Secrets are masked.
When doctor itself stops (an unknown ID, Ctrl-C), the document is `{"error": {"problem", "fix"}}`
and the exit code is 2, or 130 after Ctrl-C.
"""


def page() -> str:
    """Return the text of docs/doctor.md."""
    checks = all_checks()
    introduction = _INTRODUCTION.replace("CATEGORIES", _names(Category))
    parts = [introduction.replace("STATUSES", _names(Status))]
    for category in Category:
        mine = [check for check in checks if check.category is category]
        parts += [f"## {category.capitalize()}\n", *map(_entry, mine)] if mine else []
    return "\n".join(parts)


def _names(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _entry(check: Check) -> str:
    question, _, rest = check.description.partition("\n")
    network = " Needs the network." if check.online else ""
    paragraphs = (" ".join(each.split()) for each in rest.strip().split("\n\n"))
    parts = [f"### `{check.id}`", question + network, *filter(None, paragraphs)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (Path(__file__).parents[4] / "docs" / "doctor.md").write_bytes(page().encode())
