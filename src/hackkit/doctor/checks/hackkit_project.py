"""Which template is the project made from, and by which version of hackkit?

Warns when `.hackkit.yml` cannot be read, when this hackkit does not have the template, and when the
project was made by a newer or an older version of hackkit.
"""

import re

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.catalog import Catalog
from hackkit.project.context import Context
from hackkit.project.files import ANSWERS, ProjectFiles
from hackkit.system.command_line import PACKAGE
from hackkit.system.uv import typed
from hackkit.version import VERSION

TITLE = "hackkit project"
CATEGORY = Category.PROJECT

_OWN_SOURCE = "hackkit.bundle"


def check(context: Context) -> Finding:
    project = context.project
    if project is None:
        return skipped("this folder is not in a hackkit project")
    if not project.answers:
        return warning(f"{ANSWERS} cannot be read", fix=f"git checkout HEAD -- {ANSWERS}")
    source = str(project.answers.get("_src_path") or _OWN_SOURCE)
    if source != _OWN_SOURCE:
        return ok(f"made from {source}{_at(project.version)}")
    if not project.template or not project.version:
        what = "version" if project.template else "template"
        return warning(f"{ANSWERS} names no {what}", fix=f"git checkout HEAD -- {ANSWERS}")
    return _compared(context, project)


def _compared(context: Context, project: ProjectFiles) -> Finding:
    made = f"{project.template}{_at(project.version)}"
    theirs, ours = _numbers(project.version), _numbers(VERSION)
    if theirs > ours:
        newer = f"made by the newer hackkit {project.version}, this is {VERSION}"
        return warning(newer, fix=_upgrade(context))
    if project.template not in _templates():
        fix = f"edit {ANSWERS}: template: {', '.join(_templates())}"
        return warning(f'this hackkit has no template "{project.template}"', fix)
    if theirs[:2] < ours[:2]:
        matching = typed(
            "tool", "run", "--from", f"{PACKAGE}=={project.version}", "hackkit", "doctor"
        )
        return warning(f"made by the older hackkit {project.version}, this is {VERSION}", matching)
    return ok(made)


def _at(version: str) -> str:
    return f" of version {version}" if version else ""


def _templates() -> list[str]:
    return sorted(path.parent.name for path in Catalog.here().templates_folder.glob("*/about.toml"))


def _upgrade(context: Context) -> str:
    """Return the command that brings the newest hackkit, by how this one was started."""
    start, write = context.start, context.shell.line
    if start.is_uvx and start.source:
        return write(["uvx", "--refresh", "--from", start.source, PACKAGE, "doctor"])
    if start.is_uvx:
        return write(["uvx", f"{PACKAGE}@latest", "doctor"])
    if start.is_pipx_run:
        spec = ["--spec", start.source] if start.source else []
        return write(["pipx", "run", "--no-cache", *spec, PACKAGE, "doctor"])
    if start.checkout:
        return write(["git", "-C", str(start.checkout), "pull"])
    if start.is_uv_tool:
        return typed("tool", "upgrade", PACKAGE)
    return write([context.shell.python, "-m", "pip", "install", "--upgrade", PACKAGE])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])
