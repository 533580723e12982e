"""Are there files too large for the places where the project goes?

Warns about files over 10 MB that git holds or would take in: Spaces want them in Git LFS. Fails
for those over 100 MB, which hosts such as GitHub refuse.
"""

import stat
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.system import git
from hackkit.system.command_line import line

TITLE = "Large files"
CATEGORY = Category.PROJECT

_MB = 1_000_000
_LARGE = 10 * _MB
_REFUSED = 100 * _MB
_FEW = 3
_MOST = 50  # files that git is asked about


def check(context: Context) -> Finding:
    listed = git.files(context.run, context.folder)
    if listed.problem:
        return skipped(listed.problem)
    sizes = {name: _size(context.folder / name) for name in listed.names}
    large = {name: size for name, size in sizes.items() if size > _LARGE}
    kept = _in_lfs(context, list(large)[:_MOST]) if large else frozenset()
    found = sorted(
        (item for item in large.items() if item[0] not in kept), key=lambda item: -item[1]
    )
    if not found:
        return ok(f"none over {_LARGE // _MB} MB in {len(sizes)} files")
    names = [f"{name} ({size / _MB:.0f} MB)" for name, size in found]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    worst, size = found[0]
    say = failure if size > _REFUSED else warning
    has_lfs = not git.ask(context.run, context.folder, "lfs", "version").problem
    return say(
        f"{', '.join(names[:_FEW])}{more}",
        fix=line(["git", "lfs", "track", worst]) if has_lfs else "open https://git-lfs.com",
        details=(f"Or leave it out of git: {_leave_out(worst)}", *names[_FEW:]),
    )


def _size(path: Path) -> int:
    try:
        seen = path.lstat()
    except OSError:  # deleted, and not committed so
        return 0
    return seen.st_size if stat.S_ISREG(seen.st_mode) else 0


def _in_lfs(context: Context, names: list[str]) -> frozenset[str]:
    """Return those that .gitattributes gives to Git LFS."""
    answer = git.ask(context.run, context.folder, "check-attr", "-z", "filter", "--", *names)
    parts = answer.out.split("\0")
    return frozenset(parts[at] for at in range(0, len(parts) - 2, 3) if parts[at + 2] == "lfs")


def _leave_out(name: str) -> str:
    return f"a line {name} in .gitignore, then {line(['git', 'rm', '--cached', '--', name])}"
