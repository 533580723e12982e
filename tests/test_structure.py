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

from hackkit.project.catalog import Catalog, Template

SOURCE = ROOT / "src" / "hackkit"
TEMPLATES = ROOT / "templates"
# From the bottom up. A room is a folder, or a file that is higher or lower than its folder. Its
# files import one another, and what is on the floors below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "version"),
    ("system",),
    ("network", "project"),
    ("services", "new", "doctor/findings", "doctor/package_indexes", "deploy/explain"),
    ("deploy", "doctor/checks"),
    ("deploy/rehearsal",),
    ("deploy/targets", "doctor"),
    ("deploy/publish",),
    ("screens", "completion"),
    ("cli",),
)
# Where Python itself comes in: the public API, and `python -m`.
ENTRANCES = {"__init__", "__main__", "doctor/checks/__main__"}
# Files of these rooms are found by looking into the folder: they know nothing of one another.
REGISTRIES = ("doctor/checks", "deploy/targets")


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules() -> dict[str, Path]:
    """Every module of hackkit as a path from its source folder ("deploy/targets/fly")."""
    paths = {path.relative_to(SOURCE).with_suffix(""): path for path in SOURCE.rglob("*.py")}
    named = {each.as_posix().removesuffix("/__init__"): path for each, path in paths.items()}
    assert len(named) > 80, "the source was not found"
    return named


def ours(path: Path) -> set[str]:
    """Those of hackkit's own modules that a file imports."""
    parts = (name.split(".") for name in imports(path))
    return {"/".join(part[1:]) for part in parts if part[0] == "hackkit"} & set(modules())


def room(module: str) -> str:
    """Return the room of a module: the longest name in the floors that it begins with."""
    rooms = (each for floor in FLOORS for each in floor if f"{module}/".startswith(f"{each}/"))
    return max(rooms, key=len, default="")


def floor(module: str) -> int:
    """Return the number of a module's floor, counted from the bottom."""
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_module_has_a_room_on_one_of_at_most_ten_floors() -> None:
    assert len(FLOORS) <= 10
    assert {module for module in modules() if not room(module)} == {"__init__", "__main__"}
    for each in (each for rooms in FLOORS for each in rooms):
        assert any(room(module) == each for module in modules()), f"{each} is empty"


def test_imports_point_down_only() -> None:
    upward = [
        f"{module} imports {other}"
        for module, path in modules().items()
        for other in sorted(ours(path) if module not in ENTRANCES else ())
        if room(other) != room(module) and floor(other) >= floor(module)
    ]
    assert upward == []


@pytest.mark.parametrize("registry", REGISTRIES)
def test_checks_and_targets_know_nothing_of_one_another(registry: str) -> None:
    inside = {each: path for each, path in modules().items() if each.startswith(f"{registry}/")}
    assert len(inside) > 5

    def entry(module: str) -> str:
        return module.removeprefix(f"{registry}/").split("/")[0]

    for module, path in inside.items():
        others = {other for other in ours(path) if other in inside} - ENTRANCES
        assert {entry(other) for other in others} <= {entry(module)}, module


def named_freely() -> list[str]:
    """Return the modules' own names; a check's name is its id, which users type."""
    free = (each for each in modules() if each not in ENTRANCES and room(each) != "doctor/checks")
    return [module.rsplit("/", 1)[-1] for module in free]


def test_no_two_modules_have_one_name() -> None:
    names = named_freely()
    # What a command does, and what it shows, have the command's name.
    assert {name for name in names if names.count(name) > 1} <= {"deploy", "doctor", "new"}


def test_no_module_has_the_name_of_one_of_pythons_own() -> None:
    assert not {"http", "secrets"} & set(named_freely())


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("copier", "new/scaffold"),
        ("dotenv", "project/files"),
        ("httpx2", "network/fetch"),
        ("huggingface_hub", "services/hub"),
        ("psutil", "system"),
        ("rich", "screens"),
        ("tomllib", "project/lockfile"),
    ],
)
def test_one_place_alone_knows_a_library(package: str, owner: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == package for name in imports(path))
    }
    assert users
    assert all(f"{user}/".startswith(f"{owner}/") for user in users), users


def test_a_check_takes_its_facts_from_the_context() -> None:
    banned = ("os.environ", "os.getenv", "sys.platform", "Path.home", "Path.cwd", "time.time(")
    checks = list((SOURCE / "doctor" / "checks").glob("*.py"))
    assert checks
    for path in checks:
        text = path.read_text("utf-8")
        assert not [word for word in banned if word in text], path.name


def test_a_printed_uv_command_is_typed_as_this_machine_starts_uv() -> None:
    by_hand = re.compile(r"""(?:=|return) ?f?["']uv (?:run|sync|add|lock|tool|pip) """)
    assert not [name for name, path in modules().items() if by_hand.search(path.read_text("utf-8"))]


def test_no_module_is_named_after_nothing() -> None:
    banned = {"utils", "util", "helpers", "helper", "manager", "common"}
    folders = (SOURCE, TEMPLATES)
    stems = {path.stem for folder in folders for path in folder.rglob("*.py")}
    assert len(stems) > 100
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
    stubs = list(TEMPLATES.glob("*/project/**/*.py.jinja"))
    assert stubs
    for path in stubs:
        assert stub.fullmatch(path.read_text("utf-8")), path


def test_no_file_name_in_a_template_holds_jinja() -> None:
    names = [path.name for path in TEMPLATES.rglob("*")]
    assert len(names) > 200
    assert not [name for name in names if "{" in name]


def test_no_tracked_text_names_this_machine() -> None:
    here = {str(ROOT), f"{Path.home()}/"}
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    ).stdout.split("\0")
    assert len(tracked) > 300, "git lists no files: is this a checkout?"
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
def test_the_files_of_a_slot_exist_and_some_value_leaves_them_out(template: Template) -> None:
    project = template.folder / "project"
    for slot in (slot for slot in template.slots if slot.files):
        assert slot.without, slot.name
        for name in slot.files:
            assert (project / name).exists() or (project / f"{name}.jinja").is_file(), name


@pytest.mark.parametrize("template", Catalog.here().templates, ids=lambda item: item.name)
def test_no_more_than_one_slot_is_asked_for(template: Template) -> None:
    assert sum(bool(slot.question) for slot in template.slots) <= 1


def test_every_slot_file_says_in_one_line_what_it_is() -> None:
    slots = [slot for template in Catalog.here().templates for slot in template.slots]
    assert all(slot.options for slot in slots)
    assert len(slots) > 5
    assert all(option.summary for slot in slots for option in slot.options)


def test_the_package_is_not_named_like_the_attack_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "hackkit-starter"
    assert project["scripts"] == dict.fromkeys(("hackkit", "hackkit-starter"), "hackkit.cli:main")
    for path in (ROOT / "README.md", *TEMPLATES.rglob("*.md*")):
        assert not re.search(r"pip install\s+hackkit(?!-starter)", path.read_text("utf-8")), path
