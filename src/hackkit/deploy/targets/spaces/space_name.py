"""Chooses the project's Space name, and remembers it in git config."""

import re

from hackkit.deploy.manifest import DeployRequest
from hackkit.project.names import slug
from hackkit.services.hub import Hub
from hackkit.system import git

_ACCOUNT = "your account"  # its name is known only online
_LINK = re.compile(r"^Live demo: <https://([a-z0-9-]+)\.hf\.space", re.MULTILINE)


def offline(request: DeployRequest, account: str = _ACCOUNT) -> str:
    """Return the Space's name, "owner/name", as far as it is known without the network."""
    name = request.options.space or _remembered(request) or default(request)
    return name if "/" in name else f"{account}/{name}"


def online(request: DeployRequest, hub: Hub) -> str:
    """Return the Space's name: from the option, else git config, else the README's link."""
    owners = hub.owners()
    if request.options.space or _remembered(request):
        return offline(request, owners[0])
    return _linked(request, hub, owners) or offline(request, owners[0])


def _linked(request: DeployRequest, hub: Hub, owners: tuple[str, ...]) -> str:
    """Find a Space that a team mate has deployed, by the address in the README."""
    try:
        match = _LINK.search((request.context.folder / "README.md").read_text("utf-8"))
    except (OSError, UnicodeError):
        return ""
    for owner in owners if match else ():
        prefix = f"{slug(owner)}-"
        if match and match[1].startswith(prefix):
            found = hub.find(f"{owner}/{match[1].removeprefix(prefix)}")
            if found and f"//{match[1]}." in found.address:
                return found.name
    return ""


def _remembered(request: DeployRequest) -> str:
    """Return the Space that this clone was deployed to, from git config."""
    context = request.context
    words = ("config", "--local", "--get", _key(request))
    return git.ask(context.run, context.folder, *words).out.strip()


def remember(request: DeployRequest, name: str = "") -> None:
    """Save the name in git config for the next time; without a name, remove it."""
    words = [_key(request), name] if name else ["--unset", _key(request)]
    git.change(request.context.run, request.context.folder, "config", "--local", *words)


def _key(request: DeployRequest) -> str:
    return f"hackkit.{default(request)}.space"


def default(request: DeployRequest) -> str:
    """Return the default name, which is the project's."""
    given = str(request.project.answers.get("project_slug") or request.context.folder.name)
    return slug(given)[:96].strip("-")
