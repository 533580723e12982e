"""A fake platform program: it answers by rules and records its calls."""

import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import git, write

from hackkit.deploy.manifest import DeployRequest, Options
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.processes import runner

KEY = "aB3dE6gH" * 4

# It reads its rules at each call: a test may change them between two deployments.
_PROGRAM = """\
#!{python} -SEs
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
name, words = pathlib.Path(__file__).name, sys.argv[1:]
kept = {{}}
for word in words:
    if os.path.isabs(word) and os.path.isfile(word):
        kept = {{"path": word, "mode": oct(os.stat(word).st_mode & 0o777),
                "text": pathlib.Path(word).read_text("utf-8")}}
given = "" if sys.stdin is None else sys.stdin.read()
names = sorted(str(p.relative_to(".")) for p in pathlib.Path(".").rglob("*") if p.is_file())
config = {{each: pathlib.Path(each).read_text("utf-8") for each in names
          if each in ("fly.toml", "cloudrun.yaml", "modal_app.py", "render.yaml")}}
seen = {{"words": [name, *words], "given": given, "env": dict(os.environ), "files": names,
        "folder": os.getcwd(), "kept": kept, "config": config}}
with (here / "seen.jsonl").open("a", encoding="utf-8") as file:
    file.write(json.dumps(seen) + "\\n")
rules = json.loads((here / (name + ".rules")).read_text("utf-8"))
line = " ".join(words)
best = max((each for each in rules if line.startswith(each)), key=len, default=None)
code, out = rules[best] if best is not None else (0, "")
print(out, file=sys.stderr if code else sys.stdout)
sys.exit(code)
"""


@dataclass(frozen=True)
class Seen:
    """One call of the program: its words, its input, its variables, the files in its folder."""

    words: list[str]
    given: str
    env: dict[str, str]
    files: list[str]
    folder: str
    kept: dict[str, str]
    config: dict[str, str]

    @property
    def line(self) -> str:
        return " ".join(self.words)


class FakePlatform:
    """A folder with one program, for the start of PATH."""

    def __init__(self, folder: Path, program: str, rules: Mapping[str, tuple[int, str]]) -> None:
        """`rules`: start of a line → exit code and output; the longest match wins."""
        self.folder, self.program = folder, program
        path = folder / program
        write(path, _PROGRAM.format(python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.rules = dict(rules)
        self.answer({})

    def answer(self, rules: Mapping[str, tuple[int, str]]) -> None:
        """Change some rules."""
        self.rules |= rules
        write(self.folder / f"{self.program}.rules", json.dumps(self.rules))

    def forget(self) -> None:
        """Delete the recorded calls."""
        (self.folder / "seen.jsonl").unlink(missing_ok=True)

    @property
    def seen(self) -> list[Seen]:
        """All calls, in order."""
        path = self.folder / "seen.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        return [Seen(**json.loads(each)) for each in lines]

    def lines(self, *without: str) -> list[str]:
        """All calls as lines, except look-ups (recognised by a word in them)."""
        return [each.line for each in self.seen if not set(without) & set(each.words)]


def project(folder: Path, *, key: bool = True, dockerfile: bool = True) -> Path:
    """Make a small committed hackkit project with a key in its `.env`."""
    write(folder / ".hackkit.yml", "project_name: Ask Paris\ntemplate: tiny\n")
    write(folder / ".env.example", "MISTRAL_API_KEY=\nLLM_API_KEY=\nCHAT_MODEL=\nHOST=\nPORT=\n")
    write(folder / ".gitignore", ".env\n")
    write(folder / "app.py", "print('hello')\n")
    write(folder / "README.md", "# Ask Paris\n")
    write(folder / "pyproject.toml", '[project]\nname = "x"\nrequires-python = ">=3.12"\n')
    if dockerfile:
        write(folder / "Dockerfile", 'FROM scratch\nCMD ["python", "app.py"]\n')
    if key:
        write(folder / ".env", f"MISTRAL_API_KEY={KEY}\nCHAT_MODEL=mistral-small-latest\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


def requested(
    folder: Path,
    *programs: FakePlatform,
    options: Options | None = None,
    env: Mapping[str, str] | None = None,
    system: str = "linux",
) -> DeployRequest:
    """Request a deployment of the project on a machine with only these programs and git."""
    found = ProjectFiles.find(folder)
    assert found is not None
    path = os.pathsep.join([*(str(each.folder) for each in programs), *_git_folders(folder)])
    variables = {"PATH": path, "HOME": str(folder.parent), **(env or {})}
    context = Context(
        folder=found.folder,
        env=variables,
        project=found,
        system=system,
        run=runner(variables),
    )
    return DeployRequest(found, context, options or Options())


def _git_folders(folder: Path) -> Sequence[str]:
    """Make a folder with git as its only program: the machine's own fly or gcloud is not run."""
    place = folder.parent / "only-git"
    place.mkdir(exist_ok=True)
    link, real = place / "git", shutil.which("git")
    assert real
    if not link.exists():
        link.symlink_to(real)
    return [str(place)]


def secretless(platform: FakePlatform, *allowed: str) -> bool:
    """Return whether the key was in no command line, no variable and no file, unless allowed."""
    for each in platform.seen:
        texts = [*each.words, *each.env.values(), *each.config.values()]
        if any(KEY in text for text in texts):
            return False
        if KEY in each.given and "given" not in allowed:
            return False
    return True
