"""What people drop into the chat: pictures to a model that sees, speech to text, files to disk."""

from __future__ import annotations

import base64
import io
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agent.settings import SETTINGS, Settings
from plumbing import retries

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
SOUNDS = frozenset({".mp3", ".wav", ".m4a", ".flac", ".ogg"})
UPLOADS = "uploads"  # the folder of the workspace that other files go to

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # whatever the name says; no others are tried
SIDE = 1024  # pixels of the long side that the model gets
MAX_PIXELS = 50_000_000  # a picture of a few bytes may unpack to far more
FEW_COLOURS = 128  # up to here it is a drawing, which JPEG would smear
MAX_IMAGES = 8  # of one task: each costs the model a thousand tokens and more

NO_EYES = """\
needs a model that sees, so it was left out: put a MISTRAL_API_KEY into .env, or the LLM_BASE_URL \
of a server with such a model"""
NO_EARS = (
    "needs Mistral's API to be understood, so it was left out: put a MISTRAL_API_KEY into .env"
)


@dataclass(frozen=True)
class Taken:
    """A task as the model gets it: the text, pictures as data URLs, and a line for each problem."""

    text: str
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # their names, to show
    notices: tuple[str, ...] = ()


class Unusable(Exception):
    """Why a file was left out, as the end of a sentence that begins with its name."""


def take(text: str, files: Sequence[str | Path], settings: Settings = SETTINGS) -> Taken:
    """Take in a task with its files. Never raises: a file that is left out becomes a notice."""
    words, images, names, notices = [text.strip()], list[str](), list[str](), list[str]()
    for path in map(Path, files):
        try:
            _check(path, settings)
            if path.suffix.lower() in IMAGES:
                images.append(_picture(path, len(images), settings))
                names.append(path.name)
            elif path.suffix.lower() in SOUNDS:
                words.append(_speech(path, settings))
                names.append(path.name)
            else:
                name = _keep(path, settings.workspace)
                words.append(f"The file {name} is in the workspace.")
                names.append(name)
        except Unusable as problem:
            notices.append(f"{path.name} {problem}.")
    return Taken("\n\n".join(filter(None, words)), tuple(images), tuple(names), tuple(notices))


def _check(path: Path, settings: Settings) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise Unusable(f"could not be opened ({error.strerror})") from error
    if not size:
        raise Unusable("is empty")
    if size > settings.max_file_mb * 2**20:
        raise Unusable(f"is larger than {settings.max_file_mb} MB (MAX_FILE_MB raises the limit)")


# Pictures


def _picture(path: Path, before: int, settings: Settings) -> str:
    """The picture as a data URL: upright and small. Raises Unusable."""
    if settings.provider == "offline":
        raise Unusable(NO_EYES)
    if before == MAX_IMAGES:
        raise Unusable(f"was left out: the model looks at {MAX_IMAGES} pictures at once")
    try:
        kind, data = _encoded(_small(path))
    except Unusable:
        raise
    except Exception as error:  # Pillow has many, and the files are anybody's
        raise Unusable("is broken or not what its name says") from error
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _small(path: Path) -> Any:
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise Unusable(f"has more than {MAX_PIXELS // 1_000_000} million pixels")
        plain = picture.mode in {"L", "RGB", "RGBA", "CMYK"}  # a palette cannot be shrunk
        image = picture if plain else picture.convert("RGBA")
        image.thumbnail((SIDE, SIDE))  # a large JPEG is not even decoded in full
        return ImageOps.exif_transpose(image)


def _encoded(image: Any) -> tuple[str, bytes]:
    """The picture's format and bytes: PNG where it has few colours or lets the ground through."""
    if image.mode == "CMYK" or (image.mode == "RGBA" and image.getextrema()[3][0] == 255):
        image = image.convert("RGB")
    image.info.clear()  # the place where a photo was taken is nobody's business
    file = io.BytesIO()
    if image.mode == "RGBA" or image.getcolors(FEW_COLOURS):
        image.save(file, "PNG", optimize=True)
        return "png", file.getvalue()
    image.save(file, "JPEG", quality=85)
    return "jpeg", file.getvalue()


# Speech


def _speech(path: Path, settings: Settings) -> str:
    """The words of a recording. Raises Unusable."""
    if settings.provider != "mistral":
        raise Unusable(NO_EARS)
    model = settings.transcribe_model
    try:
        with retries.polite_errors(model, settings):
            words = retries.retry(partial(_transcribe, path, settings), model, settings)
    except retries.ModelUnavailable as error:
        said = str(error).rstrip(".")
        raise Unusable(f"was left out: {said[0].lower()}{said[1:]}") from error
    if not words:
        raise Unusable("holds no words that could be understood")
    return words


def _transcribe(path: Path, settings: Settings) -> str:
    from mistralai.client import Mistral  # takes a moment, and few tasks are spoken

    with Mistral(
        api_key=settings.mistral_api_key.get_secret_value().strip(),
        server_url=settings.mistral_server_url,
        timeout_ms=round(settings.timeout * 1000),
    ) as client:
        said = client.audio.transcriptions.complete(
            model=settings.transcribe_model,
            file={"file_name": f"speech{path.suffix.lower()}", "content": path.read_bytes()},
        )
    return said.text.strip()


# Other files


def _keep(path: Path, workspace: Path) -> str:
    """Copy a file into the workspace under a name that is free; what the tools call it."""
    folder = workspace / UPLOADS
    stem, ending = _safe(path.name)
    number = 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        while True:
            name = f"{stem}-{number}{ending}" if number > 1 else f"{stem}{ending}"
            with suppress(FileExistsError), (folder / name).open("xb") as copy:
                copy.write(data)
                return f"{UPLOADS}/{name}"
            number += 1
    except OSError as error:
        raise Unusable(f"could not be kept ({error.strerror})") from error


def _safe(name: str) -> tuple[str, str]:
    """A file's name in letters that every system and every tool takes, and its ending."""
    stem, dot, ending = unicodedata.normalize("NFC", name).strip(". ").rpartition(".")
    stem, ending = (stem, dot + re.sub(r"\W", "", ending)[:10]) if dot else (ending, "")
    stem = re.sub(r"[^\w-]+", "-", stem).strip("-")[:60] or "file"
    if re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", stem):  # devices, on Windows
        stem = f"file-{stem}"
    return stem, ending
