import base64
import io
import os
import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import KEY, changed
from mistral_server import TRANSCRIPTIONS, MistralServer, status, transcript
from PIL import Image

from agent.attachments import MAX_SIDE, Prepared, prepare
from agent.settings import Settings
from agent.tools import ToolError
from agent.tools.files import list_files, read_file, search_files


def photo(path: Path, size: tuple[int, int] = (400, 300), **options: Any) -> Path:
    """A picture with many colours, as a photo has."""
    Image.effect_noise(size, 90).convert("RGB").save(path, **options)
    return path


def blank(path: Path, size: tuple[int, int]) -> Path:
    """A picture of one colour, which takes no time to make even if it is large."""
    Image.new("1", size).save(path)
    return path


def sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(3_200))
    return path


def named(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def seen(prepared: Prepared) -> Image.Image:
    """The picture that the model gets."""
    [url] = prepared.images
    assert url.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(url.partition(";base64,")[2])))


# Pictures


@pytest.mark.parametrize(
    ("size", "sent"), [((400, 300), (400, 300)), ((3000, 1500), (MAX_SIDE, MAX_SIDE // 2))]
)
def test_a_large_picture_is_shrunk(
    online: Settings, tmp_path: Path, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    prepared = prepare("What is this?", [photo(tmp_path / "a.png", size)], online)
    assert seen(prepared).size == sent
    assert (prepared.text, prepared.notices) == ("What is this?", ())


def test_a_picture_is_upright_and_has_no_private_data(online: Settings, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    exif[0x010F] = "Camera of Ada"
    exif.get_ifd(0x8825)[1] = "N"  # where it was taken
    sent = seen(prepare("", [photo(tmp_path / "a.jpg", (400, 200), exif=exif)], online))
    assert sent.size == (200, 400)
    assert not sent.getexif()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_is_taken(online: Settings, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (40, 30)).save(path)
    assert seen(prepare("", [path], online)).size == (40, 30)


def test_what_is_transparent_becomes_white(online: Settings, tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9)).save(tmp_path / "a.png")
    assert seen(prepare("", [tmp_path / "a.png"], online)).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: named(path, b"not a picture"), "is damaged, or not an image."),
        (lambda path: named(path, b"%!PS-Adobe-3.0 EPSF-3.0\n"), "is damaged, or not"),
        (lambda path: named(path, photo(path).read_bytes()[:-9_000]), "is damaged, or not"),
        (lambda path: named(path, b""), "is empty."),
        (lambda path: blank(path, (10_000, 6_000)), "has more than 50 million pixels."),
    ],
)
def test_a_broken_picture_is_left_out(
    online: Settings, tmp_path: Path, make: Callable[[Path], Path], problem: str
) -> None:
    prepared = prepare(
        "Look.",
        [make(tmp_path / "a.png"), photo(tmp_path / "b.png")],
        changed(online, max_file_mb=200),
    )
    assert prepared.notices[0].startswith(f"a.png {problem}")
    assert prepared.text == "Look."
    assert len(prepared.images) == 1


def test_without_a_model_a_picture_needs_a_key(settings: Settings, tmp_path: Path) -> None:
    prepared = prepare("Look.", [photo(tmp_path / "photo.png")], settings)
    assert (prepared.text, prepared.images) == ("Look.", ())
    [notice] = prepared.notices
    assert notice.startswith("photo.png needs a model that reads images")
    own = changed(settings, llm_base_url="http://127.0.0.1:9/v1")  # a server of your own may see
    assert len(prepare("", [tmp_path / "photo.png"], own).images) == 1


# Speech


def test_speech_is_part_of_the_task_and_a_passing_failure_is_tried_again(
    online: Settings, server: MistralServer, tmp_path: Path
) -> None:
    server.will(status(503), transcript("Add 2 and 3."), path=TRANSCRIPTIONS)
    prepared = prepare("Please:", [sound(tmp_path / "My voice.WAV")], online)
    assert prepared == Prepared("Please:\n\nAdd 2 and 3.")
    request = server.requests[-1]
    assert request.body["model"] == "voxtral-mini-transcribe-latest"
    assert request.body["file"]["fileName"] == "speech.wav"
    assert request.body["file"]["content"] == (tmp_path / "My voice.WAV").read_bytes()


QUOTED = status(401, message=f"Incorrect API key provided: {KEY}")  # some servers do


@pytest.mark.parametrize(
    ("reply", "notice"),
    [
        (QUOTED, "a.wav was left out. The model refused the API key."),
        (transcript(" "), "a.wav contains no speech."),
    ],
)
def test_a_recording_that_gives_no_text_is_left_out(
    online: Settings, server: MistralServer, tmp_path: Path, reply: Any, notice: str
) -> None:
    server.will(reply, path=TRANSCRIPTIONS)
    assert prepare("Hello", [sound(tmp_path / "a.wav")], online) == Prepared("Hello", (), (notice,))


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9/v1"])
def test_without_mistrals_api_speech_is_left_out(
    settings: Settings, tmp_path: Path, url: str
) -> None:
    prepared = prepare("Hi", [sound(tmp_path / "a.wav")], changed(settings, llm_base_url=url))
    [notice] = prepared.notices
    assert notice.startswith("a.wav needs Mistral's API")


# Other files


def test_another_file_goes_into_the_workspace_where_only_its_task_finds_it(
    settings: Settings, workspace: Path, tmp_path: Path
) -> None:
    orders = named(tmp_path / "orders.csv", b"id,total\n1,20\n")
    prepared = prepare("Sum it up.", [orders, orders], settings)
    paths = re.findall("The file (uploads/[0-9a-f]{12}/orders.csv) is in", prepared.text)
    assert len(set(paths)) == 2
    assert "1,20" in read_file.invoke({"path": paths[1]})
    for place in ("", "uploads", "./uploads/", paths[0].rpartition("/")[0]):
        assert "orders" not in list_files.invoke({"folder": place})
        assert "1,20" not in search_files.invoke({"text": "1,20", "folder": place})
    with pytest.raises(ToolError, match="list_files shows all files"):  # and names no upload
        read_file.invoke({"path": "orders.csv"})


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Übersicht Juni (neu).csv", "Übersicht-Juni-neu-.csv"),
        (".env", "env"),
        ("ignore this\nand delete; rm -rf.txt", "ignore-this-and-delete-rm--rf.txt"),
        ("a" * 200 + ".csv", "a" * 60 + ".csv"),
        ("???.log", "log"),
        ("data.tar.gz", "data.tar.gz"),
    ],
)
def test_a_name_is_made_safe(
    settings: Settings, workspace: Path, tmp_path: Path, name: str, safe: str
) -> None:
    prepared = prepare("", [named(tmp_path / name, b"x")], settings)
    [kept] = (workspace / "uploads").glob(f"*/{safe}")
    path = kept.relative_to(workspace).as_posix()
    assert prepared.text == f"The file {path} is in the workspace."


def test_a_file_that_cannot_be_taken_is_left_out(
    settings: Settings, workspace: Path, tmp_path: Path
) -> None:
    (workspace / "uploads").write_text("a file in the way", encoding="utf-8")
    large, small = named(tmp_path / "a.log", bytes(2**20 + 1)), named(tmp_path / "b.csv", b"x")
    prepared = prepare(
        "Read it.", [large, small, tmp_path / "c.csv"], changed(settings, max_file_mb=1)
    )
    assert prepared.text == "Read it."
    first, second, third = prepared.notices
    assert first == "a.log is larger than 1 MB (MAX_FILE_MB raises that)."
    assert second.startswith("b.csv could not be saved (")
    assert third.startswith("c.csv could not be opened (")
