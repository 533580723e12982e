"""Serves a tuned model over HTTP, or prints the commands for vLLM, Ollama and llama.cpp."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tune import models, prompts, tokens
from tune.errors import INSTALL, TuneError, can_load
from tune.runs import Run
from tune.settings import ROOT, SETTINGS, Settings

if TYPE_CHECKING:
    import uvicorn

    from tune.generate import Generator
    from tune.tokens import ChatForm

Emit = Callable[[str], None]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
START = 300  # seconds that llama.cpp may take to load a model
CONTEXT = 8192  # tokens of question and answer; Ministral 3's full context would fill a GPU


@dataclass(frozen=True)
class Address:
    """The server's host and port."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"


def serve(run: Run, engine: str, address: Address, emit: Emit = print) -> None:
    """Serve a run until Ctrl-C. `engine`: transformers, llama.cpp, or auto for what is installed.

    Raises TuneError if the port is taken, or if nothing installed can load the model.
    """
    engine = choose(run) if engine == "auto" else engine
    with _listening(address) as (listener, address):
        if engine == "transformers":
            emit(f"Loading {run.name} …")
            served = generators(run)
            emit(env_lines(list(served), address))
            _program(served).run(sockets=[listener])
            return
    _run_llama(run, address, emit)


def choose(run: Run) -> str:
    """The engine for this machine: Transformers, or llama.cpp if a GGUF file was exported."""
    if can_load():
        return "transformers"
    if gguf(run) and _llama_command():
        return "llama.cpp"
    raise TuneError("Neither Transformers nor llama.cpp is installed.", INSTALL)


def generators(run: Run, settings: Settings = SETTINGS) -> dict[str, Generator]:
    """The models to serve, by name: the tuned one first, then the base of an adapter."""
    from tune import weights
    from tune.generate import Generator

    base = weights.known(models.find(run.record.base))
    tokenizer = weights.load_tokenizer(base)
    model = weights.load_tuned(run, four_bit=weights.answers_in_4_bits(base))
    tuned = Generator(model, tokenizer, settings.max_tokens, settings.temperature)
    served = {run.name: tuned}
    if hasattr(model, "disable_adapter"):
        served[base.name] = tuned.without_adapter()
    return served


def env_lines(names: Sequence[str], address: Address) -> str:
    """The lines for the `.env` of an app that uses the models; the tuned one is the first name."""
    lines = [f"{names[0]} answers at {address.url}. Press Ctrl-C to stop."]
    if address.host not in LOOPBACK:
        lines.append("Anyone who can reach this machine can use it: there is no key.")
    lines += ["For an app's .env:", "", f"LLM_BASE_URL={address.url}", f"CHAT_MODEL={names[0]}"]
    lines += [f"BASE_CHAT_MODEL={name}" for name in names[1:]]
    return "\n".join(lines)


def gguf(run: Run) -> Path | None:
    """The run's GGUF file; the smallest of several."""
    files = sorted(run.exports.glob("gguf-*/*.gguf"), key=lambda file: file.stat().st_size)
    return files[0] if files else None


@contextmanager
def _listening(address: Address) -> Iterator[tuple[socket.socket, Address]]:
    """Open the port before the weights are loaded, so that a taken port fails immediately."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        if sys.platform != "win32":  # on Windows this would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen()
    except OSError as error:
        listener.close()
        problem = f"Port {address.port} on {address.host} is not free: {error.strerror or error}."
        raise TuneError(problem, f"--port {address.port + 1 if address.port else 8001}") from None
    with listener:
        yield listener, replace(address, port=listener.getsockname()[1])


@contextmanager
def running(run: Run, settings: Settings = SETTINGS) -> Iterator[Address]:
    """Serve a run in the background, on a free port, while the block runs."""
    with background(generators(run, settings)) as address:
        yield address


@contextmanager
def background(served: Mapping[str, Generator]) -> Iterator[Address]:
    """Like `running`, with models that are already loaded."""
    with _listening(Address(port=0)) as (listener, address):
        program = _program(served)
        thread = threading.Thread(target=program.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield address
        finally:
            program.should_exit = True
            thread.join()


def _program(served: Mapping[str, Generator]) -> uvicorn.Server:
    import uvicorn

    from tune import server

    app = server.application(served)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))


# llama.cpp


def _run_llama(run: Run, address: Address, emit: Emit) -> None:
    """Serve the GGUF file with llama.cpp; it stops with this process."""
    file = gguf(run)
    if not file:
        fix = f"uv run python -m tune export {run.name} --as gguf"
        raise TuneError(f"{run.name} was not exported as GGUF yet.", fix)
    program = _llama_command()
    if not program:
        fix = "uv pip install 'llama-cpp-python[server]'"
        raise TuneError("llama.cpp is not installed.", fix)
    own = "llama-server" in program[0]
    alias, context = ("--alias", "--ctx-size") if own else ("--model_alias", "--n_ctx")
    where = ["--host", address.host, "--port", str(address.port), context, str(CONTEXT)]
    child = subprocess.Popen([*program, "--model", str(file), alias, run.name, *where])
    try:
        _wait_until_ready(child, address)
        emit(env_lines([run.name], address))
        child.wait()
    finally:
        _end(child)


def _llama_command() -> list[str]:
    """The command that starts llama.cpp's server: `llama-server`, or the Python package's."""
    if program := shutil.which("llama-server"):
        return [program]
    if find_spec("llama_cpp") and find_spec("starlette_context"):
        return [sys.executable, "-m", "llama_cpp.server"]
    return []


def _wait_until_ready(child: subprocess.Popen[bytes], address: Address) -> None:
    import httpx2

    end = time.monotonic() + START
    while child.poll() is None and time.monotonic() < end:
        try:
            if httpx2.get(f"{address.url}/models", timeout=5, trust_env=False).is_success:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise TuneError("llama.cpp did not start; its output is above.", "--engine transformers")


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()


# The commands for other servers


def commands(run: Run, address: Address) -> str:
    """The commands and the `.env` lines to serve the run with vLLM, Ollama and llama.cpp."""
    base = models.find(run.record.base)
    merged = _shown(run.exports / "merged")
    file = gguf(run) or run.exports / "gguf-q8_0" / f"{run.name}-q8_0.gguf"
    kind, there = file.parent.name.removeprefix("gguf-"), _shown(file)
    port = f"--host {address.host} --port {address.port}"
    text_only = " --limit-mm-per-prompt '{\"image\": 0}'" if base.image_text else ""
    ollama = "http://127.0.0.1:11434/v1"
    return f"""\
# vLLM, on a GPU (uv tool install vllm); no --tokenizer-mode or --config-format is needed
uv run python -m tune export {run.name} --as merged
vllm serve {merged} --served-model-name {run.name} --max-model-len {CONTEXT} {port}{text_only}
LLM_BASE_URL={address.url}
CHAT_MODEL={run.name}

# Ollama: the Modelfile is next to the GGUF file
uv run python -m tune export {run.name} --as gguf --kind {kind}
ollama create {run.name} -f {_shown(file.parent)}/Modelfile
LLM_BASE_URL={ollama}
CHAT_MODEL={run.name}

# llama.cpp
uv run python -m tune export {run.name} --as gguf --kind {kind}
llama-server --model {there} --alias {run.name} --ctx-size {CONTEXT} {port} --jinja
LLM_BASE_URL={address.url}
CHAT_MODEL={run.name}
{SYSTEM_TOO if prompts.SYSTEM else ""}"""


# Ollama has its own template language, and does not read the template in our GGUF file.
MODELFILE = '''\
FROM ./{file}
TEMPLATE """{chat}"""
PARAMETER stop "</s>"
PARAMETER temperature {temperature:g}
PARAMETER num_predict {max_tokens}
{system}'''
CHAT = """\
{{ range .Messages }}\
{{ if eq .Role "system" }}[SYSTEM_PROMPT]{{ .Content }}[/SYSTEM_PROMPT]\
{{ else if eq .Role "user" }}[INST]{{ .Content }}[/INST]\
{{ else if eq .Role "assistant" }}{{ .Content }}</s>{{ end }}{{ end }}"""
# As in chat_template_v3.j2: the system message is part of the last question.
OLDER_CHAT = """\
{{ range $at, $_ := .Messages }}\
{{ if eq .Role "user" }}[INST]BLANK\
{{ if and $.System (eq (len (slice $.Messages $at)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]\
{{ else if eq .Role "assistant" }}BLANK{{ .Content }}</s>{{ end }}{{ end }}"""


# vLLM and llama.cpp have no setting for a system message.
SYSTEM_TOO = "\n# With vLLM and llama.cpp, the app must send SYSTEM from tune/prompts.py itself\n"


def modelfile(file: str, settings: Settings = SETTINGS, form: ChatForm = tokens.NEWEST) -> str:
    """The Modelfile, which Ollama needs next to the GGUF file."""
    chat = CHAT if form.system else OLDER_CHAT.replace("BLANK", form.blank)
    system = f'SYSTEM """{prompts.SYSTEM}"""\n' if prompts.SYSTEM else ""
    numbers = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    return MODELFILE.format(file=file, chat=chat, system=system, **numbers)


def _shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()
