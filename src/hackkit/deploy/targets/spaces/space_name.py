"""Which Space a project goes to: always the same one, so that there is never a second copy."""

import re

from hackkit.deploy.manifest import Order
from hackkit.project.names import slug
from hackkit.services.hub import Hub
from hackkit.system import git

_HOMELESS = "your account"  # whose name is known only online
_LINK = re.compile(r"^Live demo: <https://([a-z0-9-]+)\.hf\.space", re.MULTILINE)


def offline(order: Order, account: str = _HOMELESS) -> str:
    """Return the Space's name, "owner/name", as far as it is known without asking anybody."""
    name = order.options.space or _remembered(order) or usual(order)
    return name if "/" in name else f"{account}/{name}"


def online(order: Order, hub: Hub) -> str:
    """Return the Space's name: as it was said, as it was before, as the README links to it."""
    owners = hub.owners()
    if order.options.space or _remembered(order):
        return offline(order, owners[0])
    return _linked(order, hub, owners) or offline(order, owners[0])


def _linked(order: Order, hub: Hub, owners: tuple[str, ...]) -> str:
    """Find the Space that a team mate has deployed: the README holds its address."""
    try:
        match = _LINK.search((order.context.folder / "README.md").read_text("utf-8"))
    except (OSError, UnicodeError):
        return ""
    for owner in owners if match else ():
        prefix = f"{slug(owner)}-"
        if match and match[1].startswith(prefix):
            found = hub.find(f"{owner}/{match[1].removeprefix(prefix)}")
            if found and f"//{match[1]}." in found.address:
                return found.name
    return ""


def _remembered(order: Order) -> str:
    """Return the Space that this copy of the project was sent to: git keeps its name."""
    context = order.context
    words = ("config", "--local", "--get", _key(order))
    return git.ask(context.run, context.folder, *words).out.strip()


def remember(order: Order, name: str = "") -> None:
    """Keep the name for the next time; without one, forget it."""
    words = [_key(order), name] if name else ["--unset", _key(order)]
    order.context.run("git", "config", "--local", *words, folder=order.context.folder)


def _key(order: Order) -> str:
    return f"hackkit.{usual(order)}.space"


def usual(order: Order) -> str:
    """Return the name that the project's own suggests."""
    given = str(order.project.answers.get("project_slug") or order.context.folder.name)
    return slug(given)[:96].strip("-")
