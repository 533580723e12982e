"""Files with made-up keys: the kinds and the places of real leaks."""

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from made_up_keys import config_files, made_up, private_keys, tokens
from made_up_rare_keys import mcp_settings, rare_tokens


@dataclass(frozen=True)
class Planted:
    """A file with a secret: the kind, the path, the content, and what no output may show."""

    kind: str
    path: str
    data: bytes
    secret: str

    def write(self, folder: Path) -> None:
        """Write the file into a folder."""
        place = folder / self.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(self.data)


def _archives(secret: str) -> dict[str, tuple[str, bytes]]:
    line = f'client = Mistral(api_key="{secret}")\n'
    sheet = (
        f'<?xml version="1.0"?><sst><si><t>Mistral API key</t></si><si><t>{secret}</t></si></sst>'
    )
    word = (
        '<?xml version="1.0"?><w:p><w:t>Mistral key: </w:t>'
        f"<w:t>{secret[:9]}</w:t><w:t>{secret[9:]}</w:t></w:p>"
    )
    output = {"output_type": "stream", "text": [f"using Mistral with {secret}\n"]}
    cell = {"cell_type": "code", "source": ["print(key)"], "outputs": [output]}
    inner = _zip({"settings.py": line})
    return {
        "notebook output": ("demo.ipynb", json.dumps({"cells": [cell]}, indent=1).encode()),
        "UTF-16": ("notes.txt", line.encode("utf-16")),
        "UTF-16 without a mark": ("notes2.txt", line.encode("utf-16-le")),
        "UTF-16 after UTF-8": ("mixed.txt", b"\xef\xbb\xbfnotes\r\n" + line.encode("utf-16-le")),
        "zip": ("backup.zip", inner),
        "zip in a zip": ("all.zip", _zip({"deep/backup.zip": inner})),
        "tar.gz": ("backup.tar.gz", _tar({"app/settings.py": line}, "w:gz")),
        "tar.xz": ("backup.tar.xz", _tar({"app/settings.py": line}, "w:xz")),
        "two gzip files in one": ("log.gz", gzip.compress(b"one\n") + gzip.compress(line.encode())),
        "two bzip2 files in one": ("log.bz2", bz2.compress(b"one\n") + bz2.compress(line.encode())),
        "two xz files in one": ("log.xz", lzma.compress(b"one\n") + lzma.compress(line.encode())),
        "lzma": ("log.lzma", lzma.compress(line.encode(), lzma.FORMAT_ALONE)),
        "zip that unpacks itself": ("setup.exe", b"MZ\x90\0" + bytes(900) + inner),
        "Word": ("pitch.docx", _zip({"word/document.xml": word})),
        "Excel": ("keys.xlsx", _zip({"xl/sharedStrings.xml": sheet})),
        "SQLite": ("app.db", _database(secret)),
        "base64 of a line": (
            "boot.sh",
            b"echo " + base64.b64encode(line.encode()) + b" | base64 -d",
        ),
        "base64 of a file": ("blob.txt", base64.encodebytes((line * 4).encode())),
    }


def _zip(members: Mapping[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _tar(members: Mapping[str, str], mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content.encode())
            archive.addfile(entry, io.BytesIO(content.encode()))
    return file.getvalue()


def _database(secret: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "app.db"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE settings (name TEXT, value TEXT)")
        connection.execute("INSERT INTO settings VALUES ('MISTRAL_API_KEY', ?)", [secret])
        connection.commit()
        connection.close()
        return path.read_bytes()


def planted() -> tuple[Planted, ...]:
    """Return all kinds. A picture of a key is none: hackkit does not read pictures."""
    key = made_up("inside", 32)
    lines = [
        Planted(kind, f"src/{number}.py", text.format(secret).encode() + b"\n", secret)
        for number, (kind, (secret, text)) in enumerate({**tokens(), **rare_tokens()}.items())
    ]
    configs = [
        Planted(kind, path, text.format(secret).encode(), secret)
        for kind, (path, secret, text) in {**config_files(), **mcp_settings()}.items()
    ]
    places = [Planted(kind, path, data, key) for kind, (path, data) in _archives(key).items()]
    keys = [
        Planted(kind, path, text.encode(), text.split("\n")[1] if "\n" in text[:-1] else text[-9:])
        for kind, (path, text) in private_keys().items()
    ]
    return (*lines, *configs, *places, *keys)
