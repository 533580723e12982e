"""Is Node.js installed, where a project needs it?

Warns when the folder has a `package.json` and there is no Node.js. No template needs it, but a
front end that a team adds may.
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
        return skipped("not needed: there is no package.json")
    fix = _INSTALL.get(context.system, _INSTALL["linux"])
    ran = context.run("node", "--version")
    if ran is None:
        return warning("not found, but there is a package.json", fix)
    if not ran.ok:
        return warning("found, but it does not run", fix)
    return ok(ran.out.removeprefix("v"))
