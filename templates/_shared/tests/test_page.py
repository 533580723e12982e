import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APP = """
import signal, threading
from plumbing import page

class Closing:
    def __del__(self):
        signal.raise_signal(signal.{kind})

page.catch_signals()
{begin}
print("waiting", flush=True)
page.wait_for_shutdown()
print("ended", flush=True)
"""
LATER = "threading.Timer(0.3, signal.raise_signal, [signal.{kind}]).start()"


@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("begin", [LATER, "Closing()"], ids=["while it waits", "in a __del__"])
def test_a_signal_ends_the_app(kind: str, begin: str) -> None:
    code = APP.format(kind=kind, begin=begin.format(kind=kind))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["waiting", "ended"]
    assert done.returncode == 0
