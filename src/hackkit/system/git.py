"""Runs git: to ask about a repository, and to change it."""

from dataclasses import dataclass
from pathlib import Path

from hackkit.system.processes import Run


@dataclass(frozen=True)
class GitOutput:
    """What git printed; `problem` says why there is nothing."""

    out: str = ""
    problem: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The file names in the output of a command with `-z`, without duplicates."""
        return tuple(dict.fromkeys(filter(None, self.out.split("\0"))))


def root(folder: Path) -> Path | None:
    """Return the top folder of the repository that a folder is in, if any."""
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def git_folder(folder: Path) -> Path | None:
    """Return git's own folder: `.git`, or in a worktree the one that the file `.git` names."""
    top = root(folder)
    if top is None:
        return None
    dot_git = top / ".git"
    if dot_git.is_dir():
        return dot_git
    return top / dot_git.read_text("utf-8").removeprefix("gitdir:").strip()


def ask(run: Run, folder: Path, *words: str, seconds: float = 3) -> GitOutput:
    """Run a git command that changes nothing; a result without output has a problem."""
    if root(folder) is None:
        return GitOutput(problem="no git repository")
    ran = run("git", "--no-optional-locks", *words, folder=folder, seconds=seconds)
    if ran is None:
        return GitOutput(problem="git is not installed")
    if ran.timed_out:
        return GitOutput(problem=f"git did not answer within {seconds:g} s")
    if ran.code and (ran.code > 1 or ran.err):  # exit code 1 without an error is a "no"
        error = (ran.err or f"exit code {ran.code}").splitlines()[0]
        return GitOutput(problem=f"git: {error.removeprefix('fatal: ')}")
    return GitOutput(ran.out)


def change(run: Run, folder: Path, *words: str, seconds: float = 3) -> str:
    """Run a git command that changes something; return what went wrong, or nothing."""
    ran = run("git", *words, folder=folder, seconds=seconds)
    if ran is None:
        return "git is not installed"
    if ran.timed_out:
        return f"git did not end within {seconds:g} s"
    return "" if ran.ok else ran.err or ran.out or f"exit code {ran.code}"


def files(run: Run, folder: Path) -> GitOutput:
    """List the files of a folder that git tracks, or would add with `git add`."""
    return ask(run, folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
