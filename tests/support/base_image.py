"""Builds the base image of our Dockerfiles from Debian packages, without a registry.

By hand: `python tests/support/base_image.py`, as root. It takes a minute; the image stays.
"""

import functools
import os
import shutil
import subprocess
from pathlib import Path

IMAGE = "docker.io/library/python:3.11-slim"
SUITE = "bookworm"  # Debian's release with Python 3.11
PACKAGES = "python3,python3-pip,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PLAIN = Path("/var/lib/hackkit-tests")  # where images are plain folders
# Files of the packages that no program needs.
UNUSED = ("var/lib/apt/lists", "var/cache/apt", "var/log", "usr/share/doc", "usr/share/man")


def what_is_missing() -> str:
    """Return why no image can be built on this machine; empty when one can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "only root can build an image without a running engine"
    missing = [name for name in ("buildah", "unshare") if shutil.which(name) is None]
    if not missing and not is_here() and shutil.which("debootstrap") is None:
        missing = ["debootstrap"]
    return f"{' and '.join(missing)} not installed" if missing else ""


@functools.cache
def variables() -> dict[str, str]:
    """Return the variables that buildah needs here, as root, perhaps inside a container.

    A chroot needs the least from the machine; images on an overlay cannot be overlays.
    """
    chroot = {"BUILDAH_ISOLATION": "chroot"}
    words = ["buildah", "from", "scratch"]
    tried = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    if tried.returncode == 0:
        subprocess.run(["buildah", "rm", tried.stdout.strip()], capture_output=True, check=True)
        return chroot
    PLAIN.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = PLAIN / "storage.conf"
    lines = (
        "[storage]",
        'driver = "vfs"',
        f'graphroot = "{PLAIN}/all"',
        f'runroot = "{PLAIN}/now"',
    )
    config.write_text("\n".join([*lines, ""]), "utf-8")
    return chroot | {"CONTAINERS_STORAGE_CONF": str(config)}


def is_here() -> bool:
    """Return whether the image exists, built here or downloaded from a registry."""
    words = ["buildah", "inspect", "--type", "image", IMAGE]
    env = {**os.environ, **variables()}
    return subprocess.run(words, env=env, capture_output=True, check=False).returncode == 0


def make() -> None:
    """Build the image, unless it exists."""
    if is_here():
        return
    container = buildah("from", "scratch")
    try:
        root = Path(buildah("mount", container))
        _install(root)
        buildah("config", "--cmd", "python3", "--env", "LANG=C.UTF-8", container)
        buildah("commit", "--quiet", container, IMAGE)
    finally:
        buildah("rm", container)


def _install(root: Path) -> None:
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root)]
    subprocess.run(words, capture_output=True, check=True)
    for name in UNUSED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    # This machine's network may have its own certificate authority.
    if CERTIFICATES.is_file():
        shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    (root / "usr/bin/python").symlink_to("python3")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()  # the official image allows pip install, too


def buildah(*words: str) -> str:
    """Run buildah and return what it printed; raise CalledProcessError when it fails."""
    env = {**os.environ, **variables()}
    return subprocess.run(
        ["buildah", *words], env=env, capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()


if __name__ == "__main__":
    make()
