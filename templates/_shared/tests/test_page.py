import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[1]
APP = """
import signal, threading
from plumbing import page

class Closing:
    def __del__(self):
        signal.raise_signal(signal.{kind})

def main():
    {begin}
    print("waiting", flush=True)
    page.wait_for_shutdown()
    print("ended", flush=True)

page.run(main)
"""
LATER = "threading.Timer(0.3, signal.raise_signal, [signal.{kind}]).start()"
PAGE = """
import threading, time
import gradio as gr
from plumbing import page
from plumbing.guard import serving
from plumbing.settings import ModelSettings

def ask(question: str) -> str:
    print("asked", flush=True)
    time.sleep(1000)

def main():
    with gr.Blocks() as blocks:
        gr.api(ask, api_name="ask")
    with serving(blocks, ModelSettings()) as address:
        print(address, flush=True)
        page.wait_for_shutdown()

page.run(main)
"""


@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("begin", [LATER, "Closing()"], ids=["while it waits", "in a __del__"])
def test_a_signal_ends_the_app(kind: str, begin: str) -> None:
    code = APP.format(kind=kind, begin=begin.format(kind=kind))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["waiting", "ended"]
    assert done.returncode == 0


def test_behind_a_proxy_the_app_starts_and_one_signal_ends_it_in_the_middle_of_an_answer() -> None:
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    env = os.environ | dead | {name.lower(): value for name, value in dead.items()}
    words = [sys.executable, "-c", PAGE]
    with subprocess.Popen(words, cwd=ROOT, env=env, stdout=-1, stderr=-2, text=True) as app:
        assert app.stdout
        address = app.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with httpx.Client(trust_env=False) as client:
            client.post(f"{address}gradio_api/call/ask", json={"data": ["Hi"]})
        assert app.stdout.readline() == "asked\n"
        app.send_signal(signal.SIGTERM)
        assert app.wait(60) == (0 if sys.platform != "win32" else 1)
        assert app.stdout.read() == ""
