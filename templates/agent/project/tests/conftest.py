"""Keeps your own environment, `.env`, files, conversations and the network out of the tests."""

import atexit
import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic_settings  # noqa: F401 (imported before the environment is emptied below)
import pytest

gc.disable()  # imports leave no garbage, and collecting takes a tenth of the time
ROOT = Path(__file__).resolve().parent.parent
HOME = Path(tempfile.mkdtemp(prefix="agent-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
OURS = {
    "ENV_FILE": os.devnull,
    "WORKSPACE_DIR": str(HOME / "workspace"),
    "DATABASES_DIR": str(HOME / "data"),
    "MEMORY_DIR": str(HOME / "memory"),
    "MCP_FILE": str(HOME / "mcp.json"),
    "INDEX_DIR": str(HOME / "index"),
    "DOCS_DIR": str(HOME / "docs"),
}
with pytest.MonkeyPatch.context() as patch:  # your own variables, even a wrong PORT
    for name in list(os.environ):
        patch.delenv(name)
    for name, value in OURS.items():
        patch.setenv(name, value)
    from agent.settings import SETTINGS, Settings
for name in list(os.environ):
    if name.lower() in Settings.model_fields or name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ |= OURS  # for the processes that the tests start
SETTINGS.workspace.mkdir()
SETTINGS.databases.mkdir()
for database in (ROOT / "data").glob("*.db"):
    shutil.copy(database, SETTINGS.databases)

from mistral_server import CHAT, Body, MistralServer  # noqa: E402

from agent import memory, middleware, prompts, runner  # noqa: E402
from agent.events import Approval, Decision, Draft, Event, Task  # noqa: E402

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 30, "cooldown": 0}
QUICK |= {"timeout": 60}
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Fail a test that connects to another machine."""
    connect = socket.socket.connect

    def stay_here(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", stay_here)
        yield


@pytest.fixture(autouse=True)
def quiet_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="agent")


@pytest.fixture(autouse=True)
def one_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test with one agent that has all the tools, whatever the team; not in test_team.py."""

    def build(model: Any, tools: Any, shorten: Any, saver: Any) -> Any:
        return middleware.agent(model, tools, prompts.SYSTEM, first=[shorten], checkpointer=saver)

    monkeypatch.setattr(runner, "build", build)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Offline mode, with conversations in tmp_path."""
    return Settings(memory_dir=tmp_path / "memory", **QUICK)


@pytest.fixture
def workspace() -> Path:
    """The folder that the tools may use, emptied."""
    for path in SETTINGS.workspace.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return SETTINGS.workspace


@pytest.fixture(scope="session")
def only_server() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def server(only_server: MistralServer) -> MistralServer:
    """A Mistral-compatible server without any requests yet."""
    only_server.requests.clear()
    only_server.replies.clear()
    return only_server


@pytest.fixture
def online(settings: Settings, server: MistralServer) -> Settings:
    """The same with a model: Mistral's API, served by the strict test server."""
    changes = {"mistral_api_key": KEY, "mistral_server_url": server.url}
    return Settings(**(settings.model_dump() | changes))


def changed(settings: Settings, **values: Any) -> Settings:
    return Settings(**(settings.model_dump() | values))


def only(kind: type, events: Sequence[Event]) -> Any:
    """The one event of a kind."""
    [found] = [event for event in events if isinstance(event, kind)]
    return found


@dataclass
class Talk:
    """A conversation with the agent."""

    settings: Settings
    server: MistralServer
    chat: str = field(default_factory=memory.new_id)

    def will(self, *replies: Any) -> None:
        """What the model will reply."""
        self.server.will(*replies)

    def start(self, request: str | Sequence[Decision], **more: Any) -> Iterator[Event]:
        """Start a run; `more` are its options, and settings that differ."""
        values = {key: more.pop(key) for key in list(more) if key in Settings.model_fields}
        task = Task(request) if isinstance(request, str) else request
        return runner.run(self.chat, task, changed(self.settings, **values), **more)

    def do(self, request: str | Sequence[Decision], **more: Any) -> list[Event]:
        """All events of a run but the drafts."""
        return [each for each in self.start(request, **more) if not isinstance(each, Draft)]

    def waiting(self) -> list[Approval]:
        return runner.waiting(self.chat, self.settings)

    def sent(self) -> list[list[Body]]:
        """The messages of each request that the model got."""
        return [each.body["messages"] for each in self.server.requests if each.path == CHAT]


@pytest.fixture
def talk(online: Settings, server: MistralServer) -> Talk:
    return Talk(online, server)


@pytest.fixture
def offline(settings: Settings, server: MistralServer) -> Talk:
    return Talk(settings, server)
