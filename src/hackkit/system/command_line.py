"""Commands as text: what is printed can be pasted into the user's own shell."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PACKAGE = "hackkit-starter"  # `hackkit` on the index is another project
# The temporary environment of `uvx`, in uv's cache.
_PLAIN = re.compile(r"[\w./\\:=+~-]+")  # words that PowerShell takes as they are
_UVX = re.compile(r"(?:archive|environments)-v[0-9]+")
_QUOTES = r"\042\047"  # double and single, in the form that every `tr` reads


@dataclass(frozen=True)
class Shell:
    """The user's shell: PowerShell on Windows (5.1 has no `&&`, no `chmod`), else a POSIX one."""

    windows: bool

    @property
    def python(self) -> str:
        """The command that starts Python."""
        return "python" if self.windows else "python3"

    def line(self, words: Sequence[str]) -> str:
        """Write a command as one line."""
        text = " ".join(map(self.quoted, words))
        is_string = self.windows and text.startswith("'")
        return f"& {text}" if is_string else text  # else PowerShell prints the string

    def quoted(self, word: str) -> str:
        """Write one word so that the shell takes it literally."""
        if not self.windows:
            return shlex.quote(word)
        if _PLAIN.fullmatch(word):
            return word
        escaped = word.replace('"', '\\"').replace("'", "''")  # the first is for the program
        return f"'{escaped}'"

    def then(self, *commands: str) -> str:
        """Join commands: each runs only when the one before it succeeded."""
        if not self.windows:
            return " && ".join(commands)
        first, *others = commands
        return f"{first}; if ($?) {{ {self.then(*others)} }}" if others else first

    def set(self, name: str, value: str) -> str:
        """Set an environment variable."""
        value = self.quoted(value)
        if not self.windows:
            return f"export {name}={value}"
        return f"$env:{name} = {value}" if value.startswith("'") else f"$env:{name} = '{value}'"

    def unset(self, *names: str) -> str:
        """Remove environment variables."""
        if not self.windows:
            return f"unset {' '.join(names)}"
        return f"Remove-Item {', '.join(f'Env:{name}' for name in names)} -ErrorAction Ignore"

    def append(self, text: str, path: str) -> str:
        """Append a line of plain ASCII to a file."""
        if self.windows:  # `>>` would write UTF-16
            return f'Add-Content -Encoding ascii {self.quoted(path)} "`n{text}"'
        return rf"printf '\n{text}\n' >> {self.quoted(path)}"

    def copy(self, source: str, target: str) -> str:
        """Copy a file."""
        return self.line(["Copy-Item" if self.windows else "cp", source, target])

    def move(self, source: str, target: str) -> str:
        """Rename a file or a folder."""
        return self.line(["Move-Item" if self.windows else "mv", source, target])

    def unlock(self, path: str) -> str:
        """Let the owner read and write a file, or a folder with all that is in it."""
        if self.windows:
            return f'{self.line(["icacls", path])} /grant "${{env:USERNAME}}:F" /T'
        return self.line(["chmod", "-R", "u+rwX", path])

    def only_for_owner(self, path: str) -> str:
        """Make a file readable only by its owner."""
        if self.windows:
            return f'{self.line(["icacls", path])} /inheritance:r /grant:r "${{env:USERNAME}}:F"'
        return self.line(["chmod", "600", path])

    def pipe_variable(self, name: str, command: str, *, whole: bool) -> str:
        """Pipe an environment variable into a command: its value, or NAME=value (`whole`)."""
        if self.windows:
            return f'"{name}=$env:{name}" | {command}' if whole else f"$env:{name} | {command}"
        form = f"{name}=%s\\n" if whole else "%s"
        return f"printf '{form}' \"${name}\" | {command}"

    def pipe_env_file(self, name: str, command: str, *, whole: bool) -> str:
        """Pipe a variable of `.env` into a command: its value, or NAME=value (`whole`)."""
        if self.windows:
            found = f"(Select-String '^{name}=(.*)' .env).Matches.Groups[1].Value"
            value = f"{found}.Trim([char]34, [char]39)"
            return f'"{name}=$({value})" | {command}' if whole else f"{value} | {command}"
        if whole:
            return f"grep '^{name}=' .env | {command}"
        return f"sed -n 's/^{name}=//p' .env | tr -d '{_QUOTES}\\n' | {command}"

    def end_process(self, number: int | str) -> str:
        """End a process by its number."""
        return f"taskkill /PID {number}" if self.windows else f"kill {number}"


HERE = Shell(windows=os.name == "nt")
line = HERE.line


@dataclass(frozen=True)
class Start:
    """How hackkit was started: by `uv run` or not, in which environment, by which script.

    `source` is where a temporary environment got hackkit from, when it was not the index.
    `checkout` is the folder of the git repository that this code is in, if any.
    """

    by_uv_run: bool = False
    prefix: Path = Path()
    script: Path = Path()
    source: str = ""
    checkout: Path | None = None

    @classmethod
    def here(cls) -> "Start":
        """Return how this process was started."""
        by_uv_run = "UV_RUN_RECURSION_DEPTH" in os.environ  # how `uv run` marks its children
        root = Path(__file__).parents[3]
        checkout = root if (root / ".git").exists() else None
        start = cls(by_uv_run, Path(sys.prefix), Path(sys.argv[0]), checkout=checkout)
        return replace(start, source=_source()) if start.is_uvx or start.is_pipx_run else start

    @property
    def is_uvx(self) -> bool:
        """Whether the environment is a temporary one of `uvx`."""
        return not self.by_uv_run and _UVX.fullmatch(self.prefix.parent.name) is not None

    @property
    def is_pipx_run(self) -> bool:
        """Whether the environment is a temporary one of `pipx run`."""
        return {self.prefix.parent.name, self.prefix.parent.parent.name} == {".cache", "pipx"}

    @property
    def is_uv_tool(self) -> bool:
        """Whether the environment is one of `uv tool install`."""
        return (self.prefix / "uv-receipt.toml").is_file()

    def words(self, folder: Path | None = None) -> list[str]:
        """Return the words that start hackkit in the same way, typed in the folder."""
        if self.by_uv_run:
            checkout = self.prefix.parent
            elsewhere = folder is not None and not folder.is_relative_to(checkout)
            return ["uv", "run", *(["--project", str(checkout)] if elsewhere else []), "hackkit"]
        if self.is_uvx:
            return ["uvx", *(["--from", self.source] if self.source else []), PACKAGE]
        if self.is_pipx_run:
            return ["pipx", "run", *(["--spec", self.source] if self.source else []), PACKAGE]
        name = program(self.script)
        found = shutil.which(name)
        ours = {self.prefix / "bin", self.prefix / "Scripts", self.script.absolute().parent}
        if found and Path(found).absolute().parent in ours:
            return [name]
        return [sys.executable, "-m", "hackkit"]


def program(script: Path | None = None) -> str:
    """Return the name of the script that was started: hackkit has two."""
    name = (script or Path(sys.argv[0])).stem
    return name if name in {"hackkit", PACKAGE} else "hackkit"


def hackkit(*words: str, folder: Path | None = None, start: Start | None = None) -> str:
    """Write a hackkit command the way that the user started this one, to be typed in the folder."""
    return line([*(start or Start.here()).words(folder), *words])


def _source() -> str:
    """Return where hackkit was installed from, as its installer noted; nothing for the index."""
    import json  # noqa: PLC0415 - only a temporary environment needs it
    from importlib.metadata import distribution  # noqa: PLC0415 - the same

    text = distribution(PACKAGE).read_text("direct_url.json")
    if not text:
        return ""
    noted = json.loads(text)
    prefix = f"{noted['vcs_info']['vcs']}+" if "vcs_info" in noted else ""
    return f"{prefix}{noted['url']}"
