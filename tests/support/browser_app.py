"""Starts a generated app, a model for it to talk to, and a browser to look at it with."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from conftest import clean_environment
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

DESKTOP, PHONE = (1280, 800), (390, 844)
PATIENCE = 120.0  # seconds that an app may take to start on a busy machine
QUICK = {"PATIENCE": "0.3", "BACKOFF": "0.1", "COOLDOWN": "0", "REQUESTS_PER_SECOND": "0"}
KEY = "TestKeyThatMustNeverBeShownAnywhere"
Reply = tuple[Any, ...]  # a function of mistral_server.py that makes a reply, and its arguments

# Each tries to be more than text. In a model's answer, as in a document that it quotes.
HOSTILE = r"""
<script>document.title = "owned"</script> <img src="http://outside.example/1.png">
![picture](http://outside.example/2.png) !![picture](http://outside.example/3.png)
\`<img src="http://outside.example/4.png">` `` ` `` <img src="http://outside.example/5.png"> `
`<img src="http://outside.example/6.png">` <svg onload="document.title = 'owned'"></svg>

text ```

<img src="http://outside.example/7.png"> <video src="http://outside.example/8.mp4"></video>

``` ![picture][ref] <style>body { display: none }</style> <iframe src="//outside.example/9">
```

![picture][ref]

[ref]: http://outside.example/10.png

[press](javascript:document.title='owned') &lt;img src="http://outside.example/11.png"&gt;
"""

# Runs in the project's environment, which has the SDK that the server checks requests with. Each
# line that it reads is null, or the replies that the next chat requests get, as the names of the
# server's functions and what they are called with. It says which chat requests have come so far.
MODEL = """
import json, sys, mistral_server as server

def answer(messages):
    recite = "recite" in messages[-1]["content"].rsplit("Question:", 1)[-1].lower()
    return sys.argv[1] if recite else server.cite_sources(messages)

with server.MistralServer(answer) as model:
    print(model.url, flush=True)
    for line in sys.stdin:
        if (replies := json.loads(line)) is not None:
            model.replies[server.CHAT].clear()
            model.will(*[getattr(server, name)(*args) for name, *args in replies])
        print(json.dumps([r.body for r in model.requests if r.path == server.CHAT]), flush=True)
"""


def find_chromium() -> str | None:
    """Return the browser of this machine, whatever it is called here."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def python(project: Path) -> Path:
    """Return the interpreter of the project's environment."""
    return project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@dataclass
class Model:
    """A Mistral-compatible server on loopback, in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @classmethod
    def start(cls, project: Path, recital: str = "") -> Self:
        process = subprocess.Popen(
            [python(project), "-c", MODEL, recital],
            env={**clean_environment(), "PYTHONPATH": str(project / "tests")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        assert process.stdout
        return cls(process, process.stdout.readline().strip())

    def settings(self) -> dict[str, str]:
        """Return the variables that make an app talk to this server."""
        return {"MISTRAL_API_KEY": KEY, "MISTRAL_SERVER_URL": self.url}

    def answer_with(self, status: int) -> None:
        """Fail every chat request with this status from now on; 200 ends that."""
        self.will(*[("status", status)] * (100 if status >= 400 else 0))

    def will(self, *replies: Reply) -> None:
        """Give the next chat requests these replies, and forget those that are left."""
        self._say(replies)

    def received(self) -> list[dict[str, Any]]:
        """Return the bodies of all chat requests so far."""
        return self._say(None)

    def _say(self, line: Sequence[Reply] | None) -> list[dict[str, Any]]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{json.dumps(line)}\n")
        self.process.stdin.flush()
        received: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return received

    def stop(self) -> None:
        """Close the port for good."""
        self.process.kill()
        self.process.communicate()


@dataclass
class App:
    """A generated app with files, a memory and a home of its own."""

    project: Path
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Give it a copy of the sample files."""
        for name in ("docs", "workspace"):
            if (self.project / name).is_dir():
                shutil.copytree(self.project / name, self.folder / name, dirs_exist_ok=True)
        (self.folder / "home").mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def feedback(self) -> Path:
        return self.folder / "feedback.jsonl"

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8")

    def start(self) -> Self:
        """Start it on a free port and wait until it serves its page."""
        self.port = self.port or free_port()
        folder = self.folder
        own = {
            "HOME": str(folder / "home"),
            "GRADIO_TEMP_DIR": str(folder / "uploads"),
            "DOCS_DIR": str(folder / "docs"),
            "INDEX_DIR": str(folder / "index"),
            "MEMORY_DIR": str(folder / "memory"),
            "WORKSPACE_DIR": str(folder / "workspace"),
            "FEEDBACK_FILE": str(self.feedback),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "MISTRAL_API_KEY": "",
        }
        with (folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [python(self.project), "app.py"],
                cwd=self.project,
                env={**clean_environment(), **own, **QUICK, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process
            assert self.process.poll() is None, f"the app ended:\n{self.log}"
            try:
                with urllib.request.urlopen(self.url, timeout=5):  # noqa: S310 - our own address
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"no page after {PATIENCE:.0f} seconds:\n{self.log}")

    def end(self) -> int:
        """Ask it to end, as `docker stop` does, and return its exit code."""
        assert self.process
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def chromium() -> Iterator[Browser]:
    """Open a browser that says nothing to the world of its own accord."""
    quiet = ["disable-background-networking", "disable-component-update", "disable-sync"]
    quiet += ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
    # A name that is looked up is a request that leaves the machine: none resolves.
    quiet += ["host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=[f"--{name}" for name in quiet]
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visit of an app, and the requests of the page that should not happen."""

    page: Page
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls, browser: Browser, app: App, size: tuple[int, int] = DESKTOP, *, dark: bool = False
    ) -> Self:
        """Open the app's page and wait until it can be used."""
        assert app.process
        assert app.process.poll() is None, f"the app ended, code {app.process.poll()}:\n{app.log}"
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        visit = cls(context.new_page())
        visit.page.set_default_timeout(30_000)
        context.on("request", lambda request: visit.note(request.url))
        context.on("weberror", lambda error: visit.complaints.append(str(error.error)))
        context.on(
            "console",
            lambda said: visit.complaints.append(said.text) if said.type == "error" else None,
        )
        visit.page.goto(app.url)
        expect(visit.box).to_be_visible(timeout=30_000)
        expect(visit.page.locator(".badge")).to_be_visible()
        return visit

    def note(self, url: str) -> None:
        """Remember a request that was meant for another machine."""
        address = urlsplit(url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            self.outside.append(url)

    @property
    def box(self) -> Locator:
        return self.page.locator("#box textarea")

    @property
    def answers(self) -> Locator:
        return self.page.locator("#chat [data-testid=bot]")

    @property
    def sources(self) -> Locator:
        return self.page.locator("#sources")

    @property
    def badge(self) -> Locator:
        return self.page.locator("#who")

    def ask(self, question: str) -> Locator:
        """Type a question, send it, and return the finished answer."""
        before = self.answers.count()
        self.box.fill(question)
        self.box.press("Enter")
        return self.answer(before)

    def answer(self, before: int = 0) -> Locator:
        """Wait until there is one answer more than before, and it is whole."""
        answer = self.answers.nth(before)
        expect(answer.locator(".by")).to_be_visible(timeout=30_000)
        # The thumbs come when the last word has come.
        expect(self.page.get_by_label("Retry").last).to_be_visible(timeout=30_000)
        return answer

    def upload(self, *files: Path) -> None:
        """Add documents, and come back to the chat when they are in the index."""
        self.page.get_by_role("tab", name="Documents").click()
        self.page.locator("#upload input[type=file]").set_input_files(files)
        expect(self.page.locator("#status")).to_contain_text("read", timeout=30_000)
        self.page.get_by_role("tab", name="Ask").click()

    def widths(self) -> tuple[int, int]:
        """Return how wide the page is, and how wide the window."""
        wide: int = self.page.evaluate("document.documentElement.scrollWidth")
        window: int = self.page.evaluate("window.innerWidth")
        return wide, window


Look = Callable[..., Visit]
Photograph = Callable[[Visit, str], None]
