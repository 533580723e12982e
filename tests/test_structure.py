"""Rules that no type checker holds: who imports whom, what loads when, what templates may hold."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from hackkit.catalog import Catalog, Template

SOURCE = ROOT / "src" / "hackkit"
TEMPLATES = ROOT / "templates"
# From the bottom up: a module imports only from the rows below its own.
LAYERS = (
    {"errors", "findings", "names", "packed", "shell", "shipping", "version"},
    {"addresses", "broken_builds", "catalog", "git", "leaks", "machine", "refusals", "space", "uv"},
    {"project", "repository", "web"},
    {"context", "interview", "live", "obstacles", "scaffold"},
    {"containers", "crashes", "hub", "indexes", "manifest", "orders", "pristine", "requirements"},
    {"delivery", "programs", "rehearsal", "space_name", "space_page"},
    {"dockerfiles", "imports", "platforms"},
    {"checks", "targets"},
    {"deploy", "doctor"},
    {"console"},
    {"deployment_screen"},
    {"cli"},
)
ENTRANCES = {"__init__", "__main__"}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files(module: str) -> list[Path]:
    """Return the one file of a module, or all of a package."""
    folder = SOURCE / module
    return sorted(folder.glob("*.py")) if folder.is_dir() else [SOURCE / f"{module}.py"]


def ours(path: Path) -> set[str]:
    """Names of hackkit's own modules that a file imports ("checks" for any module in there)."""
    known = set().union(*LAYERS) | ENTRANCES
    parts = [name.split(".") for name in imports(path)]
    return {part[1] for part in parts if part[0] == "hackkit" and len(part) > 1} & known


def test_every_module_has_its_place_in_the_layers() -> None:
    modules = {path.stem for path in SOURCE.glob("*.py")}
    modules |= {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert modules - ENTRANCES == set().union(*LAYERS)


@pytest.mark.parametrize("level", range(len(LAYERS)))
def test_imports_point_down_only(level: int) -> None:
    below = set().union(*LAYERS[:level])
    for module in LAYERS[level]:
        for path in files(module):
            used = ours(path) - ({module} if path.name == "__main__.py" else set())
            assert used <= below, f"{path.name} imports {used - below}"


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("copier", "scaffold"),
        ("dotenv", "project"),
        ("httpx2", "web"),
        ("huggingface_hub", "hub"),
        ("psutil", "machine"),
        ("rich", "console"),
    ],
)
def test_one_module_alone_knows(package: str, owner: str) -> None:
    users = {
        path.stem
        for path in SOURCE.rglob("*.py")
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert users == {owner}


def test_a_check_takes_its_facts_from_the_context() -> None:
    banned = ("os.environ", "os.getenv", "sys.platform", "Path.home", "Path.cwd", "time.time(")
    for path in (SOURCE / "checks").glob("*.py"):
        text = path.read_text("utf-8")
        assert not [word for word in banned if word in text], path.name


def test_no_module_is_named_after_nothing() -> None:
    banned = {"utils", "util", "helpers", "helper", "manager", "common"}
    folders = (SOURCE, TEMPLATES)
    stems = {path.stem for folder in folders for path in folder.rglob("*.py")}
    assert not stems & banned


@pytest.mark.parametrize(
    "words", [["--help"], ["new", "--help"], ["doctor", "--help"], ["--version"]]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from hackkit.cli import app\n"
        f"app({words!r}, standalone_mode=False)\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(result.stdout.split("LOADED")[1].split())
    # (pydantic is not among them: Typer itself reads a command's options with it.)
    heavy = {
        *("copier", "rich", "yaml", "jinja2", "pygments", "questionary", "tomllib"),
        *("httpx", "httpx2", "psutil", "dotenv", "ssl"),
    }
    assert not loaded & heavy


def test_what_is_shared_as_it_is_holds_nothing_that_jinja_reads() -> None:
    shared = [path for path in TEMPLATES.glob("_shared/**/*") if path.is_file()]
    as_it_is = [path for path in shared if path.suffix not in {".jinja", ".pyc"}]
    as_it_is += TEMPLATES.glob("_slots/**/*.py")
    assert as_it_is
    for path in as_it_is:
        assert not re.search(r"\{\{|\{%|\{#", path.read_text("utf-8")), path


def test_jinja_in_python_is_at_most_one_include() -> None:
    stub = re.compile(r'\{% include "_(slots|shared)/[^%]*" -%\}\n?')
    for path in TEMPLATES.glob("*/project/**/*.py.jinja"):
        assert stub.fullmatch(path.read_text("utf-8")), path


def test_no_file_name_in_a_template_holds_jinja() -> None:
    assert not [path for path in TEMPLATES.rglob("*") if "{" in path.name]


def test_no_tracked_text_names_this_machine() -> None:
    here = {str(ROOT), f"{Path.home()}/"}
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    ).stdout.split("\0")
    for name in filter(None, tracked):
        path = ROOT / name
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        assert not [place for place in here if place in text], name


@pytest.mark.parametrize("template", Catalog.here().templates, ids=lambda item: item.name)
def test_a_slot_has_one_default_in_both_of_its_places(template: Template) -> None:
    texts = [path.read_text("utf-8") for path in template.folder.glob("questions.yml")]
    texts += re.split("^---$", (TEMPLATES / "copier.yml").read_text("utf-8"), flags=re.MULTILINE)
    documents = (yaml.safe_load(text) for text in texts if "!include" not in text)
    questions = {key: value for document in documents for key, value in document.items()}
    for slot in template.slots:
        assert questions[slot.name]["default"] == slot.default
        assert slot.default in slot.values


@pytest.mark.parametrize("template", Catalog.here().templates, ids=lambda item: item.name)
def test_no_more_than_one_slot_is_asked_for(template: Template) -> None:
    assert sum(bool(slot.question) for slot in template.slots) <= 1


def test_every_slot_file_says_in_one_line_what_it_is() -> None:
    for template in Catalog.here().templates:
        for slot in template.slots:
            assert all(option.summary for option in slot.options)


def test_the_package_is_not_named_like_the_attack_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "hackkit-starter"
    assert project["scripts"] == {"hackkit": "hackkit.cli:main"}
    for path in (ROOT / "README.md", *TEMPLATES.rglob("*.md*")):
        assert not re.search(r"pip install\s+hackkit(?!-starter)", path.read_text("utf-8")), path
