import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import Talk, only
from mistral_server import calls, text

from agent import memory, runner
from agent import toolbox as mcp
from agent.events import Notice, Result
from agent.timeline import render
from agent.tools import ToolError, needs_approval

SERVER = str(Path(__file__).with_name("mcp_server.py"))
ROOT = Path(mcp.__file__).parents[1]
SECRET = "SecretThatMustNotLeak"


def stdio(*args: str, **env: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [SERVER, *args], "env": env}


def connected(folder: Path, servers: dict[str, Any], **limits: float) -> mcp.Connected:
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return mcp.connect(file, **{"seconds": 60, "call_seconds": 60} | limits)


def port_of(url: str) -> int:
    return urlsplit(url).port or 80


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "TEST_PORT": str(port)}
    with subprocess.Popen([sys.executable, SERVER, "http"], env=env) as process:
        while process.poll() is None and not is_listening(port):
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
        process.kill()


@pytest.fixture(scope="module")
def found(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mcp.Connected]:
    """Three servers with the same tools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SECRET", SECRET)
        patch.setenv("MISTRAL_API_KEY", SECRET)
        servers = {"one": stdio(TEST_TOKEN="${TEST_SECRET}"), "two": stdio(), "web": {"url": url}}
        yield connected(tmp_path_factory.mktemp("mcp"), servers)


def call(found: mcp.Connected, tool: str, **arguments: Any) -> str:
    [named] = [each for each in found.tools if each.name == tool]
    return str(named.invoke(arguments))


# The tools


@pytest.mark.parametrize("tool", ["one_add", "two_add", "web_add"])
def test_a_tool_of_a_server_works_like_any_other(found: mcp.Connected, tool: str) -> None:
    [add] = [each for each in found.tools if each.name == tool]
    assert found.problems == ()
    assert add.description == "Add two numbers."
    assert add.args["a"]["type"] == "integer"
    assert call(found, tool, a=2, b=3) == "5"
    assert call(found, tool, a=2) == "3"


def test_names_fit_the_api_and_are_unique(found: mcp.Connected) -> None:
    names = [tool.name for tool in found.tools]
    assert len(set(names)) == len(names)
    assert {"one_files_list", "two_files_list", "one_calculate"} <= set(names)


def test_a_tool_that_is_not_marked_read_only_asks_first(found: mcp.Connected) -> None:
    asking = {tool.name for tool in found.tools if needs_approval(tool)}
    assert asking == {"one_keep", "two_keep", "web_keep"}
    assert call(found, "one_keep", config="this") == "kept this"  # no argument is lost


def test_a_part_that_cannot_be_shown_becomes_a_note(found: mcp.Connected) -> None:
    assert call(found, "one_files_list") == "[not shown: image]\na note\nwords"
    with pytest.raises(ToolError, match="audio"):
        call(found, "one_sound")
    assert call(found, "one_add", a=1) == "2"  # it is still there


def test_a_link_to_a_resource_is_followed(found: mcp.Connected) -> None:
    assert call(found, "one_link") == "note://text\nThe kettle boils.\nnote://gone"


def test_an_image_is_shown_to_the_user_and_given_to_a_model_that_sees(
    talk: Talk, found: mcp.Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "toolbox", lambda wait=False: (list(found.tools), ()))
    talk.will(calls(("one_chart", {})), text("It is red."))
    events = talk.do("Draw a chart.")
    result = only(Result, events)
    assert result.text == "[an image]"
    text_part, image = talk.sent()[-1][-1]["content"]
    assert image["image_url"]["url"] == result.images[0]
    assert '<img src="data:image/jpeg;base64,' in render(events)
    assert memory.events(talk.settings.memory, talk.chat)[-3:-2] == [result]


@pytest.mark.parametrize("tool", ["one_fail", "web_fail"])
def test_an_error_has_the_servers_message(found: mcp.Connected, tool: str) -> None:
    with pytest.raises(ToolError, match="no such city"):
        call(found, tool)
    with pytest.raises(ToolError, match="Field required"):
        call(found, "one_add")


def test_a_server_gets_what_mcp_json_gives_it_and_no_key_of_ours(found: mcp.Connected) -> None:
    seen = call(found, "one_environment")
    assert "PATH" in seen
    assert "MISTRAL_API_KEY" not in seen
    assert seen.endswith(" ***")
    assert SECRET not in seen


# Servers that fail


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"command": "no-such-command"}, "No such file or directory: 'no-such-command'"),
        (stdio("crash"), "Connection closed"),
        ({"url": "http://127.0.0.1:9/mcp?key=1"}, "All connection attempts failed"),
        ({"url": "http://127.0.0.1:9", "headers": {"A": "${NO_SUCH_NAME}"}}, "is not set"),
        ({}, "it needs either a command or a url"),
        ([], "it needs either a command or a url"),
        ({"command": "", "env": {"PORT": 1}}, "did not start"),
        ({"command": "x", "env": ["PORT"]}, "not an object"),
        ({"url": "http://127.0.0.1:9", "command": "x"}, "either a command or a url"),
        ({"command": "x", "args": ["${input:key}"]}, "${input:key} is not known here"),
    ],
)
def test_a_server_that_does_not_start_gets_a_line_with_a_fix(
    tmp_path: Path, entry: Any, problem: str
) -> None:
    found = connected(tmp_path, {"mine": entry})
    assert found.tools == ()
    [line] = found.problems
    assert line.startswith("MCP server mine did not start: ")
    assert problem in line and "\nFix: " in line and "key=1" not in line


def test_a_server_that_hangs_at_its_start_is_left_out(tmp_path: Path) -> None:
    [problem] = connected(tmp_path, {"slow": stdio("hang")}, seconds=0.1).problems
    assert problem.startswith("MCP server slow did not start: it was not ready after 0.1 seconds.")


@pytest.mark.parametrize(
    "change",
    [
        {"command": f"{sys.executable} {SERVER}", "args": []},
        {"command": [sys.executable, SERVER], "args": []},
        {"args": ["mcp_server.py"], "cwd": str(Path(SERVER).parent)},
        {"args": ["${workspaceFolder}/mcp_server.py"]},
        {"args": ["${env:TEST_PLACE}"], "enabled": True, "type": "stdio"},
        {"args": [f"${{NO_SUCH_NAME:-{SERVER}}}"], "disabled": False},
        {"env": {"TEST_TOKEN": 3000, "B": True, "C": None, "D": "${TEST_PLACE:-}"}},
    ],
)
def test_a_server_is_written_in_the_ways_of_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setenv("TEST_PLACE", SERVER)
    (tmp_path / "mcp_server.py").write_bytes(Path(SERVER).read_bytes())
    found = connected(tmp_path, {"mine": {"command": sys.executable, "args": [SERVER], **change}})
    assert found.problems == ()
    assert call(found, "mine_add", a=2, b=3) == "5"
    if "env" in change:
        assert call(found, "mine_environment").endswith(" 3000")


def test_servers_of_other_programs_files_are_found(tmp_path: Path, url: str) -> None:
    file = tmp_path / "mcp.json"
    for content in (
        {"servers": {"a": {"type": "http", "url": f"{url}/"}}, "inputs": []},
        {"mcp": {"servers": {"a": {"serverUrl": url}}}},
        {"mcpServers": {"a": {"httpUrl": url, "type": "streamable-http"}}},
    ):
        file.write_text(json.dumps(content))
        found = mcp.connect(file, 60, 60)
        assert (found.problems, call(found, "a_add", a=1)) == ((), "2")


def test_a_server_that_is_switched_off_is_not_started(tmp_path: Path) -> None:
    servers = {"a": {"command": "x", "disabled": True}, "b": {"command": "x", "enabled": False}}
    assert connected(tmp_path, servers) == mcp.Connected()


def test_what_a_server_prints_is_one_quiet_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = connected(tmp_path, {"loud": stdio("loud")})
    assert call(found, "loud_add", a=2, b=3) == "5"
    lines = [line for line in caplog.text.splitlines() if "mcp" in line]
    assert len(lines) == 1 and "no messages" in lines[0]
    assert "Traceback" not in caplog.text


def test_the_other_tools_work_while_a_server_starts(
    talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "slow.json"
    file.write_text(json.dumps({"mcpServers": {"slow": stdio("hang")}}), encoding="utf-8")
    monkeypatch.setenv("MCP_FILE", str(file))
    monkeypatch.setenv("MCP_START_SECONDS", "3000")
    mcp.servers.cache_clear()
    talk.will(calls(("calculate", {"expression": "2 * 21"})), text("42."))
    events = talk.do("2 * 21?")
    assert only(Result, events).text == "42"
    assert "slow is still starting (at most 3000 seconds)" in only(Notice, events).text
    mcp.servers.cache_clear()


@pytest.mark.parametrize("content", ["{", "[]", b"\xff"])
def test_a_file_that_cannot_be_read_gets_a_line(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "mcp.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    [problem] = mcp.connect(file).problems
    assert problem.startswith("mcp.json could not be read (")
    assert "\nFix: " in problem


def test_without_servers_nothing_is_imported(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from agent.toolbox import Connected, connect
        assert connect(Path(sys.argv[1])) == connect(Path("no-such.json")) == Connected()
        assert not {"mcp", "langchain_mcp_adapters"} & set(sys.modules)
    """
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {}}', encoding="utf-8")
    subprocess.run([sys.executable, "-c", code, file], cwd=ROOT, check=True)


# Servers in use


def test_a_server_that_dies_in_a_call_restarts_at_the_next(found: mcp.Connected) -> None:
    before = call(found, "two_process")
    assert call(found, "two_process") == before  # all calls go to one process
    with pytest.raises(ToolError, match="The MCP server two stopped"):
        call(found, "two_die")
    assert call(found, "two_process") != before


def test_a_server_that_dies_between_calls_fails_the_next_call(found: mcp.Connected) -> None:
    os.kill(int(call(found, "two_process")), signal.SIGTERM)
    with pytest.raises(ToolError, match="The MCP server two stopped"):
        call(found, "two_sleep", seconds=9)


def test_a_call_that_takes_too_long_times_out(tmp_path: Path, url: str) -> None:
    found = connected(tmp_path, {"far": {"url": url}}, call_seconds=0.2)
    with pytest.raises(ToolError, match="far timed out after 0.2 seconds"):
        call(found, "far_sleep", seconds=2)


def test_a_remote_server_that_has_ended_fails_immediately(found: mcp.Connected, url: str) -> None:
    os.kill(int(call(found, "web_process")), getattr(signal, "SIGKILL", signal.SIGTERM))
    while is_listening(port_of(url)):
        time.sleep(0.01)
    with pytest.raises(ToolError, match="The MCP server web stopped"):
        call(found, "web_add", a=1)
    with pytest.raises(ToolError, match="web did not start: All connection attempts failed"):
        call(found, "web_add", a=1)
