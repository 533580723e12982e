"""Are there files that are too large for git hosts or Spaces?

Warns about files over 10 MB that git tracks or would add: Spaces want them in Git LFS. Fails for
those over 100 MB, which hosts such as GitHub refuse.
"""

import stat
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, failure, ok, skipped, warning
from hackkit.project.context import Context
from hackkit.system import git
from hackkit.system.command_line import line
from hackkit.system.wording import listed

TITLE = "Large files"
CATEGORY = Category.PROJECT

_MB = 1_000_000
_LARGE = 10 * _MB
_REFUSED = 100 * _MB
_FEW = 3
_MOST = 50  # files whose attributes are looked up


def check(context: Context) -> Finding:
    tracked = git.files(context.run, context.folder)
    if tracked.problem:
        return skipped(tracked.problem)
    sizes = {name: _size(context.folder / name) for name in tracked.names}
    large = {name: size for name, size in sizes.items() if size > _LARGE}
    kept = _in_lfs(context, list(large)[:_MOST]) if large else frozenset()
    found = sorted(
        (item for item in large.items() if item[0] not in kept), key=lambda item: -item[1]
    )
    if not found:
        return ok(f"none over {_LARGE // _MB} MB in {len(sizes)} files")
    names = [f"{name} ({size / _MB:.0f} MB)" for name, size in found]
    worst, size = found[0]
    finding = failure if size > _REFUSED else warning
    has_lfs = not git.ask(context.run, context.folder, "lfs", "version").problem
    return finding(
        listed(names, _FEW),
        fix=line(["git", "lfs", "track", worst]) if has_lfs else "open https://git-lfs.com",
        details=(f"Or keep it out of git: {_keep_out(worst)}", *names[_FEW:]),
    )


def _size(path: Path) -> int:
    try:
        seen = path.lstat()
    except OSError:  # deleted, but still in git
        return 0
    return seen.st_size if stat.S_ISREG(seen.st_mode) else 0


def _in_lfs(context: Context, names: list[str]) -> frozenset[str]:
    """Return the files that .gitattributes puts in Git LFS."""
    answer = git.ask(context.run, context.folder, "check-attr", "-z", "filter", "--", *names)
    parts = answer.out.split("\0")
    return frozenset(parts[at] for at in range(0, len(parts) - 2, 3) if parts[at + 2] == "lfs")


def _keep_out(name: str) -> str:
    return f"add the line {name} to .gitignore, then {line(['git', 'rm', '--cached', '--', name])}"
