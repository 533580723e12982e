"""Lists templates, their slots, and examples: their folders are the registry."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hackkit.errors import WrongUseError
from hackkit.project.lockfile import load_toml, package_name
from hackkit.system.command_line import hackkit


@dataclass(frozen=True)
class Option:
    """One value of a slot: a file, or the value that leaves the slot out."""

    name: str
    summary: str


@dataclass(frozen=True)
class Slot:
    """A choice between files, or an option that is in the project or not.

    `question` is empty for a slot that only a flag sets. `without` is the value that leaves the
    slot and its `files` out of the project; empty where a file must be chosen.
    """

    name: str
    default: str
    options: tuple[Option, ...]
    question: str = ""
    without: str = ""
    files: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(option.name for option in self.options)


@dataclass(frozen=True)
class Needs:
    """What a template's projects need; sizes in MB (10^6 bytes)."""

    disk_mb: int = 500
    memory_mb: int = 1000
    gpu: bool = False


@dataclass(frozen=True)
class Template:
    """A folder of templates/ with an about.toml; `lacks`: test steps that do not apply to it."""

    name: str
    summary: str
    order: int
    slots: tuple[Slot, ...]
    lacks: tuple[str, ...]
    folder: Path
    needs: Needs = Needs()


@dataclass(frozen=True)
class Example:
    """A finished project: a template, its answers, and what a team changed.

    `remove` lists files of the template to leave out; `settings` are defaults in settings.py.
    """

    name: str
    summary: str
    template: str
    answers: Mapping[str, str]
    remove: tuple[str, ...]
    settings: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Catalog:
    """The folders of templates and examples, read on demand."""

    templates_folder: Path
    examples_folder: Path

    @classmethod
    def here(cls) -> "Catalog":
        """Find the folders: inside an installed package, or at the root of a checkout."""
        package = Path(__file__).parents[1]
        if (package / "_templates").is_dir():
            return cls(package / "_templates", package / "_examples")
        root = package.parent.parent
        return cls(root / "templates", root / "examples")

    @cached_property
    def templates(self) -> tuple[Template, ...]:
        """All templates, in the order in which they are offered."""
        found = (self._read_template(path) for path in self.templates_folder.glob("*/about.toml"))
        return tuple(sorted(found, key=lambda template: (template.order, template.name)))

    @cached_property
    def examples(self) -> tuple[Example, ...]:
        return tuple(map(_read_example, sorted(self.examples_folder.glob("*/example.toml"))))

    def template(self, name: str) -> Template | None:
        """Return the template of that name; None for a folder or a Copier source.

        Raises WrongUseError, which lists the templates, for any other name.
        """
        for template in self.templates:
            if template.name == name:
                return template
        if _is_source(name):
            return None
        names = ", ".join(template.name for template in self.templates) or "none"
        raise WrongUseError(
            f'There is no template and no folder "{name}". Templates: {names}.',
            fix=hackkit("list"),
        )

    def example(self, name: str) -> Example:
        """Return the example of that name. Raises WrongUseError, which lists the examples."""
        for example in self.examples:
            if example.name == name:
                return example
        names = ", ".join(example.name for example in self.examples) or "none"
        raise WrongUseError(
            f'There is no example "{name}". Examples: {names}.', fix=hackkit("list")
        )

    def _read_template(self, about: Path) -> Template:
        content = load_toml(about)
        slots = (self._read_slot(*item) for item in content.get("slots", {}).items())
        return Template(
            name=about.parent.name,
            summary=content["summary"],
            order=content.get("order", 100),
            slots=tuple(slots),
            lacks=tuple(content.get("lacks", ())),
            folder=about.parent,
            needs=Needs(**content.get("needs", {})),
        )

    def _read_slot(self, name: str, about: Mapping[str, Any]) -> Slot:
        paths = sorted((self.templates_folder / "_slots" / name).glob("[!.]*"))
        options = [
            Option(path.stem if path.suffix in {".py", ".txt"} else path.name, _summary(path))
            for path in paths
            if path.is_file()
        ]
        # An option of whole files and folders needs no file of its own in _slots.
        if "summary" in about:
            options.append(Option("yes", about["summary"]))
        without = about.get("without", "")
        if without and without not in [option.name for option in options]:
            options.append(Option(without, "leave it out"))
        files = tuple(about.get("files", ()))
        return Slot(
            name, about["default"], tuple(options), about.get("question", ""), without, files
        )


def _is_source(name: str) -> bool:
    remote = name.startswith(("gh:", "gl:", "git+", "git@", "git://", "http://", "https://"))
    return remote or name.endswith((".git", ".bundle")) or Path(name).expanduser().is_dir()


def requirements(template: Template) -> frozenset[str]:
    """Return the packages that the template's projects may depend on."""
    files = [*(template.folder / "project").glob("pyproject.toml*")]
    for slot in template.slots:
        files += (template.folder.parent / "_slots" / slot.name).glob("*.py")
    text = "\n".join(path.read_text("utf-8") for path in files)
    quoted = re.findall(r"""["']([A-Za-z0-9][\w.-]*)(?:\[[\w, -]*\])?\s*[<>=!~;]""", text)
    slotted = re.findall(r"^# requires:\s*([A-Za-z0-9][\w.-]*)", text, re.MULTILINE)
    return frozenset(map(package_name, (*quoted, *slotted)))


def _read_example(about: Path) -> Example:
    content = load_toml(about)
    return Example(
        name=about.parent.name,
        summary=content["summary"],
        template=content["template"],
        answers={key: str(value) for key, value in content.get("answers", {}).items()},
        remove=tuple(content.get("remove", ())),
        settings=content.get("settings", {}),
        folder=about.parent,
    )


def _summary(path: Path) -> str:
    """Return the first line of a Python file's docstring, or of another file's text."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
