"""mcp.json: JSON, commands that are found, variables that are set."""

import json
import sys
from pathlib import Path

import pytest
from projects import context, new_project, write

from hackkit.doctor.checks import mcp_json
from hackkit.doctor.findings import Finding, Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return new_project(tmp_path / "app")


def checked(folder: Path, content: object) -> Finding:
    text = content if isinstance(content, str) else json.dumps(content)
    write(folder, {"mcp.json": text})
    return mcp_json.check(context(folder))


def server(**entry: object) -> dict[str, object]:
    return {"mcpServers": {"mine": {"command": sys.executable, **entry}}}


def test_a_project_without_the_file_needs_nothing(folder: Path) -> None:
    assert mcp_json.check(context(folder)).status is Status.SKIP


@pytest.mark.parametrize(
    "content",
    [
        {"mcpServers": {}},
        server(args=["-m", "x"], env={"A": "${NO_SUCH_NAME:-x}", "B": 3}),
        {"servers": {"mine": {"type": "http", "url": "http://127.0.0.1:9/mcp"}}},
        {"mcp": {"servers": {"mine": {"serverUrl": "http://127.0.0.1:9/mcp"}}}},
        server(command=f"{sys.executable} -m x", args=["${workspaceFolder}"]),
        server(command="no-such-command", disabled=True),
        server(command="no-such-command", enabled=False),
    ],
)
def test_a_file_that_works_passes(folder: Path, content: object) -> None:
    assert checked(folder, content).status is Status.OK


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{oops", "mcp.json cannot be used"),
        ("[]", "mcp.json cannot be used"),
        ("[1]", "mcp.json cannot be used"),
        ({"mcpServers": []}, "mcp.json cannot be used"),
        ({"tools": {}}, "it names no servers"),
        ({"mcpServers": {"mine": 1}}, "mine needs either a command or a url"),
        (server(url="http://127.0.0.1:9"), "mine needs either a command or a url"),
        (server(command="npxx"), "the command npxx is not found"),
        (server(command="~/bin/no-such-file"), "is not found"),
        (server(env={"KEY": "${NO_SUCH_NAME}"}), "mine needs NO_SUCH_NAME, which is not set"),
        (server(args=["${env:NO_SUCH_NAME}"]), "mine needs NO_SUCH_NAME, which is not set"),
    ],
)
def test_a_problem_is_named_with_its_fix(folder: Path, content: object, problem: str) -> None:
    found = checked(folder, content)
    assert found.status is Status.WARN
    assert problem in found.message
    assert found.fix


def test_a_variable_in_dot_env_is_set(folder: Path) -> None:
    write(folder, {".env": "MY_TOKEN=something\n"})
    assert checked(folder, server(env={"KEY": "${MY_TOKEN}"})).status is Status.OK
