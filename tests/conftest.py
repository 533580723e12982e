"""What the tests share: the command as a user runs it, and a small template to run it on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from hackkit.project.catalog import Catalog

if TYPE_CHECKING:
    from tuning import Tuner

ROOT = Path(__file__).resolve().parent.parent
Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]
MOST_WORKERS = 4  # a worker may have an app, a browser or a model in memory
# These take longest: started last, one would keep one worker busy while the others have ended. The
# fine-tune ones follow each other, so that one worker makes the project that they share.
FIRST = (
    *("test_matrix", "test_fine_tune", "test_fine_tune_in_a_browser"),
    *("test_fine_tune_serve", "test_fine_tune_cloud"),
)

# A test decides these itself; what the machine happens to have set must not matter.
_UNSET = {
    "HOST",
    "LLM_API_KEY",
    "LLM_BASE_URL",
    "MISTRAL_API_KEY",
    "NO_COLOR",
    "PORT",
    "UV_NO_SYNC",
    "UV_RUN_RECURSION_DEPTH",  # the tests themselves may be run by `uv run`
}


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite in a process for each core, and single files in this one."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(os.cpu_count() or 1, MOST_WORKERS) if whole else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest modules first, then the other slow tests; modules stay together."""
    slow = {each.path for each in items if each.get_closest_marker("slow")}

    def turn(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST), item.path not in slow

    items.sort(key=turn)


def lacking(reason: str) -> NoReturn:
    """Skip a test for want of a tool; fail it where every tool must be there, as in .ci/run."""
    if os.environ.get("HACKKIT_SKIP_NOTHING"):
        pytest.fail(reason)
    pytest.skip(reason)


def clean_environment() -> dict[str, str]:
    """Return this machine's environment without what would change a test's outcome."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in _UNSET and not key.startswith("GIT_")
    }


@pytest.fixture
def hackkit(tmp_path: Path) -> Run:
    """Run `hackkit` in an empty folder, without a terminal."""

    def run(*words: str | Path, env: Mapping[str, str] | None = None, **options: object) -> Result:
        settings: dict[str, object] = {"cwd": tmp_path, "stdin": subprocess.DEVNULL, "timeout": 300}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [sys.executable, "-m", "hackkit", *map(str, words)],
            env={**clean_environment(), **(env or {})},
            capture_output=True,
            encoding="utf-8",
            check=False,
            **(settings | options),
        )

    return run


@pytest.fixture
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy hackkit and its real templates to where a test may add to them."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("src", "templates", "examples"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".*cache", "__py*"))
    return root


@pytest.fixture
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Make a catalog of one small template, `tiny`, with one slot, `colour`."""
    templates = tmp_path_factory.mktemp("kit") / "templates"
    write(templates / "copier.yml", (ROOT / "templates" / "copier.yml").read_text("utf-8"))
    shutil.copytree(ROOT / "templates" / "_slots" / "license", templates / "_slots" / "license")
    write(templates / "_slots" / "colour" / "red.py", '"""Red as a rose."""\n\nCOLOUR = "red"\n')
    write(templates / "_slots" / "colour" / "blue.py", '"""Blue as ink."""\n\nCOLOUR = "blue"\n')
    add_template(templates, "tiny", slots={"colour": "red"})
    return Catalog(templates, templates.parent / "examples")


@pytest.fixture(scope="session")
def tuner(tmp_path_factory: pytest.TempPathFactory) -> "Tuner":
    """Make a fine-tune project that can train, once for all tests that need one."""
    import tuning  # noqa: PLC0415 - it imports this file

    options = [f"--set={name}=yes" for name in ("gguf", "cloud", "serve")]
    return tuning.made(tmp_path_factory.mktemp("tuner") / "tune", "fine-tune", *options)


@pytest.fixture(scope="session")
def rehearsed(tuner: "Tuner") -> dict[str, Any]:
    """Rehearse once in that project; return what the rehearsal says of itself."""
    said: dict[str, Any] = json.loads(tuner.must("python", "-m", "tune", "rehearse", "--json"))
    return said


def add_template(templates: Path, name: str, slots: Mapping[str, str]) -> Path:
    """Write a template with these slots and their defaults; return its project folder."""
    about, questions = [f'summary = "A template named {name}."'], []
    for slot, default in slots.items():
        about += [f"[slots.{slot}]", f'default = "{default}"', f'question = "Which {slot}"']
        questions += [f"{slot}:", "  type: str", f"  default: {default}"]
    write(templates / name / "about.toml", "\n".join(about))
    write(templates / name / "questions.yml", "\n".join(questions))
    project = templates / name / "project"
    answers = "{{ _copier_answers | to_nice_yaml }}"
    write(project / ".hackkit.yml.jinja", answers)
    write(project / "README.md.jinja", "# {{ project_name }} ({{ project_slug }})\n")
    write(project / ".gitignore", ".env\n.venv/\n")
    write(project / ".env.example", "MISTRAL_API_KEY=\n")
    for slot in slots:
        stub = f'{{% include "_slots/{slot}/" ~ {slot} ~ ".py" -%}}\n'
        write(project / f"{slot}.py.jinja", stub)
    return project


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def files(folder: Path) -> Sequence[str]:
    """List the files below a folder, but git's own."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if path.parts[0] != ".git")


def git(folder: Path, *words: str) -> str:
    """Run git and return what it printed."""
    return subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, encoding="utf-8", check=True
    ).stdout.strip()
