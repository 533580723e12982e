"""Compares the base and the tuned model on rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from tune import (
    dataset,
    held_out,
    kept,
    metrics,
    models,
    prompted,
    prompts,
    report,
    results,
    runs,
    tokens,
    verdict,
)
from tune.dataset import Example
from tune.errors import TuneError, need_loading
from tune.generate import Generator, Reply, TooLong, UnsupportedMessages
from tune.held_out import counted
from tune.kept import Kept
from tune.metrics import Scores
from tune.results import BASE, PROMPTED, TUNED, Evaluation, Sample, System
from tune.runs import Run
from tune.settings import SETTINGS, Settings, named

OnProgress = Callable[[str, int, int], None]  # the system, questions answered, all questions

KEPT = 500  # rows whose answers are saved in full
IN_4_BITS = "Both models ran in 4 bits: 16 bits did not fit into the free memory of the GPU."


@dataclass(frozen=True)
class Options:
    """How many rows to ask, and how."""

    rows: int = 0  # a random sample of the test file; 0: all
    api_rows: int = 60  # for the well-prompted model, if there is a key
    drop_seen: bool = False  # leave out rows that were trained on, instead of an error
    four_bit: bool | None = None  # both models in 4 bits; None: if 16 do not fit the GPU


EVERYTHING = Options()


@dataclass(frozen=True)
class Asked:
    """The rows, and each system's answers: fewer than rows if it was stopped."""

    rows: tuple[Example, ...]
    replies: Mapping[str, Sequence[Reply]]
    labels: Mapping[str, str]
    notes: tuple[str, ...] = ()


def evaluate(
    run: Run,
    settings: Settings = SETTINGS,
    options: Options = EVERYTHING,
    on_progress: OnProgress = lambda who, done, rows: None,
) -> Evaluation:
    """Ask both models the same questions, and write the run's evaluation and its report.

    Both are written at the end. Answers are saved one by one, so that a second try continues.
    Raises TuneError if test rows were trained on.
    """
    need_loading()
    rows, notes = held_out.choose(run, settings, options.rows, options.drop_seen)
    here = _Here(run, tuple(rows), settings, on_progress, _four_bit(run, options))
    notes += (IN_4_BITS,) if here.four_bit else ()
    asked = replace(_ask_here(here), notes=notes)
    asked = _ask_elsewhere(asked, settings, options, on_progress)
    found = replace(compare(asked), run=run.name, settings=_settings(run, settings))
    runs.write_whole(run.evaluation, results.to_json(found))
    runs.write_whole(run.report, report.to_html(found, run))
    return found


def _four_bit(run: Run, options: Options) -> bool:
    from tune import weights

    if options.four_bit is None:
        return weights.answers_in_4_bits(models.find(run.record.base))
    return options.four_bit


def _ask_here(here: _Here) -> Asked:
    """The answers of both models on this machine, with one copy of the weights if possible."""
    from tune import weights

    run, four_bit, base = here.run, here.four_bit, models.find(here.run.record.base)

    @cache
    def tuned() -> Generator:
        return here.generator(base, weights.load_tuned(run, four_bit=four_bit))

    def untuned() -> Generator:
        if run.record.method != "full":
            return tuned().without_adapter()
        tuned.cache_clear()  # two sets of weights: one after the other
        weights.free()
        return here.generator(base, weights.load_base(base, four_bit=four_bit))

    edition: list[Any] = [weights.device(), tokens.training_template(), base.source, four_bit]
    edition += _edition(Path(base.source))
    replies = {TUNED: here.answers(TUNED, edition + _edition(run.model), tuned)}
    replies[BASE] = here.answers(BASE, edition, untuned)
    labels = {BASE: base.name, TUNED: f"{base.name}, tuned ({run.record.method})"}
    return Asked(here.rows, {BASE: replies[BASE], TUNED: replies[TUNED]}, labels)


@dataclass(frozen=True)
class _Here:
    """Asks a model on this machine; reuses the answers saved before a stop."""

    run: Run
    rows: tuple[Example, ...]
    settings: Settings
    on_progress: OnProgress
    four_bit: bool

    def answers(self, who: str, edition: object, load: Callable[[], Generator]) -> list[Reply]:
        """Every answer, in the order of the rows. Weights are loaded only if one is missing."""
        file = Kept(self.run.folder / "answers.jsonl")
        keys, known = [self._key(who, edition, row) for row in self.rows], file.read()
        places = [at for at, key in enumerate(keys) if key not in known]
        self.on_progress(who, len(keys) - len(places), len(keys))
        for found in self._asked([self.rows[at] for at in places], load) if places else ():
            new = {keys[places[at]]: reply for at, reply in found.items()}
            file.add(new)
            known |= new
            self.on_progress(who, sum(key in known for key in keys), len(keys))
        return [known[key] for key in keys]

    def generator(self, base: models.Base, model: Any) -> Generator:
        from tune import weights

        tokenizer = weights.load_tokenizer(base)
        return Generator(model, tokenizer, self.settings.max_tokens, self.settings.temperature)

    def _asked(
        self, rows: Sequence[Example], load: Callable[[], Generator]
    ) -> Iterator[dict[int, Reply]]:
        import torch

        generator, asked = load(), [prompts.with_system(row.question) for row in rows]
        for row, messages in zip(rows, asked, strict=True):
            try:
                generator.check_room(messages, tools=row.tools)
            except (TooLong, UnsupportedMessages) as error:
                where = f"{named(self.settings.test)}, line {row.line}"
                raise TuneError(f"{where}: {error.problem}", "remove the row") from None
        replace(generator, max_tokens=1).answer(
            asked[0]
        )  # warm-up, so that no answer is timed with it
        torch.manual_seed(self.settings.seed)  # above temperature 0 both sample alike
        yield from generator.batches(asked, tools=[row.tools for row in rows])

    def _key(self, who: str, edition: object, row: Example) -> str:
        how = [self.settings.max_tokens, self.settings.temperature, self.settings.seed]
        return kept.key(who, edition, how, prompts.with_system(row.question), list(row.tools))


def _edition(folder: Path) -> list[Any]:
    """Identifies the weights in a folder, so that answers of other weights are not reused."""
    files = sorted(folder.glob("*.safetensors"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _ask_elsewhere(
    asked: Asked, settings: Settings, options: Options, on_progress: OnProgress
) -> Asked:
    """Add the answers of a well-prompted model of the API, if there is a key."""
    model = prompted.model(settings) if options.api_rows else None
    if model is None:
        return asked
    shown = dataset.load(settings.train)
    conversations = [
        prompts.well_prompted(prompts.with_system(row.question), shown)
        for row in asked.rows[: options.api_rows]
    ]
    found = model.answers(conversations, partial(on_progress, PROMPTED))
    notes = asked.notes
    if found.problem:
        given = f"{len(found.replies)} of {counted(len(conversations))}"
        notes += (f"{model.name} answered {given}, then failed: {found.problem}.",)
    if not found.replies:
        return replace(asked, notes=notes)
    label = f"{model.name}, prompted with {min(len(shown), prompts.SHOTS)} examples"
    return Asked(
        asked.rows,
        {**asked.replies, PROMPTED: found.replies},
        {**asked.labels, PROMPTED: label},
        notes,
    )


def compare(asked: Asked) -> Evaluation:
    """Score the answers and decide the verdict. Needs no model."""
    expected = [row.answer for row in asked.rows]
    scores = {
        who: metrics.score(expected[: len(given)], [reply.text for reply in given])
        for who, given in asked.replies.items()
    }
    headline, because = verdict.headline(expected)
    differences = metrics.differences(scores[TUNED], scores[BASE])
    judged = verdict.judge(headline, scores, differences[headline])
    ahead, compared = _beside_prompted(asked, scores, headline)
    return Evaluation(
        run="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=len(asked.rows),
        verdict=judged.word,
        headline=headline,
        because=because,
        why=judged.why,
        notes=(*judged.notes, *_oddities(asked), *asked.notes, *compared),
        systems={who: _system(asked, who, scores[who]) for who in asked.replies},
        differences=differences,
        ahead_of_prompted=ahead,
        samples=_samples(asked, {who: each.rows[headline] for who, each in scores.items()}),
    )


def _system(asked: Asked, who: str, scores: Scores) -> System:
    given = asked.replies[who]
    return System(
        label=asked.labels[who],
        rows=len(given),
        metrics=metrics.intervals(scores),
        seconds=metrics.interval([reply.seconds for reply in given]),
        characters=metrics.interval([len(reply.text.strip()) for reply in given]),
        cut=sum(reply.cut for reply in given),
    )


def _samples(asked: Asked, scores: Mapping[str, metrics.Floats]) -> tuple[Sample, ...]:
    found = []
    for index, row in enumerate(asked.rows[:KEPT]):
        given = {who: all_[index] for who, all_ in asked.replies.items() if index < len(all_)}
        found.append(
            Sample(
                line=row.line,
                question=tuple(row.question),
                expected=row.answer,
                answers={who: reply.text for who, reply in given.items()},
                scores={who: round(float(scores[who][index]), 1) for who in given},
            )
        )
    return tuple(found)


def _oddities(asked: Asked) -> list[str]:
    """Warnings about what the figures do not show."""
    base, tuned = ([reply.text for reply in asked.replies[who]] for who in (BASE, TUNED))
    notes = []
    if base == tuned:
        notes.append(
            "Both models gave exactly the same answers: the adapter changes nothing. Was it "
            "loaded, and did the loss fall?"
        )
    elif len(set(tuned)) == 1 and len({row.answer for row in asked.rows}) > 1:
        notes.append("The tuned model gives the same answer to every question.")
    if cut := sum(reply.cut for reply in asked.replies[TUNED]):
        notes.append(
            f"The tuned model was cut off at MAX_TOKENS on {counted(cut)}: it did not learn to "
            "stop, or MAX_TOKENS is too low."
        )
    if PROMPTED not in asked.replies:
        notes.append(
            "The base got only the question, as the tuned model did. A base with instructions and "
            "examples does better: to compare with one, set MISTRAL_API_KEY in .env."
        )
    return notes


def _beside_prompted(
    asked: Asked, scores: Mapping[str, Scores], headline: str
) -> tuple[dict[str, metrics.Interval], list[str]]:
    """How far the tuned model is ahead of the prompted one, on the rows that both answered."""
    if PROMPTED not in scores:
        return {}, []
    rows = len(asked.replies[PROMPTED])
    ours, theirs = scores[TUNED].first(rows), scores[PROMPTED]
    differences = metrics.differences(ours, theirs)
    ahead = differences[headline]
    word = verdict.decide(ahead, verdict.apart(ours.rows[headline] - theirs.rows[headline]))
    spread = f"{verdict.signed(ahead.low)} to {verdict.signed(ahead.high)} points"
    on = f"on {'the first ' if rows < len(asked.rows) else ''}{counted(rows)}"
    name = verdict.spoken(headline)
    note = f"Against {asked.labels[PROMPTED]}: {word}, {spread} of {name} {on}."
    return differences, [note]


def _settings(run: Run, settings: Settings) -> dict[str, str | int | float]:
    from tune import weights

    return {
        "base": models.find(run.record.base).name,
        "method": run.record.method,
        "test_file": named(settings.test),
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "device": weights.device(),
    }
