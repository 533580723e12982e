"""Files that users attach: images for a vision model, speech as text, others to the workspace."""

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
UPLOADS = "uploads"  # the folder of the workspace for other files

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # the only ones tried, whatever the file's name is
MAX_SIDE = 1024  # pixels of the longer side in the image that the model gets
MAX_PIXELS = 50_000_000  # an image of a few bytes may decode to far more
FEW_COLOURS = 128  # up to this number it is a drawing, which JPEG would blur
MAX_IMAGES = 8  # of one task: each costs over a thousand tokens

NO_VISION = """\
needs a model that reads images, so it was left out: put a MISTRAL_API_KEY into .env, or the \
LLM_BASE_URL of a server with such a model"""
NO_SPEECH = (
    "needs Mistral's API to be transcribed, so it was left out: put a MISTRAL_API_KEY into .env"
)


@dataclass(frozen=True)
class Prepared:
    """A task as the model gets it: the text, images as data URLs, and a line for each problem."""

    text: str
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()  # the names that are shown
    notices: tuple[str, ...] = ()


class SkippedFile(Exception):
    """A file that was left out; the text is the end of a sentence that starts with its name."""


def prepare(text: str, files: Sequence[str | Path], settings: Settings = SETTINGS) -> Prepared:
    """Prepare a task and its files for the model. Never raises: a skipped file becomes a notice."""
    texts, images, names, notices = [text.strip()], list[str](), list[str](), list[str]()
    for path in map(Path, files):
        try:
            _check(path, settings)
            if path.suffix.lower() in IMAGES:
                images.append(_image(path, len(images), settings))
                names.append(path.name)
            elif path.suffix.lower() in SOUNDS:
                texts.append(_speech(path, settings))
                names.append(path.name)
            else:
                name = _keep(path, settings.workspace)
                texts.append(f"The file {name} is in the workspace.")
                names.append(name)
        except SkippedFile as problem:
            notices.append(f"{path.name} {problem}.")
    return Prepared("\n\n".join(filter(None, texts)), tuple(images), tuple(names), tuple(notices))


def _check(path: Path, settings: Settings) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SkippedFile(f"could not be opened ({error.strerror})") from error
    if not size:
        raise SkippedFile("is empty")
    if size > settings.max_file_mb * 2**20:
        raise SkippedFile(
            f"is larger than {settings.max_file_mb} MB (MAX_FILE_MB raises the limit)"
        )


# Images


def _image(path: Path, before: int, settings: Settings) -> str:
    """The image as a data URL: upright and small. Raises SkippedFile."""
    if settings.provider == "offline":
        raise SkippedFile(NO_VISION)
    if before == MAX_IMAGES:
        raise SkippedFile(f"was left out: a task may have at most {MAX_IMAGES} images")
    try:
        kind, data = _encoded(_small(path))
    except SkippedFile:
        raise
    except Exception as error:  # Pillow raises many kinds for files that it cannot read
        raise SkippedFile("is damaged, or not an image") from error
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _small(path: Path) -> Any:
    from PIL import Image, ImageOps

    with Image.open(path, formats=FORMATS) as original:
        if original.width * original.height > MAX_PIXELS:
            raise SkippedFile(f"has more than {MAX_PIXELS // 1_000_000} million pixels")
        plain = original.mode in {"L", "RGB", "RGBA", "CMYK"}  # a palette cannot be resized
        image = original if plain else original.convert("RGBA")
        image.thumbnail((MAX_SIDE, MAX_SIDE))  # a large JPEG is decoded at a lower resolution
        return ImageOps.exif_transpose(image)


def _encoded(image: Any) -> tuple[str, bytes]:
    """The image's format and bytes: PNG if it has few colours or is transparent, else JPEG."""
    if image.mode == "CMYK" or (image.mode == "RGBA" and image.getextrema()[3][0] == 255):
        image = image.convert("RGB")
    image.info.clear()  # private data, as the place where a photo was taken
    file = io.BytesIO()
    if image.mode == "RGBA" or image.getcolors(FEW_COLOURS):
        image.save(file, "PNG", optimize=True)
        return "png", file.getvalue()
    image.save(file, "JPEG", quality=85)
    return "jpeg", file.getvalue()


# Speech


def _speech(path: Path, settings: Settings) -> str:
    """The text of a recording. Raises SkippedFile."""
    if settings.provider != "mistral":
        raise SkippedFile(NO_SPEECH)
    model = settings.transcribe_model
    try:
        with retries.polite_errors(model, settings):
            words = retries.retry(partial(_transcribe, path, settings), model, settings)
    except retries.ModelUnavailable as error:
        problem = str(error).rstrip(".")
        raise SkippedFile(f"was left out: {problem[0].lower()}{problem[1:]}") from error
    if not words:
        raise SkippedFile("contains no speech")
    return words


def _transcribe(path: Path, settings: Settings) -> str:
    from mistralai.client import Mistral  # slow to import, and few tasks have a recording

    with Mistral(
        api_key=settings.mistral_api_key.get_secret_value().strip(),
        server_url=settings.mistral_server_url,
        timeout_ms=round(settings.timeout * 1000),
    ) as client:
        reply = client.audio.transcriptions.complete(
            model=settings.transcribe_model,
            file={"file_name": f"speech{path.suffix.lower()}", "content": path.read_bytes()},
        )
    return reply.text.strip()


# Other files


def _keep(path: Path, workspace: Path) -> str:
    """Copy a file into the workspace under a free name; its path for the tools."""
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
        raise SkippedFile(f"could not be saved ({error.strerror})") from error


def _safe(name: str) -> tuple[str, str]:
    """A file's name in characters that every system and every tool accepts, and its ending."""
    stem, dot, ending = unicodedata.normalize("NFC", name).strip(". ").rpartition(".")
    stem, ending = (stem, dot + re.sub(r"\W", "", ending)[:10]) if dot else (ending, "")
    stem = re.sub(r"[^\w-]+", "-", stem).strip("-")[:60] or "file"
    if re.fullmatch(r"(?i)con|prn|aux|nul|com\d|lpt\d", stem):  # devices on Windows
        stem = f"file-{stem}"
    return stem, ending
