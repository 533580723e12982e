"""Is git installed, with a name and an e-mail address for commits?

Warns when there is no git, since then there is no history to go back to, and when `user.name` or
`user.email` is not set.
"""

import re

from hackkit.doctor.findings import Category, Finding, ok, warning
from hackkit.project.context import Context

TITLE = "git"
CATEGORY = Category.MACHINE

_INSTALL = {
    "darwin": "xcode-select --install",
    "windows": "winget install --id Git.Git",
    "linux": "sudo apt install git",
}
_EXAMPLE = {"user.name": "Your Name", "user.email": "you@example.org"}
# These variables win over the settings; some shared machines set them.
_VARIABLES = {
    "user.name": ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"),
    "user.email": ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"),
}


def check(context: Context) -> Finding:
    version = context.run("git", "--version")
    if version is None:
        return warning("not found", _install(context))
    if not version.ok:
        # macOS has a stub that prints "xcrun: error: …" until its developer tools are installed.
        error = (version.err or version.out or "it did not answer").splitlines()[0]
        return warning(f"found, but it does not run: {error[:70]}", _install(context))
    numbers = re.search(r"\d+(?:\.\d+)+", version.out)
    name = numbers.group() if numbers else "of an unknown version"
    known = _identity(context)
    missing = [key for key in _EXAMPLE if not known.get(key)]
    if missing:
        commands = [
            context.shell.line(["git", "config", "--global", key, _EXAMPLE[key]]) for key in missing
        ]
        message = f"{name}, without {' and '.join(missing)}: it will refuse to commit"
        return warning(message, context.shell.then(*commands))
    return ok(f"{name}, commits as {known['user.name']}")


def _identity(context: Context) -> dict[str, str]:
    ran = context.run(
        "git", "config", "--get-regexp", r"^user\.(name|email)$", folder=context.folder
    )
    lines = ran.out.splitlines() if ran and ran.ok else []
    known = dict(line.split(" ", 1) for line in lines if " " in line)
    for key, names in _VARIABLES.items():
        if all(context.env.get(name) for name in names):
            known[key] = context.env[names[0]]
    return known


def _install(context: Context) -> str:
    return _INSTALL.get(context.system, _INSTALL["linux"])
