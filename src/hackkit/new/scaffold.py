"""Makes a project: new_project(), and the only module that knows Copier."""

import contextlib
import itertools
import os
import shutil
import signal
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hackkit.errors import HackkitError, WrongUseError
from hackkit.new import first_commit
from hackkit.new.plan import Plan, Project
from hackkit.project.catalog import Catalog, Example, Template, requirements
from hackkit.project.files import create_env_file
from hackkit.project.names import slug
from hackkit.system import uv
from hackkit.system.command_line import hackkit, line
from hackkit.version import VERSION

Tell = Callable[[str], None]

_LONGEST_NAME = 100
# Of an example's folder, what is no part of the project.
_NOT_OVERLAID = shutil.ignore_patterns(
    "example.toml", "__pycache__", "*.py[co]", ".venv", ".*_cache", ".env", "index", ".gradio"
)


@dataclass(frozen=True)
class _Order:
    """A plan whose names were looked up: `template` is None for a third party's source."""

    plan: Plan
    source: str
    answers: Mapping[str, str]
    template: Template | None = None
    example: Example | None = None


def new_project(plan: Plan, tell: Tell = lambda _: None, catalog: Catalog | None = None) -> Project:
    """Render, commit and install a project; return where it is and what to type next.

    `tell` is called with a line at each step. Raises WrongUseError before anything is
    written, and HackkitError when rendering fails (nothing is left) or when installing
    does (the project stays).
    """
    _refuse_taken(plan)
    order = _look_up(plan, catalog or Catalog.here())
    with _all_or_nothing(plan.directory):
        tell(f"Writing {order.example.name if order.example else order.source}")
        _render(order)
        notices, repository = _first_commits(order)
        env_file = create_env_file(plan.directory)
    installable = plan.install and (plan.directory / "pyproject.toml").is_file()
    if installable:
        notices += _install(plan.directory, tell, repository=repository)
    steps = _steps(plan.directory, installed=installable, repository=repository)
    return Project(plan.directory, steps, tuple(notices), env_file)


def _refuse_taken(plan: Plan) -> None:
    directory = plan.directory
    if not os.path.lexists(directory) or (directory.is_dir() and not any(directory.iterdir())):
        return
    what = "is not empty" if directory.is_dir() else "is not a folder"
    raise WrongUseError(
        f"{directory} exists and {what}. Nothing was changed.",
        fix=_command(replace(plan, directory=_free_name(directory))),
    )


def _free_name(taken: Path) -> Path:
    """Return a folder beside the one that is taken: its name with the next free number."""
    base = taken.resolve() if taken.name in {"", ".."} else taken
    names = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    return next(path for path in names if not os.path.lexists(path))


def _look_up(plan: Plan, catalog: Catalog) -> _Order:
    example = catalog.example(plan.example) if plan.example else None
    answers = {**(example.answers if example else {}), **plan.answers}
    template = catalog.template(example.template if example else plan.template)
    if template is None:
        return _Order(plan, plan.template, answers)
    return _Order(plan, template.name, _checked(plan, template, answers), template, example)


def _checked(plan: Plan, template: Template, given: Mapping[str, str]) -> dict[str, str]:
    """Return all answers for a built-in template, or say which key or value is not allowed."""
    allowed = {slot.name: slot.values for slot in template.slots}
    free = _questions(template) - allowed.keys()
    for key, value in given.items():
        if key not in allowed and key not in free:
            known = ", ".join(sorted([*allowed, *free]))
            raise WrongUseError(
                f'The template {template.name} has no setting "{key}". Settings: {known}.',
                fix=hackkit("list"),
            )
        if key in allowed and value not in allowed[key]:
            raise WrongUseError(
                f'"{value}" is not a value of {key}. Values: {", ".join(allowed[key])}.',
                fix=hackkit("list"),
            )
    defaults = {slot.name: slot.default for slot in template.slots}
    return {**defaults, **given, **_names(plan, template, given)}


def _names(plan: Plan, template: Template, given: Mapping[str, str]) -> dict[str, str]:
    name = given.get("project_name", plan.directory.absolute().resolve().name).strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise WrongUseError(
            f"A project name has 1 to {_LONGEST_NAME} printable characters.",
            fix=hackkit("new", template.name, "my-app"),
        )
    short = slug(given.get("project_slug", name))
    # A project that bears a dependency's name would be taken for the dependency itself.
    if short in requirements(template):
        short += "-app"
    return {"project_name": name, "project_slug": short}


def _questions(template: Template) -> set[str]:
    """Names of the questions, but those for slots, that a flag may answer."""
    import yaml  # noqa: PLC0415 - only `new` needs it

    class Loader(yaml.SafeLoader):
        """Reads a template's questions without what they include."""

    Loader.add_constructor("!include", lambda *_: {})
    files = (template.folder.parent / "copier.yml", template.folder / "questions.yml")
    content: dict[str, Any] = {}
    for path in files:
        if path.is_file():
            for document in yaml.load_all(path.read_text("utf-8"), Loader):
                content |= document or {}
    ours = {"template", "hackkit_version"}
    slots = {path.name for path in template.folder.parent.glob("_slots/*")}
    return {key for key in content if not key.startswith("_")} - ours - slots


def _render(order: _Order) -> None:
    plan = order.plan
    try:
        with first_commit.without_aim():
            known = _run_copier(order)
    except HackkitError:
        raise
    # A template is somebody's program: there is no telling what its mistakes raise.
    except Exception as error:
        raise HackkitError(
            f"{order.source} could not be written: {error}", fix=_command(plan, "--debug")
        ) from error
    unknown = order.answers.keys() - known
    if order.template is None and unknown:
        # Copier takes answers to questions that a template does not ask, and says nothing.
        raise WrongUseError(
            f'{order.source} has no setting "{unknown.pop()}". '
            f"Settings: {', '.join(sorted(known)) or 'none'}.",
            fix=_command(replace(plan, answers={})),
        )


def _run_copier(order: _Order) -> set[str]:
    """Render, and return the names of the questions that the template knows."""
    from copier import run_copy  # noqa: PLC0415 - takes longer to import than all the rest
    from copier.errors import UnsafeTemplateError  # noqa: PLC0415 - the same

    plan = order.plan
    try:
        with warnings.catch_warnings():
            # Copier warns about a template folder with uncommitted changes, and uses them.
            warnings.simplefilter("ignore")
            worker = run_copy(
                str(order.template.folder.parent if order.template else order.source),
                plan.directory,
                data=_data(order),
                defaults=not plan.interactive,
                unsafe=plan.trust,
                quiet=True,
                cleanup_on_error=False,
            )
    except UnsafeTemplateError as error:
        raise WrongUseError(
            f"{order.source} wants to run code on this machine, and you may not trust it. {error}",
            fix=_command(replace(plan, trust=True)),
        ) from error
    return set(worker.template.questions_data)


def _data(order: _Order) -> dict[str, str]:
    if order.template is None:
        return dict(order.answers)
    return {**order.answers, "template": order.template.name, "hackkit_version": VERSION}


def _command(plan: Plan, *options: str) -> str:
    """Write the command that makes this plan."""
    words = ["new", plan.template] if plan.template else ["new", "--example", plan.example]
    words.append(str(plan.directory))
    for key, value in plan.answers.items():
        words += ["--set", f"{key}={value}"]
    switches = {
        "--defaults": not plan.interactive,
        "--no-install": not plan.install,
        "--no-git": not plan.git,
        "--trust": plan.trust,
    }
    return hackkit(*words, *(name for name, on in switches.items() if on), *options)


def _first_commits(order: _Order) -> tuple[list[str], bool]:
    """Commit the untouched render, then lay an example's files over it and commit those.

    Returns what is worth saying, and whether there is a new repository.
    """
    directory = order.plan.directory
    notices: list[str] = []
    repository = False
    if order.plan.git:
        notices, repository = _repository(directory, f"Start from hackkit's {order.source}")
    if order.example:
        _overlay(order.example, directory)
        if repository:
            message = f"Add what makes it the example {order.example.name}"
            notices += _failed_commit(first_commit.commit(directory, message))
    return notices, repository


def _repository(directory: Path, message: str) -> tuple[list[str], bool]:
    if not first_commit.available():
        return ["git was not found: the project is not under version control yet."], False
    if first_commit.inside_repository(directory):
        return ["The folder is inside a git repository: nothing was committed."], False
    complaint = first_commit.create(directory)
    if complaint:
        return [f"git could not make a repository: {complaint}"], False
    notices = _failed_commit(first_commit.commit(directory, message))
    if not first_commit.knows_its_user(directory):
        notices.append(
            "git does not know you yet, so hackkit signed the first commit. Before your own: "
            'git config --global user.name "..." and git config --global user.email "..."'
        )
    return notices, True


def _failed_commit(complaint: str) -> list[str]:
    return [f"git could not commit: {complaint}"] if complaint else []


def _overlay(example: Example, directory: Path) -> None:
    for path in example.remove:
        (directory / path).unlink(missing_ok=True)
    shutil.copytree(example.folder, directory, dirs_exist_ok=True, ignore=_NOT_OVERLAID)


def _install(directory: Path, tell: Tell, *, repository: bool) -> list[str]:
    tell("Installing its packages")
    repeat = uv.typed("sync", "--directory", str(directory))
    try:
        installed = uv.succeeds(directory, "sync")
    except HackkitError as error:
        raise HackkitError(
            f"The project is in {directory}, without its packages. {error.problem}", fix=error.fix
        ) from error
    except KeyboardInterrupt:
        tell(f"Stopped. The project is in {directory}; its packages are not: {repeat}")
        raise
    if not installed:
        raise HackkitError(
            f"The project is in {directory}, but its packages could not be installed.", fix=repeat
        )
    if not repository:
        return []
    notices = []
    if (directory / "uv.lock").is_file():
        notices += _failed_commit(first_commit.commit(directory, "Lock the packages", "uv.lock"))
    if (directory / ".pre-commit-config.yaml").is_file():
        complaint = uv.quietly(directory, "run", "--no-sync", "pre-commit", "install")
        if complaint:
            notices.append(f"The secret scan does not run before commits yet: {complaint}")
    return notices


def _steps(directory: Path, *, installed: bool, repository: bool) -> tuple[str, ...]:
    steps = []
    if directory.resolve() != Path.cwd():
        steps.append(line(["cd", str(directory)]))
    if (directory / "pyproject.toml").is_file() and not installed:
        steps.append(uv.typed("sync"))
        if repository and (directory / ".pre-commit-config.yaml").is_file():
            steps.append(uv.typed("run", "pre-commit", "install"))
    if (directory / "app.py").is_file():
        steps.append(uv.typed("run", "app.py"))
    return tuple(steps)


@contextlib.contextmanager
def _all_or_nothing(directory: Path) -> Iterator[None]:
    """Leave the disk as it was when the block does not end well: the folder was empty or absent."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with _deaf_to_interrupts():
            for path in directory.iterdir() if directory.is_dir() else ():
                _delete(path)
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()
        raise


def _delete(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Windows refuses to delete what is read-only, as git's objects are.
    for item in path.rglob("*"):
        if os.name == "nt" and not item.is_symlink():
            item.chmod(stat.S_IWRITE)
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let an impatient second Ctrl-C wait until the cleaning is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
