"""Is there a Chromium or a Chrome for the browser tests?

Only hackkit's own browser tests need one: an app works in any browser. So it warns only in
hackkit's own repository.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from hackkit.doctor.findings import Category, Finding, ok, warning
from hackkit.project.context import Context

TITLE = "Browser"
CATEGORY = Category.MACHINE

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_APPLICATIONS = ("Google Chrome", "Chromium")
_ON_WINDOWS = ("Google/Chrome/Application/chrome.exe", "Chromium/Application/chrome.exe")
_INSTALL = {
    "darwin": "brew install --cask chromium",
    "windows": "winget install --id Google.Chrome",
    "linux": "sudo apt install chromium",
}


def check(context: Context) -> Finding:
    found = next(_browsers(context), None)
    if found:
        return ok(found.stem if found.suffix == ".exe" else found.name, (f"at {found}",))
    if not (context.folder / "tests" / "browser").is_dir():
        return ok("no Chromium or Chrome: only hackkit's own tests need one")
    fix = _INSTALL.get(context.system, _INSTALL["linux"])
    return warning("no Chromium or Chrome: the browser tests cannot run", fix)


def _browsers(context: Context) -> Iterator[Path]:
    """Find browsers without starting one: on Windows even `--version` opens a window."""
    for name in _NAMES:
        if path := shutil.which(name, path=context.env.get("PATH", "")):
            yield Path(path)
    yield from (path for path in _usual_places(context) if path.exists())


def _usual_places(context: Context) -> Iterator[Path]:
    if context.system == "darwin":
        for folder in (Path("/Applications"), Path(context.env.get("HOME", "/")) / "Applications"):
            yield from (folder / f"{name}.app/Contents/MacOS/{name}" for name in _APPLICATIONS)
    if context.system == "windows":
        for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            if context.env.get(variable):
                yield from (Path(context.env[variable]) / place for place in _ON_WINDOWS)
