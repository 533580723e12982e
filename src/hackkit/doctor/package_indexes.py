"""Which package indexes uv and pip are set to: the only module that reads their settings."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hackkit.project.context import Context

# Each tool prints its own in its help: "(by default: <https://…>)", "(default https://…)".
_OWN = re.compile(r"default:?\s+<?(https?://[^\s<>)]+)")
_PIP_SETTING = re.compile(r"(?m)^\S*\bindex-url='?([^'\n]+)")
_NAMED = re.compile(r"^[\w.-]+=")


def uv_indexes(context: Context) -> tuple[str, ...]:
    """Return the indexes that uv asks: extra ones, then the default; addresses or folders."""
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
    """Return the index that pip is set to, or nothing."""
    set_here = context.env.get("PIP_INDEX_URL", "")
    if set_here:
        return set_here
    ran = context.run(*_pip(context), "config", "list", seconds=1.5)
    match = _PIP_SETTING.search(ran.out) if ran and ran.ok else None
    return match[1].strip() if match else ""


def pip_default(context: Context) -> str:
    """Return the index that pip asks when none is set."""
    return _own(context, *_pip(context), "install")


def _own(context: Context, *words: str) -> str:
    ran = context.run(*words, "--help", seconds=1.5)
    match = _OWN.search(ran.out) if ran else None
    return match[1] if match else ""


def _pip(context: Context) -> tuple[str, ...]:
    return ("python" if context.system == "windows" else "python3", "-m", "pip")


def _tables(context: Context) -> Iterator[Mapping[str, Any]]:
    """Yield uv's settings: the project's, the user's, the system's."""
    env, folder = context.env, context.folder
    if env.get("UV_CONFIG_FILE"):
        yield _toml(Path(env["UV_CONFIG_FILE"]))
    elif not env.get("UV_NO_CONFIG"):
        inside = _toml(folder / "pyproject.toml").get("tool", {})
        yield _toml(folder / "uv.toml") or inside.get("uv", {})
        yield from (_toml(place / "uv" / "uv.toml") for place in _settings_folders(context))


def _settings_folders(context: Context) -> Iterator[Path]:
    env = context.env
    if context.system == "windows":
        yield from (Path(env[name]) for name in ("APPDATA", "PROGRAMDATA") if env.get(name))
        return
    if env.get("XDG_CONFIG_HOME") or env.get("HOME"):
        yield Path(env.get("XDG_CONFIG_HOME") or Path(env["HOME"]) / ".config")
    shared = env.get("XDG_CONFIG_DIRS", "").split(":")
    yield from (Path(place) for place in (*shared, "/etc") if place)


def _toml(path: Path) -> Mapping[str, Any]:
    import tomllib  # noqa: PLC0415 - only this check reads it

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # absent, or broken: uv itself says so
        return {}
