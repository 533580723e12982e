"""Isolates the tests from your environment, `.env`, documents, index, and from the network."""

import atexit
import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic_settings  # noqa: F401 (it must not be imported in the empty environment below)
import pytest

gc.disable()  # imports create no garbage; collecting takes a tenth of the time
HOME = Path(tempfile.mkdtemp(prefix="rag-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
OURS = {
    "ENV_FILE": os.devnull,
    "DOCS_DIR": str(HOME / "docs"),
    "INDEX_DIR": str(HOME / "index"),
    "FEEDBACK_FILE": str(HOME / "feedback.jsonl"),
}
with pytest.MonkeyPatch.context() as patch:  # ignores your settings, even a wrong PORT
    for name in list(os.environ):
        patch.delenv(name)
    for name, value in OURS.items():
        patch.setenv(name, value)
    from rag.settings import Settings
for name in list(os.environ):
    if name.lower() in Settings.model_fields or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= OURS  # for the processes that the tests start
(HOME / "docs").mkdir()
(HOME / "docs" / "tea.md").write_text(
    "# Tea\n\nGreen tea is brewed at 80 degrees. Black tea wants boiling water.\n", encoding="utf-8"
)

from mistral_server import MistralServer  # noqa: E402

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 30, "cooldown": 0}
QUICK |= {"timeout": 60, "chunk_size": 1600, "chunk_overlap": 0}  # whatever the app's may be
MODELS = {"chat_model": "mistral-small-latest", "embed_model": "mistral-embed"}
Write = Callable[[str, str | bytes], Path]
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A test that connects to another machine fails."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(autouse=True)
def quiet_logs(caplog: pytest.LogCaptureFixture) -> None:
    for ours in ("plumbing", "rag"):
        caplog.set_level(logging.DEBUG, logger=ours)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Offline mode, with the documents in tmp_path/docs."""
    return Settings(docs_dir=tmp_path / "docs", index_dir=tmp_path / "index", **QUICK)


@pytest.fixture(scope="session")
def only_server() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def server(only_server: MistralServer) -> MistralServer:
    """A Mistral-compatible server without earlier requests."""
    only_server.requests.clear()
    only_server.replies.clear()
    return only_server


@pytest.fixture
def online(settings: Settings, server: MistralServer) -> Settings:
    """The same with a model: Mistral's own client, and the test server."""
    changes = {"mistral_api_key": KEY, "mistral_server_url": server.url} | MODELS
    return Settings(**(settings.model_dump() | changes))


@pytest.fixture
def write(settings: Settings) -> Write:
    """Write a document into docs/."""

    def put(name: str, content: str | bytes) -> Path:
        path = settings.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return put
