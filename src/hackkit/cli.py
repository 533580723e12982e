"""The command line: parse, call one function, show, exit."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer

from hackkit import completion
from hackkit.errors import HackkitError, WrongUseError
from hackkit.new.questions import NewRequest, plan_from, with_options
from hackkit.new.scaffold import new_project
from hackkit.project.catalog import Catalog
from hackkit.screens import console
from hackkit.screens import new as new_screen
from hackkit.system import uv
from hackkit.system.command_line import Start, hackkit, program
from hackkit.version import VERSION

INTERRUPTED = 130
_P = ParamSpec("_P")
_HACKKIT = hackkit()  # as it was started: "hackkit", "uvx hackkit-starter", ...

app = typer.Typer(
    name="hackkit",
    # Rich's help costs as much time as all the rest of `--help`.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _as_started(command: Callable[_P, None]) -> Callable[_P, None]:
    """Write the example of a command's help as hackkit was started."""
    command.__doc__ = (command.__doc__ or "").replace("Example: hackkit", f"Example: {_HACKKIT}")
    return command


def _version(value: bool) -> None:
    if value:
        typer.echo(f"hackkit {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@_as_started
def root(
    context: typer.Context,
    _debug: Debug = False,
    _shown: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """From nothing to a Mistral app that answers, in one command.

    Example: hackkit new rag-app my-app --start
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(WrongUseError.exit_code)


@app.command()
@_as_started
def new(
    template: Annotated[
        str,
        typer.Argument(
            metavar="TEMPLATE",
            help=f"A name from `{_HACKKIT} list`, a folder or a Copier source.",
            autocompletion=completion.templates,
        ),
    ] = "",
    directory: Annotated[
        str, typer.Argument(metavar="DIRECTORY", help="The folder to make, new or empty.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set an answer, such as store=qdrant."),
    ] = None,
    example: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Make this finished example instead.",
            autocompletion=completion.examples,
        ),
    ] = "",
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing, take the defaults.")
    ] = False,
    start: Annotated[bool, typer.Option("--start", help="Start the app afterwards.")] = False,
    no_install: Annotated[
        bool, typer.Option("--no-install", help="Do not install the packages.")
    ] = False,
    no_git: Annotated[bool, typer.Option("--no-git", help="Make no git repository.")] = False,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let a third-party template run its code.")
    ] = False,
    _debug: Debug = False,
) -> None:
    """Make a new project: an app that runs, its tests, its first commit.

    Example: hackkit new rag-app my-app --start
    """
    answers, checkout = _answers(settings or []), Start.here().checkout
    request = NewRequest(template, directory, example, answers, defaults, checkout)
    plan = plan_from(request, Catalog.here(), new_screen.ask if console.is_interactive() else None)
    plan = with_options(plan, install=not no_install, git=not no_git, trust=trust)
    project = new_project(plan, console.say)
    new_screen.show_project(project, starting=start)
    if start:
        raise typer.Exit(uv.foreground(project.directory, "run", "app.py"))


@app.command(name="list")
@_as_started
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    _debug: Debug = False,
) -> None:
    """List the templates, their settings and the examples.

    Example: hackkit list --json
    """
    new_screen.show_catalog(Catalog.here(), as_json=as_json)


@app.command()
@_as_started
def doctor(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="A project, or any folder in it.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Skip what needs the network.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Run only this check; may be repeated.",
            autocompletion=completion.checks,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Skip this check; may be repeated.",
            autocompletion=completion.checks,
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 on a warning, too.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show every detail.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what is safe to repair, one by one.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Repair without asking.")] = False,
    _debug: Debug = False,
) -> None:
    """Check this machine and project; each problem comes with its fix.

    Exits with 0 when no check and no repair fails, 1 when one does, 2 when one could not look.

    Example: hackkit doctor --fix
    """
    from hackkit.doctor.diagnose import Choice, diagnose  # noqa: PLC0415 - the other commands start without it
    from hackkit.doctor.repair import Repaired, repair  # noqa: PLC0415 - the same
    from hackkit.project.context import Context  # noqa: PLC0415 - the same
    from hackkit.screens import doctor as screen  # noqa: PLC0415 - the same

    def facts() -> Context:
        return Context.here(directory, offline=offline)

    try:
        _refuse_fixing(directory, fix=fix, yes=yes)
        context = facts()
    except OSError as error:  # a folder that is gone, or not ours to read
        raise WrongUseError(_readable(error).problem, fix=_readable(error).fix) from error
    with screen.watching() as progress:
        report = diagnose(context, Choice(_ids(only), _ids(skip)), progress)
    repairs: tuple[Repaired, ...] = ()
    if fix:
        report, repairs = repair(report, facts, console.say_and_go if yes else console.confirm)
        screen.show_repairs(repairs, report)
    screen.show_report(report, context, as_json=as_json, verbose=verbose)
    failed = any(each.error for each in repairs)
    raise typer.Exit(report.exit_code(strict=strict) or int(failed))


def _ids(options: list[str] | None) -> list[str]:
    """Return the ids of `--only a --only b` and of `--only a,b`."""
    words = [word.strip() for option in options or () for word in option.split(",")]
    return [word for word in words if word]


def _refuse_fixing(directory: Path, *, fix: bool, yes: bool) -> None:
    """Raise WrongUseError for options that contradict each other, before any check runs."""
    if not directory.is_dir():
        raise WrongUseError(f"There is no folder {directory}.", fix=hackkit("doctor"))
    if yes and not fix:
        raise WrongUseError("--yes goes with --fix.", fix=hackkit("doctor", "--fix", "--yes"))
    if fix and not yes and not console.is_interactive():
        raise WrongUseError(
            "--fix needs --yes when there is no terminal.",
            fix=hackkit("doctor", str(directory), "--fix", "--yes"),
        )


@app.command()
@_as_started
def deploy(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help=f"A name from `{_HACKKIT} deploy --list`.",
            autocompletion=completion.targets,
        ),
    ] = "",
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="A project, or any folder in it.")
    ] = Path(),
    list_targets: Annotated[bool, typer.Option("--list", help="List the targets.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and change nothing.")
    ] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Try the deployment on this machine, send nothing.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Show whether the app runs.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Show the app's last log lines.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Remove the deployment.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    space: Annotated[str, typer.Option(metavar="OWNER/NAME", help="spaces: which Space.")] = "",
    name: Annotated[str, typer.Option(metavar="NAME", help="The service's name.")] = "",
    hardware: Annotated[str, typer.Option(metavar="NAME", help="spaces: its hardware.")] = "",
    region: Annotated[str, typer.Option(metavar="NAME", help="Where it runs.")] = "",
    public: Annotated[bool, typer.Option("--public", help="spaces: visible to everybody.")] = False,
    _debug: Debug = False,
) -> None:
    """Deploy the project, wait until it answers, and print its address.

    Sends only files that git tracks, and none that contains a secret. Keys go to the platform by
    its API. Without --yes it asks before it sends anything.

    Example: hackkit deploy spaces --rehearse
    """
    from hackkit.deploy.manifest import Options  # noqa: PLC0415 - the same
    from hackkit.deploy.publish import carry_out, request_for  # noqa: PLC0415 - the same
    from hackkit.deploy.targets import all_targets, find_target  # noqa: PLC0415 - the same
    from hackkit.screens import deploy as screen  # noqa: PLC0415 - others start without it

    if list_targets:
        screen.show_targets(all_targets(), as_json=as_json)
        raise typer.Exit
    chosen = find_target(target)
    mode = _mode(dry_run=dry_run, rehearse=rehearse, status=status, logs=logs, down=down)
    request = request_for(directory, Options(space, name, hardware, region, public=public, yes=yes))
    outcome = carry_out(mode, chosen, request, screen.prompter(yes=yes))
    screen.show_outcome(outcome, as_json=as_json)
    raise typer.Exit(0 if outcome.ok else 1)


def _mode(**options: bool) -> str:
    """Return the option that was given, or nothing; raise WrongUseError for two of them."""
    wanted = [name.replace("_", "-") for name, given in options.items() if given]
    if len(wanted) > 1:
        names = " and ".join(f"--{name}" for name in wanted)
        raise WrongUseError(f"{names} do not go together.", fix=hackkit("deploy", "--help"))
    return wanted[0] if wanted else ""


def main() -> NoReturn:
    """Run the command line: the only place that turns errors into messages and exit codes."""
    # A closed terminal and SIGTERM clean up as Ctrl-C does.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    for stream in (sys.stdout, sys.stderr):
        # Names may contain characters that the terminal's encoding does not have.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = app(prog_name=program(), standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        code = _report(error)
    if code == INTERRUPTED and "--json" in sys.argv:
        console.show_error(HackkitError("Interrupted."), as_json=True)
    sys.exit(code)


class _CrashError(HackkitError):
    exit_code = 2  # the question has no answer


def _report(error: Exception) -> int:
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        words = context.command_path.split()[1:] if context else []
        error = WrongUseError(error.format_message(), fix=hackkit(*words, "--help"))
    elif isinstance(error, OSError):
        error = _readable(error)
    elif not isinstance(error, HackkitError):
        from hackkit.project.leaks import scrub, secrets_among  # noqa: PLC0415 - only a crash needs it

        message = scrub(str(error), secrets_among(os.environ))
        problem = f"hackkit crashed (unexpected {type(error).__name__}: {message})."
        error = _CrashError(problem, fix=hackkit(*sys.argv[1:], "--debug"))
    console.show_error(error, as_json="--json" in sys.argv)
    return error.exit_code


def _readable(error: OSError) -> HackkitError:
    """Say what the system refused, without its error number."""
    if isinstance(error, FileNotFoundError) and not error.filename:
        return HackkitError("The current folder does not exist any more.", fix="cd ~")
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return HackkitError(f"{what}.")


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _answers(settings: list[str]) -> dict[str, str]:
    answers = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip() or key.startswith("_"):
            raise WrongUseError(
                f'"{setting}" does not have the form KEY=VALUE.', fix=hackkit("new", "--help")
            )
        answers[key.strip()] = value.strip()
    return answers
