"""A tuned model is served; apps of the other templates answer through it by two lines in .env."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import clean_environment, write
from tuning import Tuner

from hackkit.system import uv

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there"),
]

START = 180  # seconds until the weights are loaded on a busy machine


@pytest.fixture(scope="module")
def lines(tuner: Tuner, rehearsed: dict[str, Any]) -> Iterator[str]:
    """Serve a rehearsal's model by the command; give the lines for an .env that it prints."""
    with _serving(tuner, rehearsed["run"]) as printed:
        found = re.findall(r"^(?:LLM_BASE_URL|CHAT_MODEL)=.+$", printed, re.MULTILINE)
        assert len(found) == 2, printed
        yield "".join(f"{line}\n" for line in found)


def test_a_rag_app_answers_through_it(lines: str, tmp_path: Path) -> None:
    app = _made(tmp_path, "rag-app", lines)
    said = json.loads(_run(app, "rag", "ask", "How long may I wait?", "--json"))
    assert said["model"] == _model(lines)
    assert said["answer"].strip()
    assert said["notice"] == ""


def test_an_agent_answers_through_it(lines: str, tmp_path: Path) -> None:
    app = _made(tmp_path, "agent", lines)
    steps = [json.loads(line) for line in _run(app, "agent", "Why?", "--json").splitlines()]
    [answer] = [step for step in steps if step["type"] == "answer"]
    assert answer["model"] == _model(lines)
    assert answer["text"].strip()
    assert answer["notice"] == ""


def _model(lines: str) -> str:
    return lines.split("CHAT_MODEL=")[1].strip()


def _made(parent: Path, template: str, env: str) -> Path:
    """Make and install a project; its .env holds these lines and nothing else."""
    subprocess.run(
        [sys.executable, "-m", "hackkit", "new", template, "app", "--defaults", "--no-git"],
        cwd=parent,
        env=clean_environment(),
        check=True,
        capture_output=True,
        timeout=900,
    )
    write(parent / "app" / ".env", env)
    return parent / "app"


def _run(app: Path, *words: str) -> str:
    """Run a module's command in a project; return what it printed."""
    result = subprocess.run(
        [*uv.command(), "run", "--no-sync", "python", "-m", *words],
        cwd=app,
        env=uv.outer_environment(clean_environment()),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextmanager
def _serving(tuner: Tuner, run: str) -> Iterator[str]:
    """Start the command on a free port; yield what it has printed once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ("-m", "tune.serve", run, "--port", port)
    program = subprocess.Popen(
        [*uv.command(), "run", "--no-sync", "python", *words],
        cwd=tuner.folder,
        env=tuner.environment,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    watchdog = threading.Timer(START, _end, [program])
    watchdog.start()
    try:
        yield _until_its_model_is_named(program)
    finally:
        watchdog.cancel()
        _end(program)
        program.wait(120)


def _until_its_model_is_named(program: "subprocess.Popen[str]") -> str:
    printed = ""
    stream: Any = program.stderr
    for line in stream:
        printed += line
        if line.startswith("CHAT_MODEL="):
            break
    return printed


def _end(program: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGINT)
