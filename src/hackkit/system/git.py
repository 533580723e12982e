"""What git knows of a project: asks, and changes nothing."""

from dataclasses import dataclass
from pathlib import Path

from hackkit.system.processes import Run


@dataclass(frozen=True)
class Answer:
    """What git said; `problem` tells why it said nothing."""

    out: str = ""
    problem: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The file names of an answer to `-z`, each once."""
        return tuple(dict.fromkeys(filter(None, self.out.split("\0"))))


def root(folder: Path) -> Path | None:
    """Return the folder with `.git` that a folder belongs to, if any."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def git_folder(folder: Path) -> Path | None:
    """Return git's own folder of this working tree: `.git`, or where a worktree's file points."""
    top = root(folder)
    if top is None:
        return None
    dot_git = top / ".git"
    if dot_git.is_dir():
        return dot_git
    return top / dot_git.read_text("utf-8").removeprefix("gitdir:").strip()


def ask(run: Run, folder: Path, *words: str, seconds: float = 3) -> Answer:
    """Ask git about a folder; the answer's problem says why there is none."""
    if root(folder) is None:
        return Answer(problem="no git repository")
    ran = run("git", "--no-optional-locks", *words, folder=folder, seconds=seconds)
    if ran is None:
        return Answer(problem="git is not installed")
    if ran.timed_out:
        return Answer(problem=f"git did not answer within {seconds:g} s")
    if ran.code and (ran.code > 1 or ran.err):  # 1 alone is how git says "no"
        said = (ran.err or f"exit code {ran.code}").splitlines()[0]
        return Answer(problem=f"git says: {said.removeprefix('fatal: ')}")
    return Answer(ran.out)


def files(run: Run, folder: Path) -> Answer:
    """List what git holds of a folder, or would take in with the next `git add`."""
    return ask(run, folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
