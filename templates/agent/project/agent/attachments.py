"""Files that users attach: images for a vision model, speech as text, others to the workspace."""

from __future__ import annotations

import base64
import io
import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.settings import SETTINGS, Settings
from plumbing import retries

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
SOUNDS = frozenset({".mp3", ".wav", ".m4a", ".flac", ".ogg"})
UPLOADS = "uploads"  # the folder of the workspace for other files; it is never listed
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # the only ones tried, whatever the file's name is
MAX_SIDE = 1024  # pixels of the longer side in the image that the model gets
MAX_PIXELS = 50_000_000  # an image of a few bytes may decode to far more
MAX_IMAGES = 8  # of one task: each costs over a thousand tokens
NO_VISION = "needs a model that reads images, so it was left out: set MISTRAL_API_KEY in .env"
NO_SPEECH = "needs Mistral's API, so it was left out: set MISTRAL_API_KEY in .env"


@dataclass(frozen=True)
class Prepared:
    """A task as the model gets it: the text, images as data URLs, and a line for each problem."""

    text: str
    images: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


class SkippedFile(Exception):
    """A file that was left out; the text is the end of a sentence that starts with its name."""


def prepare(text: str, files: Sequence[str | Path], settings: Settings = SETTINGS) -> Prepared:
    """Prepare a task and its files for the model. Never raises: a skipped file becomes a notice."""
    texts, images, notices = [text.strip()], list[str](), list[str]()
    for path in map(Path, files):
        try:
            _check(path, settings)
            if path.suffix.lower() in IMAGES:
                images.append(_image(path, len(images), settings))
            elif path.suffix.lower() in SOUNDS:
                texts.append(_speech(path, settings))
            else:
                texts.append(f"The file {_keep(path, settings.workspace)} is in the workspace.")
        except SkippedFile as problem:
            notices.append(f"{path.name} {problem}.")
    return Prepared("\n\n".join(filter(None, texts)), tuple(images), tuple(notices))


def _check(path: Path, settings: Settings) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SkippedFile(f"could not be opened ({error.strerror})") from error
    if not size:
        raise SkippedFile("is empty")
    if size > settings.max_file_mb * 2**20:
        raise SkippedFile(f"is larger than {settings.max_file_mb} MB (MAX_FILE_MB raises that)")


def _image(path: Path, before: int, settings: Settings) -> str:
    """The image as a data URL: upright, small, and without private data as the place of a photo."""
    if settings.provider == "offline":
        raise SkippedFile(NO_VISION)
    if before == MAX_IMAGES:
        raise SkippedFile(f"was left out: a task may have at most {MAX_IMAGES} images")
    return data_url(path)


def data_url(file: Path | io.BytesIO) -> str:
    """An image as a JPEG in a data URL. Raises SkippedFile."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=FORMATS) as original:
            if original.width * original.height > MAX_PIXELS:
                raise SkippedFile(f"has more than {MAX_PIXELS // 1_000_000} million pixels")
            original.thumbnail((MAX_SIDE, MAX_SIDE))
            image = ImageOps.exif_transpose(original).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")  # JPEG has no transparency
        jpeg = io.BytesIO()
        Image.alpha_composite(white, image).convert("RGB").save(jpeg, "JPEG", quality=90)
    except SkippedFile:
        raise
    except Exception as error:  # Pillow raises many kinds for files that it cannot read
        raise SkippedFile("is damaged, or not an image") from error
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def _speech(path: Path, settings: Settings) -> str:
    """The text of a recording. Raises SkippedFile."""
    if settings.provider != "mistral":
        raise SkippedFile(NO_SPEECH)
    model = settings.transcribe_model
    try:
        with retries.polite_errors(model, settings):
            words = retries.retry(partial(_transcribe, path, settings), model, settings)
    except retries.ModelUnavailable as error:
        raise SkippedFile(f"was left out. {str(error).rstrip('.')}") from error
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


def _keep(path: Path, workspace: Path) -> str:
    """Copy a file into the workspace under a safe name; its path for the tools.

    Its folder's name is a secret of the conversation: another visitor's agent cannot find it.
    """
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", path.name))
    stem, dot, ending = name.strip("-.").rpartition(".")
    stem, ending = (stem or "file", dot + ending[:10]) if dot else (ending or "file", "")
    kept = f"{UPLOADS}/{secrets.token_hex(6)}/{stem[:60]}{ending}"
    try:
        (workspace / kept).parent.mkdir(parents=True)
        (workspace / kept).write_bytes(path.read_bytes())
    except OSError as error:
        raise SkippedFile(f"could not be saved ({error.strerror})") from error
    return kept
