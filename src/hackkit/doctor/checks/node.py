"""Is Node.js there, where a project needs it?

Looks only where the folder has a `package.json`, which no template of ours has: a team that adds a
front end of its own does. Warns when there is then no Node.js.
"""

from hackkit.doctor.findings import Category, Finding, ok, skipped, warning
from hackkit.project.context import Context

TITLE = "Node.js"
CATEGORY = Category.MACHINE

_INSTALL = {
    "darwin": "brew install node",
    "windows": "winget install --id OpenJS.NodeJS.LTS",
    "linux": "sudo apt install nodejs npm",
}


def check(context: Context) -> Finding:
    if not (context.folder / "package.json").is_file():
        return skipped("no package.json: nothing here needs it")
    fix = _INSTALL.get(context.system, _INSTALL["linux"])
    ran = context.run("node", "--version")
    if ran is None:
        return warning("not found, and package.json needs it", fix)
    if not ran.ok:
        return warning("found, but it does not run", fix)
    return ok(ran.out.removeprefix("v"))
