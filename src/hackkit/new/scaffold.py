"""Makes a project: new_project(), and the only module that uses Copier."""

import itertools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hackkit.errors import HackkitError, WrongUseError
from hackkit.new import examples, first_commit
from hackkit.new.placing import place, remove_leftovers, workshop
from hackkit.new.plan import Plan, Project
from hackkit.project.catalog import Catalog, Example, Template, requirements
from hackkit.project.files import create_env_file
from hackkit.project.names import slug
from hackkit.system import uv
from hackkit.system.command_line import HERE, hackkit, line
from hackkit.system.progress import Progress
from hackkit.version import VERSION

_LONGEST_NAME = 100
_NAMING = (
    ("git", "config", "--global", "user.name", "Your Name"),
    ("git", "config", "--global", "user.email", "you@example.org"),
)


@dataclass(frozen=True)
class _Resolved:
    """A plan with its names looked up: `template` is None for a third party's source."""

    plan: Plan
    source: str
    answers: Mapping[str, str]
    template: Template | None = None
    example: Example | None = None


def new_project(
    plan: Plan, progress: Progress = lambda _: None, catalog: Catalog | None = None
) -> Project:
    """Render, commit and install a project; return its folder and the next commands.

    `progress` gets a line at each step. Raises WrongUseError before anything is written, and
    HackkitError when rendering fails (then nothing is left) or installing (the project stays).
    """
    _refuse_taken(plan)
    resolved = _look_up(plan, catalog or Catalog.here())
    with workshop(plan.directory) as made:
        progress(f"Writing {resolved.example.name if resolved.example else resolved.source}")
        _render(resolved, made)
        notices, repository = _first_commits(resolved, made)
        create_env_file(made)
        try:
            place(made, plan.directory)
        except FileExistsError:
            _refuse_taken(plan)
            raise
    env_file = create_env_file(plan.directory)  # names it
    installable = plan.install and (plan.directory / "pyproject.toml").is_file()
    if installable:
        notices += _install(plan.directory, progress, repository=repository)
    commands = _next_commands(plan.directory, installed=installable, repository=repository)
    return Project(plan.directory, commands, tuple(notices), env_file)


def _refuse_taken(plan: Plan) -> None:
    directory = plan.directory
    remove_leftovers(directory)
    if not os.path.lexists(directory) or (directory.is_dir() and not any(directory.iterdir())):
        return
    what = "is not empty" if directory.is_dir() else "is not a folder"
    raise WrongUseError(
        f"{directory} exists and {what}. Nothing was changed.",
        fix=_command(replace(plan, directory=_free_name(directory))),
    )


def _free_name(taken: Path) -> Path:
    """Return a free folder beside the taken one: its name with the next number."""
    base = taken.resolve() if taken.name in {"", ".."} else taken
    names = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    return next(path for path in names if not os.path.lexists(path))


def _look_up(plan: Plan, catalog: Catalog) -> _Resolved:
    example = catalog.example(plan.example) if plan.example else None
    answers = {**(example.answers if example else {}), **plan.answers}
    template = catalog.template(example.template if example else plan.template)
    if template is None:
        return _Resolved(plan, plan.template, answers)
    return _Resolved(plan, template.name, _checked(plan, template, answers), template, example)


def _checked(plan: Plan, template: Template, given: Mapping[str, str]) -> dict[str, str]:
    """Return all answers for a built-in template; raise WrongUseError for a wrong key or value."""
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
    # A project named like one of its dependencies would hide that dependency.
    if short in requirements(template):
        short += "-app"
    return {"project_name": name, "project_slug": short}


def _questions(template: Template) -> set[str]:
    """Return the names of the questions that a flag may answer, without those for slots."""
    import yaml  # noqa: PLC0415 - only `new` needs it

    class Loader(yaml.SafeLoader):
        """Reads a template's questions, and skips the files that they include."""

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


def _render(resolved: _Resolved, folder: Path) -> None:
    plan = resolved.plan
    try:
        with first_commit.without_git_variables():
            known = _run_copier(resolved, folder)
    except HackkitError:
        raise
    # A template can run any code, and raise any error.
    except Exception as error:
        raise HackkitError(
            f"{resolved.source} could not be written: {_named(error, folder, plan.directory)}",
            fix=_command(plan, "--debug"),
        ) from error
    unknown = resolved.answers.keys() - known
    if resolved.template is None and unknown:
        # Copier silently accepts answers to questions that the template does not have.
        raise WrongUseError(
            f'{resolved.source} has no setting "{unknown.pop()}". '
            f"Settings: {', '.join(sorted(known)) or 'none'}.",
            fix=_command(replace(plan, answers={})),
        )


def _named(error: Exception, folder: Path, directory: Path) -> str:
    """Return an error's text with the project's folder in place of the temporary one."""
    return str(error).replace(str(folder), str(directory))


def _run_copier(resolved: _Resolved, folder: Path) -> set[str]:
    """Render, and return the names of the template's questions."""
    from copier import run_copy  # noqa: PLC0415 - its import is slower than all the rest
    from copier.errors import UnsafeTemplateError  # noqa: PLC0415 - the same

    plan = resolved.plan
    try:
        with warnings.catch_warnings():
            # Copier warns about a template folder with uncommitted changes, and uses them.
            warnings.simplefilter("ignore")
            worker = run_copy(
                str(resolved.template.folder.parent if resolved.template else resolved.source),
                folder,
                data=_data(resolved),
                defaults=not plan.interactive,
                unsafe=plan.trust,
                quiet=True,
                cleanup_on_error=False,
            )
    except UnsafeTemplateError as error:
        raise WrongUseError(
            f"{resolved.source} runs code on this machine: allow it only if you trust it. {error}",
            fix=_command(replace(plan, trust=True)),
        ) from error
    return set(worker.template.questions_data)


def _data(resolved: _Resolved) -> dict[str, str]:
    if resolved.template is None:
        return dict(resolved.answers)
    return {**resolved.answers, "template": resolved.template.name, "hackkit_version": VERSION}


def _command(plan: Plan, *options: str) -> str:
    """Write the command for this plan."""
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


def _first_commits(resolved: _Resolved, folder: Path) -> tuple[list[str], bool]:
    """Commit the untouched render, then put an example over it and commit that.

    Returns the notices, and whether there is a new repository.
    """
    notices: list[str] = []
    repository = False
    if resolved.plan.git:
        if first_commit.available() and first_commit.inside_repository(resolved.plan.directory):
            notices = ["The folder is inside a git repository: nothing was committed."]
        else:
            notices, repository = _repository(folder, f"Start from hackkit's {resolved.source}")
    if resolved.example:
        examples.put_over(resolved.example, folder)
        if repository:
            message = f"Add the files of the example {resolved.example.name}"
            notices += _failed_commit(first_commit.commit(folder, message))
    return notices, repository


def _repository(directory: Path, message: str) -> tuple[list[str], bool]:
    if not first_commit.available():
        return ["git was not found: the project is not under version control yet."], False
    error = first_commit.create(directory)
    if error:
        return [f"git could not make a repository: {error}"], False
    notices = _failed_commit(first_commit.commit(directory, message))
    if not first_commit.has_user(directory):
        notices.append(
            "git has no user name and e-mail, so the first commit is in hackkit's name. "
            f"Fix: {HERE.then(*map(line, _NAMING))}"
        )
    return notices, True


def _failed_commit(error: str) -> list[str]:
    return [f"git could not commit: {error}"] if error else []


def _install(directory: Path, progress: Progress, *, repository: bool) -> list[str]:
    progress("Installing its packages")
    repeat = uv.typed("sync", "--directory", str(directory))
    try:
        installed = uv.succeeds(directory, "sync")
    except HackkitError as error:
        raise HackkitError(
            f"The project is in {directory}, without its packages. {error.problem}", fix=error.fix
        ) from error
    except KeyboardInterrupt:
        progress(f"Stopped. The project is in {directory}; its packages are not: {repeat}")
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
        failed = uv.quietly(directory, "run", "--no-sync", "pre-commit", "install")
        if failed:
            notices.append(f"The secret scan before each commit is not installed: {failed}")
    return notices


def _next_commands(directory: Path, *, installed: bool, repository: bool) -> tuple[str, ...]:
    commands = []
    if directory.resolve() != Path.cwd():
        commands.append(line(["cd", str(directory)]))
    if (directory / "pyproject.toml").is_file() and not installed:
        commands.append(uv.typed("sync"))
        if repository and (directory / ".pre-commit-config.yaml").is_file():
            commands.append(uv.typed("run", "pre-commit", "install"))
    if (directory / "app.py").is_file():
        commands.append(uv.typed("run", "app.py"))
    return tuple(commands)
