"""Compares the base and the tuned model on rows that neither was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from tune import data, metrics, models, prompts, runs
from tune.answering.generate import Generator, Reply
from tune.data import Row
from tune.errors import need_loading
from tune.judging import held_out, prompted, report, results, verdict
from tune.judging.held_out import counted
from tune.judging.results import BASE, PROMPTED, TUNED, Evaluation, Sample, System
from tune.metrics import Scores
from tune.runs import Run
from tune.settings import SETTINGS, Settings, named

OnProgress = Callable[[str, int, int], None]  # who answers, so many questions, of how many

KEPT = 500  # rows that are kept word for word


@dataclass(frozen=True)
class Options:
    """How much is asked."""

    rows: int = 0  # of the test file, drawn by chance; 0: all
    api_rows: int = 60  # that the well-prompted model is asked, where there is a key
    drop_seen: bool = False  # leave out rows that were trained on, instead of refusing


EVERYTHING = Options()


@dataclass(frozen=True)
class Asked:
    """The rows, and what each system answered; who was stopped has fewer answers than rows."""

    rows: tuple[Row, ...]
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

    Nothing is written before the end. Raises TuneError where rows were trained on.
    """
    need_loading()
    rows, notes = held_out.choose(run, settings, options.rows, options.drop_seen)
    asked = ask_here(run, rows, settings, on_progress)
    asked = _ask_elsewhere(replace(asked, notes=notes), settings, options, on_progress)
    found = replace(compare(asked), run=run.name, settings=_settings(run, settings))
    runs.write_whole(run.evaluation, results.to_json(found))
    runs.write_whole(run.report, report.to_html(found, run))
    return found


def ask_here(run: Run, rows: Sequence[Row], settings: Settings, on_progress: OnProgress) -> Asked:
    """What both models answer on this machine. They share one copy of the weights if they can."""
    import torch

    from tune.training import weights

    base = models.find(run.record.base)
    tokenizer = weights.load_tokenizer(base)

    def answers(who: str, generator: Generator) -> list[Reply]:
        torch.manual_seed(settings.seed)  # above temperature 0 both throw the same dice
        return generator.answers(
            [prompts.with_system(row.question) for row in rows],
            partial(on_progress, who),
            tools=[row.tools for row in rows],
        )

    load = partial(
        Generator,
        tokenizer=tokenizer,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
    )
    tuned = load(weights.load_tuned(run))
    replies = {TUNED: answers(TUNED, tuned)}
    if run.record.method == "full":  # two sets of weights: one after the other
        del tuned
        weights.free()
        replies[BASE] = answers(BASE, load(weights.load_base(base)))
    else:
        replies[BASE] = answers(BASE, tuned.without_adapter())
    labels = {BASE: base.name, TUNED: f"{base.name}, tuned ({run.record.method})"}
    return Asked(tuple(rows), {BASE: replies[BASE], TUNED: replies[TUNED]}, labels)


def _ask_elsewhere(
    asked: Asked, settings: Settings, options: Options, on_progress: OnProgress
) -> Asked:
    """Add what a well-prompted model of the API answers, where there is a key."""
    model = prompted.model(settings) if options.api_rows else None
    if model is None:
        return asked
    shown = data.load(settings.train)
    conversations = [
        prompts.well_prompted(prompts.with_system(row.question), shown)
        for row in asked.rows[: options.api_rows]
    ]
    found = model.answers(conversations, partial(on_progress, PROMPTED))
    notes = asked.notes
    if found.problem:
        given = f"{len(found.replies)} of {counted(len(conversations))}"
        notes += (f"{model.name} answered {given}, then: {found.problem}.",)
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
    """Measure the answers and judge. Needs no model."""
    expected = [row.answer for row in asked.rows]
    scores = {
        who: metrics.score(expected[: len(given)], [reply.text for reply in given])
        for who, given in asked.replies.items()
    }
    headline, because = verdict.headline(expected)
    differences = metrics.differences(scores[TUNED], scores[BASE])
    judged = verdict.judge(headline, scores, differences[headline])
    ahead, told = _beside_prompted(asked, scores, headline)
    return Evaluation(
        run="",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=len(asked.rows),
        verdict=judged.word,
        headline=headline,
        because=because,
        why=judged.why,
        notes=(*judged.notes, *_oddities(asked), *asked.notes, *told),
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
    """What figures alone would not tell."""
    base, tuned = ([reply.text for reply in asked.replies[who]] for who in (BASE, TUNED))
    notes = []
    if base == tuned:
        notes.append(
            "Both gave the same answers, word for word: the adapter changes nothing. Was it "
            "loaded, and did the loss fall?"
        )
    elif len(set(tuned)) == 1 and len({row.answer for row in asked.rows}) > 1:
        notes.append("The tuned model gives one and the same answer to every question.")
    if cut := sum(reply.cut for reply in asked.replies[TUNED]):
        notes.append(
            f"{counted(cut)} where the tuned model was cut off at MAX_TOKENS: it did not learn "
            "to stop, or MAX_TOKENS is too low."
        )
    if PROMPTED not in asked.replies:
        notes.append(
            "The base got the bare question, as the tuned model did. A base that is told the task "
            "does better: put a MISTRAL_API_KEY into .env, and one is asked as well."
        )
    return notes


def _beside_prompted(
    asked: Asked, scores: Mapping[str, Scores], headline: str
) -> tuple[dict[str, metrics.Interval], list[str]]:
    """How far the tuned model is ahead of the prompted one, on the rows that both were asked."""
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
    told = f"Against {asked.labels[PROMPTED]}: {word}, {spread} of {name} {on}."
    return differences, [told]


def _settings(run: Run, settings: Settings) -> dict[str, str | int | float]:
    from tune.training import weights

    return {
        "base": models.find(run.record.base).name,
        "method": run.record.method,
        "test_file": named(settings.test),
        "max_tokens": settings.max_tokens,
        "temperature": settings.temperature,
        "device": weights.device(),
    }
