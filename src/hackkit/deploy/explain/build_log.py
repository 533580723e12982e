"""Says in words why an image could not be built, from what docker, podman or buildah printed."""

import re

from hackkit.errors import HackkitError
from hackkit.system.command_line import hackkit, line

_STEPS = (
    re.compile(r'building at STEP "(?P<step>.+)": '),
    re.compile(r'process "(?:/bin/sh -c )?(?P<step>.+)" did not complete successfully'),
    re.compile(r"The command '(?:/bin/sh -c )?(?P<step>.+)' returned a non-zero code"),
)
# What engines say around what a step itself said.
_NOISE = re.compile(
    r"(?:\[\d+/\d+\] )?STEP |Error: building|subprocess exited|ERROR: |-----|> \[|time=|-->|"
    r"Dockerfile:\d+|\d+ \||>>> |The command|exit status|failed to solve|View build|#\d+ "
)
_NO_RUNTIME = re.compile(
    r"(?:error running container: from |OCI runtime (?:\w+ )?(?:failed|error)).*"
)
_COUNTED = re.compile(r"^(?:#\d+ )?\d+\.\d+ ")  # how docker begins a line of a step
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
_UNKNOWN_WORD = re.compile(r'(?i)unknown instruction: "?(?P<word>\w+)')
_UNREADABLE = re.compile(r"(?i)parse error on line (?P<line>\d+)")
_COPIED = re.compile(
    r'(?:stat: |no items matching glob )"/?(?P<podman>[^"\n]+)"|"/(?P<docker>[^"\n]+)": not found|'
    r"COPY failed:.*?stat /?(?P<old>[^\s:]+): "
)


def why(said: str, dockerfile: str, engine: str) -> HackkitError | None:
    """Return why a build failed and what mends it; None when what was said does not tell.

    `dockerfile` is its text: problems are named by their line in it.
    """
    for read in (
        _full,
        _no_runtime,
        _no_word,
        _no_image,
        _no_package,
        _no_network,
        _no_file,
        _bad_step,
    ):
        if found := read(said, dockerfile, engine):
            return found
    return None


def _full(said: str, _dockerfile: str, engine: str) -> HackkitError | None:
    if "no space left on device" not in said.lower():
        return None
    fix = "buildah prune --all" if engine == "buildah" else f"{engine} system prune"
    return HackkitError("The drive is full: the image does not fit.", fix=fix)


def _no_runtime(said: str, _dockerfile: str, engine: str) -> HackkitError | None:
    match = _NO_RUNTIME.search(said)
    if match is None:
        return None
    return HackkitError(
        f"{engine} can start nothing in a container here: {match[0][-200:]}", fix=f"{engine} info"
    )


def _no_word(said: str, dockerfile: str, _engine: str) -> HackkitError | None:
    word, place = _UNKNOWN_WORD.search(said), _UNREADABLE.search(said)
    if word is None and place is None:
        return None
    number = int(place["line"]) if place else _line(dockerfile, word["word"] if word else "")
    what = f"{word['word'].upper()} is no instruction" if word else "it cannot be read"
    return HackkitError(f"Dockerfile:{number}: {what}.", fix=_mend(number))


def _no_image(said: str, dockerfile: str, engine: str) -> HackkitError | None:
    if not _IMAGE.search(said):
        return None
    number, image = _base(said, dockerfile)
    if "toomanyrequests" in said:
        return HackkitError(
            f"The base image {image} could not be fetched: the registry gives no more for now.",
            fix=f"{engine} login",
        )
    if _NO_SUCH_IMAGE.search(said):
        return HackkitError(
            f"The base image {image} was not found: no registry that is asked has it.",
            fix=f"edit Dockerfile: line {number}: name an image that exists",
        )
    return HackkitError(
        f"The base image {image} could not be fetched: its registry does not answer.",
        fix=line([engine, "pull", image]),
    )


def _base(said: str, dockerfile: str) -> tuple[int, str]:
    """Return the base image that is spoken of, with its line."""
    bases = [
        (number, words[1])
        for number, text in enumerate(dockerfile.splitlines(), 1)
        if len(words := text.split()) > 1 and words[0].upper() == "FROM"
    ]
    named = (base for base in bases if base[1] in said)
    return next(named, bases[0] if bases else (1, ""))


def _no_package(said: str, dockerfile: str, _engine: str) -> HackkitError | None:
    match = _PACKAGE.search(said)
    if match is None:
        return None
    package = match["uv"] or match["pip"] or match["apt"]
    number = _line(dockerfile, package)
    fix = _mend(number) if number else f"edit pyproject.toml: correct or remove {package}"
    return HackkitError(f"The package {package} was not found.", fix=fix)


def _no_network(said: str, _dockerfile: str, _engine: str) -> HackkitError | None:
    if _CERTIFICATE.search(said):
        return HackkitError(
            "Packages could not be fetched inside the build: this network puts its own "
            "certificate in the way, which the base image does not know.",
            fix="edit Dockerfile: COPY the network's certificate in, run update-ca-certificates",
        )
    if _UNREACHED.search(said):
        return HackkitError(
            "Packages could not be fetched inside the build: it has no way to the package index.",
            fix=hackkit("doctor"),
        )
    return None


def _no_file(said: str, dockerfile: str, _engine: str) -> HackkitError | None:
    match = _COPIED.search(said)
    if match is None:
        return None
    name = match["podman"] or match["docker"] or match["old"]
    return HackkitError(
        f"Dockerfile:{_line(dockerfile, name)} copies {name}, which is not among the files that "
        "are sent: git does not track it, or .dockerignore names it.",
        fix=line(["git", "add", "--", name]),
    )


def _bad_step(said: str, dockerfile: str, _engine: str) -> HackkitError | None:
    match = next((found for each in _STEPS if (found := each.search(said))), None)
    if match is None:
        return None
    step = match["step"].replace('\\"', '"').removeprefix("RUN ")
    number = _line(dockerfile, re.split(r"&&|\s{2,}", step)[0].strip())
    spoken = [_COUNTED.sub("", text.strip()) for text in said.splitlines()]
    telling = [text.strip() for text in spoken if text.strip() and not _NOISE.match(text.strip())]
    words = " ".join(telling[-2:])[-300:] or f"`{step[:100]}`"
    return HackkitError(f"Dockerfile:{number} failed: {words}", fix=_mend(number))


def _mend(number: int) -> str:
    return f"edit Dockerfile: mend line {number}"


def _line(dockerfile: str, words: str) -> int:
    """Return the number of the first line that has the words, without comments; else 0."""
    for number, text in enumerate(dockerfile.splitlines(), 1):
        if words and not text.lstrip().startswith("#") and words.lower() in text.lower():
            return number
    return 0
