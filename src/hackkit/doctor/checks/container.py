"""Does a container engine (docker, podman or buildah) work?

Warns when one is installed and none works, usually docker without its daemon. None at all is not a
problem: an app runs, and can be deployed to a Space, without one.
"""

import re

from hackkit.doctor.findings import Category, Finding, ok, warning
from hackkit.project.context import Context
from hackkit.services.containers import fix_for, why_unavailable
from hackkit.system.processes import Ran

TITLE = "Containers"
CATEGORY = Category.MACHINE

SECONDS = 6.0  # for the rare machine where all of them hang
_PATIENCE = 1.4  # seconds for each
# Each asks what is behind the command: docker's daemon, podman's machine, the images' store.
_QUESTIONS = {
    "docker": ("docker", "version", "--format", "{{.Client.Version}}/{{.Server.Version}}"),
    "podman": ("podman", "ps", "--quiet", "--last", "1"),
    "buildah": ("buildah", "images", "--quiet"),
}


def check(context: Context) -> Finding:
    """Try one after the other until one works, to start few processes."""
    down: list[tuple[str, Ran]] = []
    for engine, question in _QUESTIONS.items():
        ran = context.run(*question, seconds=_PATIENCE)
        if ran is None or "Emulate Docker CLI" in ran.err:  # podman under docker's name
            continue
        if ran.ok:
            return _works(engine, ran, down, context)
        down.append((engine, ran))
    if not down:
        return ok("none found: only needed to build container images on this machine")
    (engine, ran), *_ = down
    details = tuple(f"{name}: {_reason(each)}" for name, each in down)
    return warning(
        f"{engine} is installed, but {why_unavailable(ran)}",
        fix_for(engine, ran, context),
        details=details,
    )


def _works(engine: str, ran: Ran, down: list[tuple[str, Ran]], context: Context) -> Finding:
    if engine == "docker":
        version = ran.out.rpartition("/")[2]
    else:
        asked = context.run(engine, "--version", seconds=_PATIENCE)
        found = re.search(r"\d+(?:\.\d+)+", asked.out) if asked else None
        version = found.group() if found else ""
    others = "; ".join(f"{name}: {why_unavailable(each)}" for name, each in down)
    only = ", which builds images but does not run them" if engine == "buildah" else ""
    details = tuple(f"{name}: {_reason(each)}" for name, each in down)
    return ok(f"{engine} {version}".strip() + only + (f" ({others})" if others else ""), details)


def _reason(ran: Ran) -> str:
    output = [line.strip() for line in ran.err.splitlines() if line.strip()]
    return f"no answer in {_PATIENCE} s" if ran.timed_out else (output or ["it failed"])[-1][:200]
