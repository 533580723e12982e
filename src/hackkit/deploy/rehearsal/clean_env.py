"""The clean environment for a rehearsal: no keys, empty HOME, same package indexes."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from hackkit.network.urls import variable
from hackkit.project.context import Context
from hackkit.system import uv

_LOOPBACK = "127.0.0.1,localhost,::1"
# Variables that a fresh machine has too, and those for the network.
_KEPT = re.compile(
    r"(?i)PATH|LANG|LANGUAGE|LC_\w+|TZ|\w+_proxy|"
    r"SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NIX_SSL_CERT_FILE|"
    r"SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|PROGRAMDATA|PROGRAMFILES|OS|"
    r"NUMBER_OF_PROCESSORS|PROCESSOR_\w+"
)
_INSTALLERS = re.compile(
    r"(?:UV|PIP)_(?:(?:DEFAULT_|EXTRA_|NO_)?INDEX|FIND_LINKS|KEYRING|CACHE_DIR|CERT|CLIENT_CERT|"
    r"PROXY|TRUSTED_HOST|INSECURE_HOST|HTTP|REQUEST|DEFAULT_TIMEOUT|TIMEOUT|RETRIES|NATIVE_TLS|"
    r"SYSTEM_CERTS|OFFLINE|CONFIG_FILE|NO_CONFIG|LINK_MODE|PYTHON_INSTALL|PYTHON_DOWNLOADS|"
    r"PYTHON_PREFERENCE|CONCURRENT|DISABLE_PIP_VERSION_CHECK)\w*"
)


def fresh_machine(context: Context, place: Path) -> dict[str, str]:
    """Return the variables of a fresh machine: no key, its own home and temporary folder.

    Both are created in `place`. Packages come from this machine's indexes.
    """
    here, windows = uv.outer_environment(context.env), context.system == "windows"
    kept = {
        name: value
        for name, value in here.items()
        if _KEPT.fullmatch(name) or _INSTALLERS.fullmatch(name)
    }
    # Requests to the app itself must not go through a proxy.
    around = ",".join(filter(None, [variable(here, "no_proxy"), _LOOPBACK]))
    kept |= dict.fromkeys(("NO_PROXY",) if windows else ("no_proxy", "NO_PROXY"), around)
    home, temporary = place / "home", place / "tmp"
    temporary.mkdir()
    _copy_settings(here, home)
    kept |= dict.fromkeys(("HOME", "USERPROFILE"), str(home))
    kept |= dict.fromkeys(("TMPDIR", "TMP", "TEMP"), str(temporary))
    if windows:
        kept |= {"APPDATA": str(home / "Roaming"), "LOCALAPPDATA": str(home / "Local")}
    return _uv_folders(context) | kept | {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def without_installers(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without the settings of package installers."""
    return {name: value for name, value in env.items() if not _INSTALLERS.fullmatch(name)}


def _uv_folders(context: Context) -> dict[str, str]:
    """Return uv's folders for packages and Pythons: downloading them again would prove nothing."""
    found = {}
    for name, words in {
        "UV_CACHE_DIR": ("cache", "dir"),
        "UV_PYTHON_INSTALL_DIR": ("python", "dir"),
    }.items():
        ran = context.run(*context.uv, *words) if context.uv else None
        if ran and ran.ok and ran.out:
            found[name] = ran.out
    return found


def _copy_settings(env: Mapping[str, str], home: Path) -> None:
    """Copy uv's and pip's settings files: they name this machine's package indexes."""
    home.mkdir()
    old = Path(env.get("HOME") or env.get("USERPROFILE") or home)
    config = Path(env.get("XDG_CONFIG_HOME") or old / ".config")
    roaming = Path(env.get("APPDATA") or old / "Roaming")
    support = Path("Library", "Application Support", "pip", "pip.conf")
    for source, target in (
        (config / "uv" / "uv.toml", home / ".config" / "uv" / "uv.toml"),
        (config / "pip" / "pip.conf", home / ".config" / "pip" / "pip.conf"),
        (old / ".pip" / "pip.conf", home / ".pip" / "pip.conf"),
        (old / support, home / support),
        (roaming / "uv" / "uv.toml", home / "Roaming" / "uv" / "uv.toml"),
        (roaming / "pip" / "pip.ini", home / "Roaming" / "pip" / "pip.ini"),
    ):
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
