"""Reads, completes and checks the README header that makes a folder a Hugging Face Space."""

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.project.layout import DOCKERFILE, PORT
from hackkit.project.lockfile import least_python

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
SDKS = ("gradio", "docker", "static")
LONGEST_DESCRIPTION = 60  # characters
READ_DOCS = "open https://huggingface.co/docs/hub/spaces-config-reference"  # a fix
_KEYS = (
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version"),
    *("app_file", "app_port", "app_build_command", "base_path", "fullWidth", "header"),
    *("short_description", "models", "datasets", "tags", "thumbnail", "pinned", "license"),
    *("suggested_hardware", "suggested_storage", "disable_embedding", "custom_headers"),
    *("hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org"),
    *("startup_duration_timeout", "preload_from_hub"),
)
_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_FULL_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_PYTHON = re.compile(r"3\.[0-9]{1,2}(?:\.[0-9]+)?")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_SYMBOLS = {"So", "Sm"}  # the Unicode categories of an emoji's visible parts
_JOINER = "\N{ZERO WIDTH JOINER}"
_FLAG_LETTERS = {chr(0x1F1E6 + number) for number in range(26)}


@dataclass(frozen=True)
class HeaderIssue:
    """A key of the header that would break a deployment: its value, and the right one."""

    key: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} is {self.value}, not {self.expected}"

    @property
    def fix(self) -> str:
        """What to edit."""
        return fix_for(self.key, self.expected)


def fix_for(key: str, expected: str) -> str:
    """Write the fix for a key of the header."""
    return f"edit README.md: {key} must be {expected}"


@dataclass(frozen=True)
class Header:
    """The front matter of a README; `error` says why there are no values."""

    values: Mapping[str, object] = field(default_factory=dict)
    error: str = ""


def parse_header(text: str) -> Header:
    """Read the YAML between the two lines `---` at the start of a README."""
    import yaml  # noqa: PLC0415 - only deploy and doctor read it

    match = _FRONT_MATTER.match(text)
    if match is None:
        return Header(error="has no header between two lines ---")
    try:
        values = yaml.safe_load(match[1])
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        return Header(error=f"has a header that is not YAML (line {line})")
    except yaml.YAMLError:
        return Header(error="has a header that is not YAML")
    if not isinstance(values, dict):
        return Header(error="has a header without keys")
    return Header({str(key): value for key, value in values.items()})


def complete(text: str, defaults: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """Return a README whose header has all these keys, and the keys that were added.

    Existing keys stay; a README without a header gets one.
    """
    import json  # noqa: PLC0415 - only a deployment writes headers

    match = _FRONT_MATTER.match(text)
    known = parse_header(text).values
    added = {key: value for key, value in defaults.items() if value and key not in known}
    newline = "\r\n" if match and "\r\n" in match[0] else "\n"
    # JSON is YAML, and keeps a version as a string: YAML alone would read 3.10 as a number.
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}{newline}" for key, value in added.items()
    ]
    if match:
        whole = text[: match.end(1)] + "".join(lines) + text[match.end(1) :]
    else:
        whole = "".join(["---\n", *lines, "---\n\n", text.removeprefix("\ufeff")])
    return (whole if added else text), tuple(added)


def issues(header: Mapping[str, object], lock_gradio: str, folder: Path) -> list[HeaderIssue]:
    """Return what is wrong in a header; what stops the Space comes first.

    `lock_gradio`: the version of Gradio in the lock; empty when unknown. `folder`: the folder with
    the Space's files.
    """
    return [
        *_sdk(header, lock_gradio),
        *_files(header, folder),
        *_python(header, least_python(folder)),
        *_looks(header),
        *_misspelt(header),
    ]


def _sdk(header: Mapping[str, object], lock_gradio: str) -> Iterator[HeaderIssue]:
    sdk, version = header.get("sdk"), header.get("sdk_version")
    if sdk not in SDKS:
        yield HeaderIssue("sdk", _shown(sdk), "one of " + ", ".join(SDKS))
    if sdk != "gradio":
        return
    full = isinstance(version, str) and _FULL_VERSION.fullmatch(version)
    if not full:
        yield HeaderIssue("sdk_version", _shown(version), lock_gradio or "a full x.y.z")
    elif lock_gradio and version != lock_gradio:
        yield HeaderIssue("sdk_version", _shown(version), f"{lock_gradio} as in uv.lock")


def _files(header: Mapping[str, object], folder: Path) -> Iterator[HeaderIssue]:
    sdk, port = header.get("sdk"), header.get("app_port", PORT)
    usual = {"gradio": "app.py", "static": "index.html"}.get(str(sdk), "")
    app_file = str(header.get("app_file") or usual)
    if sdk == "docker" and not (folder / DOCKERFILE).is_file():
        yield HeaderIssue("sdk", "docker", "possible without a Dockerfile")
    elif app_file and sdk != "docker" and not (folder / app_file).is_file():
        yield HeaderIssue(
            "app_file", f"{_shown(app_file)}, which does not exist", "a file of this folder"
        )
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 2**16:
        yield HeaderIssue("app_port", _shown(port), "a port number")


def _python(header: Mapping[str, object], least: str) -> Iterator[HeaderIssue]:
    if header.get("sdk") != "gradio":
        return
    seen = header.get("python_version")
    wanted = f'"{least or "3.11"}"'
    if not _PYTHON.fullmatch(str(seen)):
        missing = "not set (Spaces then use 3.10)" if seen is None else _shown(seen)
        yield HeaderIssue("python_version", missing, wanted)
    elif isinstance(seen, float) and str(seen) == "3.1":
        yield HeaderIssue("python_version", "3.1 (how YAML reads 3.10)", f"in quotes: {wanted}")
    elif least and _numbers(str(seen))[:2] < _numbers(least)[:2]:
        yield HeaderIssue(
            "python_version", _shown(seen), f"at least {wanted}, as in pyproject.toml"
        )


def _looks(header: Mapping[str, object]) -> Iterator[HeaderIssue]:
    title = header.get("title")
    if not str(title or "").strip():
        yield HeaderIssue("title", _shown(title), "the app's name")
    for key in ("colorFrom", "colorTo"):
        if header.get(key, "red") not in COLOURS:
            yield HeaderIssue(key, _shown(header[key]), "one of " + ", ".join(COLOURS))
    emoji = header.get("emoji", "📚")
    if not (isinstance(emoji, str) and _is_one_emoji(emoji.strip())):
        yield HeaderIssue("emoji", _shown(emoji), "one emoji")
    description = str(header.get("short_description") or "")
    if len(description) > LONGEST_DESCRIPTION:
        limit = f"at most {LONGEST_DESCRIPTION}"
        yield HeaderIssue("short_description", f"{len(description)} characters long", limit)
    yield from _license(header.get("license", "mit"))
    if not isinstance(header.get("pinned", False), bool):
        yield HeaderIssue("pinned", _shown(header["pinned"]), "true or false")


def _license(seen: object) -> Iterator[HeaderIssue]:
    each = seen if isinstance(seen, list) and seen else [seen]
    for one in each:
        if not (isinstance(one, str) and _LICENSE.fullmatch(one)):
            guess = re.sub(r"[^a-z0-9.+-]+", "-", str(one or "").lower()).strip("-")
            wanted = f"an id such as {guess or 'mit'}"
            yield HeaderIssue("license", _shown(one), wanted)


def _misspelt(header: Mapping[str, object]) -> Iterator[HeaderIssue]:
    for key in header:
        near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.8)
        if key not in _KEYS and near:
            yield HeaderIssue(f"the key {key}", "unknown to Spaces", f"spelt {near[0]}")


def _is_one_emoji(text: str) -> bool:
    kinds = [unicodedata.category(char) for char in text]
    pairs = zip(f" {text}", text, kinds, strict=False)
    symbols = [
        char
        for before, char, kind in pairs
        if (kind in _SYMBOLS or char in "‼⁉") and before != _JOINER
    ]
    flag = len(symbols) == 2 and all(char in _FLAG_LETTERS for char in symbols)  # noqa: PLR2004 - a flag is two letters
    keycap = not symbols and "Me" in kinds
    return (len(symbols) == 1 or flag or keycap) and not any(map(str.isalpha, text))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]+", version))


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_DESCRIPTION else f"{text[:LONGEST_DESCRIPTION]}…"
