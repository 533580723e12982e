"""Asks for what the command line of `hackkit new` left open: at most three questions."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hackkit.errors import WrongUseError
from hackkit.new.plan import Plan
from hackkit.project.catalog import Catalog, Option, Slot, Template
from hackkit.project.names import slug
from hackkit.system.command_line import hackkit

_NAME = "my-app"
_MOST_QUESTIONS = 3
_PATH = re.compile(r"[/\\]|^~|^\.{1,2}$|^[A-Za-z]:")  # what is typed is a folder, not a name


@dataclass(frozen=True)
class Question:
    """One short question; `options` is empty for free text."""

    text: str
    default: str
    options: tuple[Option, ...] = ()


Ask = Callable[[Question], str]


@dataclass(frozen=True)
class NewRequest:
    """The command line of `hackkit new`: its two arguments, the example, the answers given.

    `checkout` is the folder of hackkit's own repository, where it runs from one.
    """

    template: str = ""
    directory: str = ""
    example: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    defaults: bool = False
    checkout: Path | None = None


def plan_from(request: NewRequest, catalog: Catalog, ask: Ask | None) -> Plan:
    """Turn a request into a plan, by asking at most three questions.

    Without a terminal (`ask` is None) the request needs --defaults or every answer: else it raises
    WrongUseError, which names what is missing.
    """
    if request.example:
        return _example(request, catalog)
    questions = _Questions(request, None if request.defaults else ask)
    name = request.template or questions.template(catalog)
    builtin = catalog.template(name)
    directory, answers = questions.directory(name, dict(request.answers))
    if builtin:
        answers |= questions.slots(builtin, answers, str(directory))
    elif not request.defaults and ask is None:
        raise WrongUseError(
            f"{name} may ask its own questions, and there is no terminal.",
            fix=hackkit("new", name, str(directory), "--defaults"),
        )
    interactive = builtin is None and questions.ask is not None
    return Plan(directory, template=name, answers=answers, interactive=interactive)


@dataclass
class _Questions:
    """Asks, counts, and takes the defaults once three questions were asked."""

    request: NewRequest
    ask: Ask | None
    asked: int = 0

    def put(self, question: Question) -> str | None:
        """Return the answer or the default; None when there is no terminal to ask on."""
        if self.request.defaults or self.asked >= _MOST_QUESTIONS:
            return question.default
        if self.ask is None:
            return None
        self.asked += 1
        return self.ask(question)

    def template(self, catalog: Catalog) -> str:
        options = tuple(Option(item.name, item.summary) for item in catalog.templates)
        if not options:
            raise WrongUseError("No template was given, and this hackkit has none.")
        answer = self.put(Question("Template", options[0].name, options))
        if answer is None:
            raise WrongUseError(
                "No template was given, and there is no terminal to ask for it. "
                f"Templates: {', '.join(option.name for option in options)}.",
                fix=hackkit("new", options[0].name, _NAME, "--defaults"),
            )
        return answer

    def directory(self, template: str, answers: dict[str, str]) -> tuple[Path, dict[str, str]]:
        if self.request.directory:
            return Path(self.request.directory), answers
        name = self.put(Question("Project name or folder", _proposed(self.request.checkout)))
        if name is None:
            raise WrongUseError(
                "No folder was given for the project, and there is no terminal to ask for it.",
                fix=hackkit("new", template, _NAME, "--defaults"),
            )
        if _PATH.search(name):
            return Path(name).expanduser(), answers
        return Path(slug(name)), {"project_name": name, **answers}

    def slots(self, template: Template, given: Mapping[str, str], directory: str) -> dict[str, str]:
        answers: dict[str, str] = {}
        open_slots = [slot for slot in template.slots if slot.question and slot.name not in given]
        for slot in open_slots:
            answer = self.put(Question(slot.question, slot.default, slot.options))
            if answer is None:
                raise _unanswered(template, open_slots, directory)
            answers[slot.name] = answer
        return answers


def _proposed(checkout: Path | None) -> str:
    """Return a name, or a folder outside of hackkit's own checkout when that is the current one."""
    here = Path.cwd()
    if checkout is None or not here.is_relative_to(checkout):
        return _NAME
    return os.path.relpath(checkout.parent / _NAME, here)


def _unanswered(template: Template, slots: list[Slot], directory: str) -> WrongUseError:
    missing = "; ".join(f"{slot.name} ({', '.join(slot.values)})" for slot in slots)
    return WrongUseError(
        f"Not set, and there is no terminal to ask for: {missing}.",
        fix=hackkit("new", template.name, directory, "--defaults"),
    )


def _example(request: NewRequest, catalog: Catalog) -> Plan:
    example = catalog.example(request.example)
    # `hackkit new --example NAME DIRECTORY`: the only argument is the folder.
    words = [word for word in (request.template, request.directory) if word]
    if len(words) > 1:
        raise WrongUseError(
            f"The example {example.name} brings its own template: name only the folder.",
            fix=hackkit("new", "--example", example.name, words[-1]),
        )
    directory = Path(words[0]) if words else Path(example.name)
    return Plan(directory, example=example.name, answers=dict(request.answers))


def with_options(plan: Plan, *, install: bool, git: bool, trust: bool) -> Plan:
    """Return the plan with the switches of the command line."""
    return replace(plan, install=install, git=git, trust=trust)
