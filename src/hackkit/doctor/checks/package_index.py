"""Can the package index of uv or pip be reached?

Fails when it cannot: then nothing can be installed. In an installed project that is a warning.
Warns, too, when an answer takes over a second, or when the index requires a login.
"""

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from hackkit.doctor.findings import Category, Finding, Status, failure, ok, skipped, warning
from hackkit.doctor.package_indexes import pip_default, pip_index, uv_indexes
from hackkit.errors import Problem
from hackkit.network.blocked import ANOTHER_NETWORK, SLOW, Site, latency, why_blocked
from hackkit.network.fetch import Reply, fetch_all
from hackkit.project.context import Context

TITLE = "Package index"
CATEGORY = Category.NETWORK
ONLINE = True
SECONDS = 5.0

_FILES_OF_UV = re.compile(rb"uv[-_]\d")  # the files on the page of the package "uv"
_JSON_FIRST = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}


def check(context: Context) -> Finding:
    indexes = _indexes(context)
    if not indexes:
        return skipped("no index is configured, and the default is unknown")
    installed = context.project is not None and context.project.installed
    remote = [f"{index.rstrip('/')}/uv/" for index in indexes if _is_remote(index)]
    replies = fetch_all(remote, context.env, _JSON_FIRST)
    asked = zip(remote, replies, strict=True)
    folders = [_folder(index, context) for index in indexes if not _is_remote(index)]
    found = [*map(_in_folder, folders), *(_problem(url, reply, context) for url, reply in asked)]
    problems = sorted(filter(None, found), key=lambda each: each.status is not Status.FAIL)
    if problems:
        return replace(problems[0], status=Status.WARN) if installed else problems[0]
    if not replies:
        return ok(f"a folder of this machine: {folders[0]}")
    slowest = max(replies, key=lambda reply: reply.seconds)
    return ok(f"answers in {latency(slowest)}", tuple(f"asked: {_host(url)}" for url in remote))


def _indexes(context: Context) -> tuple[str, ...]:
    if context.uv:
        return uv_indexes(context)
    index = pip_index(context) or pip_default(context)
    return (index,) if index else ()


def _in_folder(folder: Path) -> Finding | None:
    if folder.is_dir():
        return None
    message = f"the index is a folder that does not exist: {folder}"
    fix = "edit uv's settings (UV_DEFAULT_INDEX, uv.toml): name another index"
    return failure(message, fix)


def _problem(url: str, reply: Reply, context: Context) -> Finding | None:
    host, error = _host(url), reply.status >= 400  # noqa: PLR2004 - no page of a package
    lists_files = bool(_FILES_OF_UV.search(reply.body))
    site = Site(url, "UV_DEFAULT_INDEX", context.system, pages=error or lists_files)
    blocked = why_blocked(reply, site)
    if blocked:
        named = blocked.problem if host in blocked.problem else f"{host}: {blocked.problem}"
        other = _other_index(url, context)
        problem = Problem(named, other) if other else replace(blocked, problem=named)
        return Finding(Status.FAIL, problem)
    if reply.status in {401, 403}:
        message = f"{host} requires a login ({reply.status})"
        fix = "edit the index's address: add a user name and password"
        return warning(message, fix)
    if reply.status >= 500:  # noqa: PLR2004 - a server error
        message = f"{host} answers with a server error ({reply.status})"
        fix = _other_index(url, context) or f"open https://{host} in a browser"
        return failure(message, fix)
    if reply.seconds > SLOW:
        message = f"{host} answers only after {latency(reply)}"
        return warning(message, ANOTHER_NETWORK)
    return None


def _other_index(url: str, context: Context) -> str:
    """Return the command that makes uv use pip's index; uv does not read pip's settings."""
    index = pip_index(context) if context.uv else ""
    if not index or _host(index) == _host(url):
        return ""
    if "@" in index:
        return "set UV_DEFAULT_INDEX to pip's own index, which `pip config list` shows"
    return context.shell.set("UV_DEFAULT_INDEX", index)


def _is_remote(index: str) -> bool:
    return index.startswith(("http://", "https://"))


def _folder(index: str, context: Context) -> Path:
    if not index.startswith("file:"):
        return context.folder / index
    from urllib.request import url2pathname  # noqa: PLC0415 - slow to load, and rarely needed

    return Path(url2pathname(urlsplit(index).path))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "the index"
    except ValueError:
        return "the index"
