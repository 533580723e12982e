"""Deploy's data types: the request, the manifest, and the result of each command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hackkit.errors import Problem
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles
from hackkit.system.progress import Progress as Progress  # noqa: PLC0414 - targets get it with these types


@dataclass(frozen=True)
class OutgoingFile:
    """One file that is sent: its path from the project's root (with /), its content and its size.

    `content` is a file of this machine, or the bytes of a generated file (requirements.txt).
    """

    path: str
    content: Path | bytes
    size: int

    def read(self) -> bytes:
        """Return the bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True)
class Manifest:
    """Everything that a deployment would do, known before anything is changed.

    files: all files that are sent, and no others. secrets, variables: by name, with the values to
    set on the platform; a secret's value is never shown. writes: files that the target needs,
    written into the project first. changes, needs: sentences on what is created or changed, and on
    what it costs or requires. notes: what is good to know. problems: what stops the deployment.
    """

    target: str
    files: tuple[OutgoingFile, ...]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[OutgoingFile, ...] = ()
    changes: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def size(self) -> int:
        """The size of all files together, in bytes."""
        return sum(each.size for each in self.files)

    @property
    def ok(self) -> bool:
        """Whether nothing stops the deployment."""
        return not self.problems


@dataclass(frozen=True)
class Step:
    """A finished step: its name, its duration, and its outcome ("412 MB")."""

    name: str
    seconds: float
    outcome: str = ""


@dataclass(frozen=True)
class RehearsalResult:
    """A rehearsal that passed; `log` is the file with the full output."""

    steps: tuple[Step, ...]
    log: Path
    ok: bool = True


@dataclass(frozen=True)
class Deployment:
    """A deployed app: its address, and the dashboard where its owner manages it.

    `commands` are those that the user has to run, where hackkit may not. `token` opens a private
    page; it is never shown.
    """

    address: str = ""
    dashboard: str = ""
    commands: tuple[str, ...] = ()
    token: str = field(default="", repr=False)
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class DeploymentStatus:
    """The state of a deployment in words ("running"), its address, and whether it is healthy."""

    text: str
    address: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Message:
    """A result that is only text: log lines, or what was removed."""

    text: str
    ok: bool = True


@dataclass(frozen=True)
class Published:
    """A finished deployment, and the app's answer to one question.

    `question` is empty when there is no address to ask; `note` says why it is not one of the app's
    own. `explanation` says why no answer came.
    """

    manifest: Manifest
    deployment: Deployment
    question: str = ""
    answer: str = ""
    explanation: Problem | None = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the app answered, or was not asked."""
        return self.explanation is None


@dataclass(frozen=True)
class Options:
    """The user's options for a deployment; every target takes some of them.

    space: "owner/name" on Hugging Face. name: the service's name on other platforms. hardware,
    region: in the platform's own words. public: everybody may open the app. yes: ask nothing.
    """

    space: str = ""
    name: str = ""
    hardware: str = ""
    region: str = ""
    public: bool = False
    yes: bool = False


@dataclass(frozen=True)
class DeployRequest:
    """What to deploy and how: the project, the facts around it, the user's options."""

    project: ProjectFiles
    context: Context
    options: Options
