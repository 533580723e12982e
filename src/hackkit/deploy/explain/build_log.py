"""Turns the log of an image build (docker, podman, buildah) into a cause and a fix."""

import re

from hackkit.errors import Problem
from hackkit.system.command_line import hackkit, line

_STEPS = (
    re.compile(r'building at STEP "(?P<step>.+)": '),
    re.compile(r'process "(?:/bin/sh -c )?(?P<step>.+)" did not complete successfully'),
    re.compile(r"The command '(?:/bin/sh -c )?(?P<step>.+)' returned a non-zero code"),
)
# Lines that the engines print around the output of a step.
_NOISE = re.compile(
    r"(?:\[\d+/\d+\] )?STEP |Error: building|subprocess exited|ERROR: |-----|> \[|time=|-->|"
    r"Dockerfile:\d+|\d+ \||>>> |The command|exit status|failed to solve|View build|#\d+ "
)
_NO_RUNTIME = re.compile(
    r"(?:error running container: from |OCI runtime (?:\w+ )?(?:failed|error)).*"
)
_COUNTED = re.compile(r"^(?:#\d+ )?\d+\.\d+ ")  # how docker starts each line of a step
_IMAGE = re.compile(
    r"failed to resolve source metadata|pull access denied|manifest unknown|toomanyrequests|"
    r"manifest for .+ not found|initializing source|pinging container registry|unable to pull|"
    r"did not resolve to an alias|error getting credentials|registry-1\.docker\.io|no such image"
)
_NO_SUCH_IMAGE = re.compile(
    r"pull access denied|manifest unknown|manifest for .+ not found|repository does not exist|"
    r"did not resolve to an alias|unauthorized|: not found"
)
_PACKAGE = re.compile(
    r"Because (?P<uv>[\w.-]+)(?:\[.*?\])? was not found in the package registry|"
    r"No matching distribution found for (?P<pip>[\w.-]+)|"
    r"Unable to locate package (?P<apt>[\w.+-]+)"
)
_UNREACHED = re.compile(
    r"Failed to fetch:? |Temporary failure in name resolution|Temporary failure resolving|"
    r"Could not (?:connect|resolve)|dns error|Network is unreachable|error sending request"
)
_CERTIFICATE = re.compile(r"invalid peer certificate|CERTIFICATE_VERIFY_FAILED")
_UNKNOWN_INSTRUCTION = re.compile(r'(?i)unknown instruction: "?(?P<word>\w+)')
_UNREADABLE = re.compile(r"(?i)parse error on line (?P<line>\d+)")
_COPIED = re.compile(
    r'(?:stat: |no items matching glob )"/?(?P<podman>[^"\n]+)"|"/(?P<docker>[^"\n]+)": not found|'
    r"COPY failed:.*?stat /?(?P<old>[^\s:]+): "
)


def explain(output: str, dockerfile: str, engine: str) -> Problem | None:
    """Return why a build failed, and the fix; None when the output does not show it.

    `dockerfile` is the text of the Dockerfile: problems are named by their line in it.
    """
    for read in (
        _full,
        _no_runtime,
        _bad_syntax,
        _no_image,
        _no_package,
        _no_network,
        _no_file,
        _bad_step,
    ):
        if found := read(output, dockerfile, engine):
            return found
    return None


def _full(output: str, _dockerfile: str, engine: str) -> Problem | None:
    if "no space left on device" not in output.lower():
        return None
    fix = "buildah prune --all" if engine == "buildah" else f"{engine} system prune"
    return Problem("The disk is full: there is no space for the image.", fix=fix)


def _no_runtime(output: str, _dockerfile: str, engine: str) -> Problem | None:
    match = _NO_RUNTIME.search(output)
    if match is None:
        return None
    return Problem(
        f"{engine} cannot run commands in a container here: {match[0][-200:]}",
        fix=f"{engine} info",
    )


def _bad_syntax(output: str, dockerfile: str, _engine: str) -> Problem | None:
    word, place = _UNKNOWN_INSTRUCTION.search(output), _UNREADABLE.search(output)
    if word is None and place is None:
        return None
    number = int(place["line"]) if place else _line(dockerfile, word["word"] if word else "")
    what = f"{word['word'].upper()} is not an instruction" if word else "it cannot be parsed"
    return Problem(f"Dockerfile:{number}: {what}.", fix=_fix(number))


def _no_image(output: str, dockerfile: str, engine: str) -> Problem | None:
    if not _IMAGE.search(output):
        return None
    number, image = _base(output, dockerfile)
    if "toomanyrequests" in output:
        return Problem(
            f"The base image {image} could not be downloaded: the rate limit is reached.",
            fix=f"{engine} login",
        )
    if _NO_SUCH_IMAGE.search(output):
        return Problem(
            f"The base image {image} was not found in any configured registry.",
            fix=f"edit Dockerfile: use an existing image in line {number}",
        )
    return Problem(
        f"The base image {image} could not be downloaded: its registry does not answer.",
        fix=line([engine, "pull", image]),
    )


def _base(output: str, dockerfile: str) -> tuple[int, str]:
    """Return the base image that the output names, with its line; else the first one."""
    bases = [
        (number, words[1])
        for number, text in enumerate(dockerfile.splitlines(), 1)
        if len(words := text.split()) > 1 and words[0].upper() == "FROM"
    ]
    named = (base for base in bases if base[1] in output)
    return next(named, bases[0] if bases else (1, ""))


def _no_package(output: str, dockerfile: str, _engine: str) -> Problem | None:
    match = _PACKAGE.search(output)
    if match is None:
        return None
    package = match["uv"] or match["pip"] or match["apt"]
    number = _line(dockerfile, package)
    fix = _fix(number) if number else f"edit pyproject.toml: correct or remove {package}"
    return Problem(f"The package {package} was not found.", fix=fix)


def _no_network(output: str, _dockerfile: str, _engine: str) -> Problem | None:
    if _CERTIFICATE.search(output):
        return Problem(
            "Packages could not be downloaded inside the build: this network replaces certificates "
            "by its own, which the base image does not trust.",
            fix="edit Dockerfile: COPY the network's certificate, then RUN update-ca-certificates",
        )
    if _UNREACHED.search(output):
        return Problem(
            "Packages could not be downloaded inside the build: the package index is unreachable.",
            fix=hackkit("doctor"),
        )
    return None


def _no_file(output: str, dockerfile: str, _engine: str) -> Problem | None:
    match = _COPIED.search(output)
    if match is None:
        return None
    name = match["podman"] or match["docker"] or match["old"]
    return Problem(
        f"Dockerfile:{_line(dockerfile, name)} copies {name}, which is not sent: "
        "git does not track it, or .dockerignore excludes it.",
        fix=line(["git", "add", "--", name]),
    )


def _bad_step(output: str, dockerfile: str, _engine: str) -> Problem | None:
    match = next((found for each in _STEPS if (found := each.search(output))), None)
    if match is None:
        return None
    step = match["step"].replace('\\"', '"').removeprefix("RUN ")
    number = _line(dockerfile, re.split(r"&&|\s{2,}", step)[0].strip())
    lines = [_COUNTED.sub("", text.strip()) for text in output.splitlines()]
    useful = [text.strip() for text in lines if text.strip() and not _NOISE.match(text.strip())]
    reason = " ".join(useful[-2:])[-300:] or f"`{step[:100]}`"
    return Problem(f"Dockerfile:{number} failed: {reason}", fix=_fix(number))


def _fix(number: int) -> str:
    return f"edit Dockerfile: correct line {number}"


def _line(dockerfile: str, wanted: str) -> int:
    """Return the number of the first line that contains the text, comments excepted; else 0."""
    for number, text in enumerate(dockerfile.splitlines(), 1):
        if wanted and not text.lstrip().startswith("#") and wanted.lower() in text.lower():
            return number
    return 0
