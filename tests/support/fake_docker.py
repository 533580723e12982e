"""A fake `docker`: builds nothing, records its calls, runs a small server."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = """\
#!{python}
import json, os, pathlib, sys, time
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
sys.path.insert(0, {tests!r})
files = []
if words[0] == "build":
    root = pathlib.Path(words[-1])
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
with (here / "seen.jsonl").open("a") as log:
    log.write(json.dumps({{"words": words, "files": files, "env": dict(os.environ)}}) + "\\n")
state = here / "images.json"
images = json.loads(state.read_text()) if state.exists() else {{}}
said = here / words[0]
if words[0] == "version":
    print("28.0")
elif words[0] == "build":
    if said.exists():
        sys.exit(said.read_text())
    images[words[words.index("--tag") + 1]] = "sha256:" + str(time.time_ns())
    state.write_text(json.dumps(images))
elif words[:2] == ["image", "inspect"]:
    if words[2] not in images:
        sys.exit("No such image")
    config = {{"User": "1000", "Labels": {{"hackkit.data": "/app/data"}}}}
    print(json.dumps([{{"Id": images[words[2]], "Size": 612000000, "Config": config}}]))
elif words[0] == "run":
    if said.exists():
        sys.exit(said.read_text())
    import gradio_server
    port = next(int(w[5:]) for w in words if w.startswith("PORT="))
    with gradio_server.running(gradio_server.App(), port):
        while not (here / "stopped").exists():
            time.sleep(0.05)
elif words[0] == "stop":
    (here / "stopped").touch()
elif words[0] == "rmi":
    if words[1] not in images:
        sys.exit("No such image")
    del images[words[1]]
    state.write_text(json.dumps(images))
elif said.exists():
    print(said.read_text())
"""


@dataclass(frozen=True)
class FakeDocker:
    """A folder with the fake docker, for the start of PATH."""

    folder: Path

    @classmethod
    def put(cls, folder: Path) -> "FakeDocker":
        folder.mkdir()
        program = folder / "docker"
        tests = str(Path(__file__).parent)
        program.write_text(_PROGRAM.format(python=sys.executable, tests=tests), "utf-8")
        program.chmod(0o755)
        return cls(folder)

    def says(self, command: str, text: str) -> None:
        """Make a command print this; `build` and `run` fail with it."""
        (self.folder / command).write_text(text, "utf-8")

    def seen(self, *beginning: str) -> list[dict[str, Any]]:
        """Return the calls that start with these words: their words, files and variables."""
        lines = (self.folder / "seen.jsonl").read_text("utf-8").splitlines()
        calls = [json.loads(line) for line in lines]
        return [call for call in calls if call["words"][: len(beginning)] == list(beginning)]

    @property
    def images(self) -> dict[str, str]:
        """The images that it has now."""
        state = self.folder / "images.json"
        found: dict[str, str] = json.loads(state.read_text("utf-8")) if state.exists() else {}
        return found
