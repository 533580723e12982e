"""Serves a run at an address that apps take as LLM_BASE_URL: `uv run python -m tune.serve`"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from tune import models, runs
from tune.errors import TuneError, need_loading, note, run_app, stoppable
from tune.runs import Run
from tune.settings import SETTINGS, Settings

if TYPE_CHECKING:
    import uvicorn

    from tune.generate import Generator

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """The server's host and port."""

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"


def main(
    run: Annotated[str, typer.Argument(help="A run's name. Default: the latest.")] = "",
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines connect.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
) -> None:
    """Serve the tuned model, and its base under the base's name, until Ctrl-C.

    Example: uv run python -m tune.serve --port 8001
    """
    with stoppable():
        serve(runs.find(SETTINGS.runs, run), Address(host, port))


def serve(run: Run, address: Address) -> None:
    """Serve a run until Ctrl-C. Raises TuneError if the port is taken."""
    with _listening(address) as (listener, address):
        need_loading()
        note(f"Loading {run.name} …")
        served = generators(run)
        note(env_lines(list(served), address))
        _program(served).run(sockets=[listener])


def generators(run: Run, settings: Settings = SETTINGS) -> dict[str, Generator]:
    """The models to serve, by name: the tuned one first, then its base."""
    from tune import weights
    from tune.generate import Generator

    base = weights.known(models.find(run.record.base))
    tokenizer = weights.load_tokenizer(base)
    model = weights.load_tuned(run, four_bit=weights.answers_in_4_bits(base))
    tuned = Generator(model, tokenizer, settings.max_tokens, settings.temperature)
    return {run.name: tuned, base.name: tuned.without_adapter()}


def env_lines(names: Sequence[str], address: Address) -> str:
    """The lines for the `.env` of an app that uses the models; the tuned one is the first name."""
    lines = [f"{names[0]} answers at {address.url}. Press Ctrl-C to stop."]
    if address.host not in LOOPBACK:
        lines.append("Anyone who can reach this machine can use it: there is no key.")
    lines += ["For an app's .env:", "", f"LLM_BASE_URL={address.url}", f"CHAT_MODEL={names[0]}"]
    lines += [f"BASE_CHAT_MODEL={name}" for name in names[1:]]
    return "\n".join(lines)


@contextmanager
def background(served: Mapping[str, Generator]) -> Iterator[Address]:
    """Serve models on a free port while the block runs."""
    with _listening(Address(port=0)) as (listener, address):
        program = _program(served)
        thread = threading.Thread(target=program.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield address
        finally:
            program.should_exit = True
            thread.join()


@contextmanager
def _listening(address: Address) -> Iterator[tuple[socket.socket, Address]]:
    """Open the port before the weights are loaded, so that a taken port fails immediately."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as listener:
        try:
            if sys.platform != "win32":  # on Windows this would share a port that is in use
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address.host, address.port))
            listener.listen()
        except OSError as error:
            why = error.strerror or error
            problem = f"Port {address.port} on {address.host} is not free: {why}."
            raise TuneError(problem, f"--port {(address.port or 8000) + 1}") from None
        yield listener, replace(address, port=listener.getsockname()[1])


def _program(served: Mapping[str, Generator]) -> uvicorn.Server:
    import uvicorn

    from tune import server

    app = server.application(served)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(main)
    sys.exit(run_app(app, "python -m tune.serve"))
