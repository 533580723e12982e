"""Finds the package indexes that uv and pip use: the only module that reads their settings."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hackkit.project.context import Context
from hackkit.project.lockfile import read_toml

# Each tool prints its default in its help: "(by default: <https://…>)", "(default https://…)".
_OWN = re.compile(r"default:?\s+<?(https?://[^\s<>)]+)")
_PIP_SETTING = re.compile(r"(?m)^\S*\bindex-url='?([^'\n]+)")
_NAMED = re.compile(r"^[\w.-]+=")


def uv_indexes(context: Context) -> tuple[str, ...]:
    """Return uv's indexes, the default one last, as addresses or folders."""
    env = context.env
    extra = f"{env.get('UV_INDEX', '')} {env.get('UV_EXTRA_INDEX_URL', '')}".split()
    default = [env.get("UV_DEFAULT_INDEX", ""), env.get("UV_INDEX_URL", "")]
    for table in _tables(context):
        listed = [each for each in table.get("index", []) if not each.get("explicit")]
        extra += [str(each.get("url", "")) for each in listed if not each.get("default")]
        default += [str(each.get("url", "")) for each in listed if each.get("default")]
        default.append(str(table.get("index-url", "")))
    last = next(filter(None, default), "") or _own(context, *context.uv, "pip", "install")
    found = [_NAMED.sub("", entry) for entry in (*extra, last)]
    return tuple(dict.fromkeys(filter(None, found)))


def pip_index(context: Context) -> str:
    """Return the index that pip is configured to use, or nothing."""
    set_here = context.env.get("PIP_INDEX_URL", "")
    if set_here:
        return set_here
    ran = context.run(*_pip(context), "config", "list", seconds=1.5)
    match = _PIP_SETTING.search(ran.out) if ran and ran.ok else None
    return match[1].strip() if match else ""


def pip_default(context: Context) -> str:
    """Return the index that pip uses when none is configured."""
    return _own(context, *_pip(context), "install")


def _own(context: Context, *words: str) -> str:
    ran = context.run(*words, "--help", seconds=1.5)
    match = _OWN.search(ran.out) if ran else None
    return match[1] if match else ""


def _pip(context: Context) -> tuple[str, ...]:
    return (context.shell.python, "-m", "pip")


def _tables(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield the tables of uv's settings: the project's, the user's, the system's."""
    env, folder = context.env, context.folder
    if env.get("UV_CONFIG_FILE"):
        yield read_toml(Path(env["UV_CONFIG_FILE"]))
    elif not env.get("UV_NO_CONFIG"):
        inside = read_toml(folder / "pyproject.toml").get("tool", {})
        yield read_toml(folder / "uv.toml") or inside.get("uv", {})
        yield from (read_toml(place / "uv" / "uv.toml") for place in _settings_folders(context))


def _settings_folders(context: Context) -> Iterator[Path]:
    env = context.env
    if context.system == "windows":
        yield from (Path(env[name]) for name in ("APPDATA", "PROGRAMDATA") if env.get(name))
        return
    if env.get("XDG_CONFIG_HOME") or env.get("HOME"):
        yield Path(env.get("XDG_CONFIG_HOME") or Path(env["HOME"]) / ".config")
    shared = env.get("XDG_CONFIG_DIRS", "").split(":")
    yield from (Path(place) for place in (*shared, "/etc") if place)
