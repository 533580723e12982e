"""Compares base, tuned and a well-prompted model on examples that none was trained on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from tune import dataset, inference, local, metrics, models, prompts, report, runs, tokens
from tune.dataset import Example, Message
from tune.errors import TuneError, need_loading
from tune.generate import Generator, Reply, TooLong, UnsupportedMessages
from tune.metrics import Scores, counted, decide, interval, signed
from tune.report import BASE, PROMPTED, TUNED, Evaluation, Sample, System
from tune.runs import Run
from tune.settings import SETTINGS, Settings, named
from tune.validate import held_out

OnProgress = Callable[[str, int, int], None]  # the system, questions answered, all questions

KEPT = 500  # examples whose answers are saved in full


@dataclass(frozen=True)
class Asked:
    """The examples, and each system's answers: fewer than examples if it failed."""

    rows: Sequence[Example]
    replies: dict[str, Sequence[Reply]]
    labels: dict[str, str]
    notes: tuple[str, ...] = ()


def evaluate(
    run: Run,
    settings: Settings = SETTINGS,
    rows: int = 0,
    api_rows: int = 60,
    on_progress: OnProgress = lambda who, done, rows: None,
) -> Evaluation:
    """Ask all models the same questions, and write the run's evaluation and its report.

    `rows`: a random sample of the test file, 0 for all; `api_rows`: for the well-prompted model.
    Answers are saved one by one, so that a second try continues.
    """
    need_loading()
    asked = _ask_here(run, settings, on_progress, *held_out(run, settings, rows))
    asked = _ask_api(asked, settings, api_rows, partial(on_progress, PROMPTED))
    about = settings.model_dump(include={"max_tokens", "temperature"})
    about["test_file"] = named(settings.test)
    found = replace(compare(asked), run=run.name, settings=about)
    runs.write_whole(run.evaluation, report.to_json(found))
    runs.write_whole(run.report, report.to_html(found))
    return found


def _ask_here(
    run: Run, settings: Settings, on_progress: OnProgress, rows: list[Example], notes: list[str]
) -> Asked:
    """The answers of both models on this machine; they are loaded only if one is missing."""
    base, four_bit = models.find(run.record.base), local.in_4_bits(run)
    pair = cache(partial(local.load_run, run, settings, four_bit))
    saved = Saved(run.folder / "answers.jsonl", settings)
    how = [base.source, local.edition(base.source), four_bit, tokens.training_template()]
    here = [*how, local.edition(str(run.folder))]
    tuned = saved.answers(rows, [TUNED, *here], lambda: pair().tuned, partial(on_progress, TUNED))
    plain = saved.answers(rows, [BASE, *how], lambda: pair().base, partial(on_progress, BASE))
    name = "tiny model" if base.tiny else base.name
    labels = {BASE: f"{name}, random weights" if base.tiny else name}
    labels[TUNED] = f"{name}, tuned ({run.record.method})"
    if four_bit:
        notes = [*notes, "Both models ran in 4 bits: 16 bits did not fit into the GPU's memory."]
    return Asked(rows, {BASE: plain, TUNED: tuned}, labels, tuple(notes))


def _ask_api(
    asked: Asked, settings: Settings, most: int, on_progress: Callable[[int, int], None]
) -> Asked:
    """Add a well-prompted API model's answers, if there is a key. A failure only ends them."""
    if not most or not (api := inference.api(settings)):
        return asked
    api = api.model_copy(update={"patience": 6 * api.patience})  # no visitor waits here
    saved, shown = Saved(settings.runs / "prompted.jsonl", settings), dataset.load(settings.train)
    name, rows, notes, replies = api.api_model, asked.rows[:most], asked.notes, list[Reply]()
    try:
        for row in rows:
            messages = prompts.well_prompted(prompts.with_system(row.question), shown)
            ask = partial(inference.say, messages, api)
            replies.append(saved.answer(messages, name, ask))
            on_progress(len(replies), len(rows))
    except Exception as error:  # no network error may cost an hour of evaluation
        notes += (f"{name} answered {len(replies)} of {len(rows)}, then failed: {error}",)
    found = {PROMPTED: replies} if replies else {}
    label = f"{name}, prompted with {min(len(shown), prompts.SHOTS)} examples"
    return Asked(asked.rows, asked.replies | found, asked.labels | {PROMPTED: label}, notes)


def compare(asked: Asked) -> Evaluation:
    """Score the answers and decide the verdict. Needs no model."""
    expected = [row.answer for row in asked.rows]
    scores = {
        who: metrics.score(expected[: len(given)], [reply.text for reply in given])
        for who, given in asked.replies.items()
    }
    headline, because = metrics.headline(expected)
    differences = {name: each - scores[BASE][name] for name, each in scores[TUNED].items()}
    ahead = differences[headline]
    notes = (*metrics.doubts(ahead), *_oddities(asked), *asked.notes)
    return Evaluation(
        run="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=len(asked.rows),
        verdict=decide(ahead),
        headline=headline,
        because=because,
        why=metrics.sentence(headline, scores[TUNED][headline], scores[BASE][headline]),
        notes=(*notes, _beside_prompted(asked, scores, headline)),
        systems={who: _system(asked, who, scores[who]) for who in asked.replies},
        differences={name: interval(each) for name, each in differences.items()},
        samples=tuple(_samples(asked, scores, headline)),
    )


def _system(asked: Asked, who: str, scores: Scores) -> System:
    given, figures = asked.replies[who], {name: interval(each) for name, each in scores.items()}
    seconds, cut = interval([reply.seconds for reply in given]), sum(reply.cut for reply in given)
    return System(asked.labels[who], len(given), figures, seconds, cut)


def _samples(asked: Asked, scores: Mapping[str, Scores], headline: str) -> Iterator[Sample]:
    for index, row in enumerate(asked.rows[:KEPT]):
        given = {who: all_[index] for who, all_ in asked.replies.items() if index < len(all_)}
        yield Sample(
            line=row.line,
            question=tuple(row.question),
            expected=row.answer,
            answers={who: reply.text for who, reply in given.items()},
            scores={who: round(float(scores[who][headline][index]), 1) for who in given},
        )


def _oddities(asked: Asked) -> Iterator[str]:
    """Warnings about what the figures do not show."""
    base, tuned = ([reply.text for reply in asked.replies[who]] for who in (BASE, TUNED))
    if base == tuned:
        yield "Both models gave exactly the same answers: the adapter changes nothing."
    elif len(set(tuned)) == 1 and len({row.answer for row in asked.rows}) > 1:
        yield "The tuned model gives the same answer to every question."
    if cut := sum(reply.cut for reply in asked.replies[TUNED]):
        yield f"The tuned model reached MAX_TOKENS on {counted(cut)}: is it too low?"


def _beside_prompted(asked: Asked, scores: Mapping[str, Scores], headline: str) -> str:
    """How far the tuned model is ahead of the prompted one, on the examples that both answered."""
    if PROMPTED not in scores:
        return (
            "The base got only the question, as the tuned model did. A base with instructions and "
            "examples does better: to compare with one, set MISTRAL_API_KEY in .env."
        )
    theirs = scores[PROMPTED][headline]
    ahead = scores[TUNED][headline][: len(theirs)] - theirs
    spread, name = interval(ahead), metrics.spoken(headline)
    return (
        f"Against {asked.labels[PROMPTED]}: {decide(ahead)}, {signed(spread.low)} to "
        f"{signed(spread.high)} points of {name} on {counted(len(theirs))}."
    )


@dataclass(frozen=True)
class Saved:
    """A file with a line of JSON for each answer, so that none is asked for twice."""

    file: Path
    settings: Settings = SETTINGS

    def answers(
        self,
        rows: Sequence[Example],
        edition: Sequence[object],
        load: Callable[[], Generator | None],
        on_progress: Callable[[int, int], None],
    ) -> list[Reply]:
        """A model's answers to examples. It is loaded only if one is not in the file."""
        keys = [self._key(edition, prompts.with_system(row.question), row.tools) for row in rows]
        known = self._read()
        missing = {key: row for key, row in zip(keys, rows, strict=True) if key not in known}
        on_progress(len(rows) - len(missing), len(rows))
        if missing and (generator := load()):
            asked = self._checked(generator, list(missing.values()))
            for found in generator.batches(asked, [row.tools for row in missing.values()]):
                new = {list(missing)[at]: reply for at, reply in found.items()}
                self._add(new)
                known |= new
                on_progress(sum(key in known for key in keys), len(rows))
        return [known[key] for key in keys]

    def answer(self, messages: Sequence[Message], model: str, ask: Callable[[], str]) -> Reply:
        """A remote model's answer to a conversation; not asked and paid for twice."""
        key, start = self._key(model, messages), time.perf_counter()
        if reply := self._read().get(key):
            return reply
        reply = Reply(ask(), time.perf_counter() - start, tokens=0)
        self._add({key: reply})
        return reply

    def _checked(self, generator: Generator, rows: Sequence[Example]) -> list[list[Message]]:
        """The questions. Raises TuneError if the model cannot read one; warms the model up."""
        import torch

        asked = [prompts.with_system(row.question) for row in rows]
        for row, messages in zip(rows, asked, strict=True):
            try:
                generator.check_room(messages, row.tools)
            except (TooLong, UnsupportedMessages) as error:
                where = f"{named(self.settings.test)}, line {row.line}"
                raise TuneError(f"{where}: {error.problem}", "remove the row") from None
        replace(generator, max_tokens=1).answer(asked[0])  # so that no answer is timed with it
        torch.manual_seed(self.settings.seed)  # above temperature 0 both sample alike
        return asked

    def _read(self) -> dict[str, Reply]:
        """The answers by their keys."""
        found: dict[str, Reply] = {}
        text = self.file.read_text("utf-8", errors="replace") if self.file.is_file() else ""
        for line in text.split("\n"):
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # cut off by a crash
                about = json.loads(line)
                key = about.pop("key")
                found[key] = Reply(**about)
        return found

    def _add(self, replies: Mapping[str, Reply]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # Start with a line break: a power cut may have left the last line incomplete
        lines = [f"\n{json.dumps({'key': key} | asdict(each))}" for key, each in replies.items()]
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(lines))

    def _key(self, *asked: object) -> str:
        """A hash of a question and of everything that its answer depends on."""
        how = [self.settings.max_tokens, self.settings.temperature, self.settings.seed]
        return hashlib.sha256(json.dumps([asked, how], sort_keys=True).encode()).hexdigest()
