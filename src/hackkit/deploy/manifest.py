"""What deploy talks about: what leaves, what stops it, how a rehearsal went, what is live."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles

# Is told what happens now, in words; may be told the same twice.
Watch = Callable[[str], None]


@dataclass(frozen=True)
class Outgoing:
    """One file that leaves: its path from the project's root, with /, and where its bytes are.

    `content` is a file of this machine, or the bytes themselves for one that is made on the way
    (requirements.txt).
    """

    path: str
    content: Path | bytes
    size: int

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Objection:
    """What stops a deployment before it begins: words, and the command that mends it."""

    words: str
    fix: str


@dataclass(frozen=True)
class Manifest:
    """Everything that a deployment would do, known before anything is touched.

    files: all that leaves, nothing else does. secrets, variables: by name, with the values that
    are set on the platform; a secret's value is never shown. writes: files that the target needs
    and that are written into the project first. changes, needs: sentences on what is made or
    changed, and on what it costs or takes. notes: what is worth knowing. objections: what stops it.
    """

    target: str
    files: tuple[Outgoing, ...]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[Outgoing, ...] = ()
    changes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    objections: tuple[Objection, ...] = ()

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(each.size for each in self.files)

    @property
    def well(self) -> bool:
        """Whether nothing stops it."""
        return not self.objections


@dataclass(frozen=True)
class Step:
    """A step that was done: what, how long it took, and what it came to ("412 MB")."""

    name: str
    seconds: float
    outcome: str = ""


@dataclass(frozen=True)
class Rehearsed:
    """A rehearsal that went well; `log` is the file with all that was said."""

    steps: tuple[Step, ...]
    log: Path
    well: bool = True


@dataclass(frozen=True)
class Live:
    """What is in front of the judges: its page, and where its owner manages it.

    `commands` are what is left to type, where a step is not ours to do. `token` opens a private
    page to us; it is never shown.
    """

    address: str = ""
    dashboard: str = ""
    commands: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Condition:
    """How a deployment is: a stage in words ("running"), its address, and whether it is well."""

    words: str
    address: str = ""
    well: bool = True


@dataclass(frozen=True)
class Told:
    """An answer in words: log lines, or what was taken away."""

    words: str
    well: bool = True


@dataclass(frozen=True)
class Published:
    """A deployment that was made: what is live, and what it answered to one question.

    `asked` is empty when there is no address to ask; `doubt` says why no answer came, `fix` where
    to look.
    """

    manifest: Manifest
    live: Live
    asked: str = ""
    answer: str = ""
    doubt: str = ""
    fix: str = ""

    @property
    def well(self) -> bool:
        """Whether it answers."""
        return not self.doubt


@dataclass(frozen=True)
class Options:
    """What a user may say about a deployment; every target takes some of it.

    space: "owner/name" on Hugging Face. name: the service's name elsewhere. hardware, region: as
    the platform calls them. public: let everybody see it. yes: ask nothing.
    """

    space: str = ""
    name: str = ""
    hardware: str = ""
    region: str = ""
    public: bool = False
    yes: bool = False


@dataclass(frozen=True)
class Order:
    """A deployment that was asked for: the project, the facts around it, the user's options."""

    project: ProjectFiles
    context: Context
    options: Options
