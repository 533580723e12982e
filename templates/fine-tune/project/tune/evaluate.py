"""Compares base, tuned and a well-prompted model on examples that none was trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from tune import dataset, inference, local, metrics, models, prompts, report, runs, tokens
from tune.dataset import Example
from tune.errors import TuneError, need_loading
from tune.generate import Reply
from tune.metrics import Scores, counted, signed
from tune.report import BASE, PROMPTED, TUNED, Evaluation, Sample, System
from tune.runs import Run
from tune.saved import Saved
from tune.settings import ROOT, SETTINGS, Settings, named

OnProgress = Callable[[str, int, int], None]  # the system, questions answered, all questions

KEPT = 500  # examples whose answers are saved in full
PATIENT = 6  # times the patience with rate limits, as no visitor waits here
IN_4_BITS = "Both models ran in 4 bits: 16 bits did not fit into the free memory of the GPU."
BARE = (
    "The base got only the question, as the tuned model did. A base with instructions and examples "
    "does better: to compare with one, set MISTRAL_API_KEY in .env."
)


@dataclass(frozen=True)
class Asked:
    """The examples, and each system's answers: fewer than examples if it was stopped."""

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
    chosen, notes = choose(run, settings, rows)
    asked = _ask_here(run, settings, chosen, on_progress)
    asked = replace(asked, notes=(*notes, *asked.notes))
    asked = _ask_api(asked, settings, api_rows, partial(on_progress, PROMPTED))
    about: dict[str, str | int | float] = {"test_file": named(settings.test)}
    about |= {"max_tokens": settings.max_tokens, "temperature": settings.temperature}
    found = replace(compare(asked), run=run.name, settings=about)
    runs.write_whole(run.evaluation, report.to_json(found))
    runs.write_whole(run.report, report.to_html(found))
    return found


# Which examples: none that were in training


def choose(run: Run, settings: Settings, rows: int = 0) -> tuple[list[Example], tuple[str, ...]]:
    """The test examples to ask, and notes. Raises TuneError if all were in training."""
    files, every = _trained_on(run, settings), dataset.load(settings.test)
    known, notes = _questions(files), list[str]()
    seen = [row for row in every if dataset.fingerprint(row.question) in known]
    fresh = [row for row in every if dataset.fingerprint(row.question) not in known]
    if not fresh:
        problem = f"All of {named(settings.test)} was in training: it can prove nothing."
        raise TuneError(problem, "uv run python -m tune split --help")
    if seen:
        count, lines = counted(len(seen)), ", ".join(str(row.line) for row in seen[:5])
        notes.append(f"Left out: {count} of {named(settings.test)} in training (line {lines}).")
    about = run.record.data.get("train", {})
    if about.get("sha256") not in [dataset.digest(file) for file in files]:
        file = about.get("file", named(settings.train))
        notes.append(f"{file} has changed since training: some questions may be known.")
    if run.record.settings.get("system", prompts.SYSTEM) != prompts.SYSTEM:
        notes.append("SYSTEM in tune/prompts.py has changed since training: train again.")
    some = random.Random(settings.seed).sample(range(len(fresh)), min(rows, len(fresh)))
    return [fresh[index] for index in sorted(some)] or fresh, tuple(notes)


def _trained_on(run: Run, settings: Settings) -> list[Path]:
    """The training and validation files: those that the run names, and those of `.env`."""
    named = [ROOT / about["file"] for about in run.record.data.values() if "file" in about]
    files = dict.fromkeys((*named, settings.train, settings.validation))
    return [file for file in files if file.is_file()]


def _questions(files: Sequence[Path]) -> set[int]:
    """The hashes of all questions in these files, also in the middle of a conversation."""
    return {
        dataset.fingerprint(row.messages[:place])
        for file in files
        for row in dataset.load(file)
        for place, message in enumerate(row.messages)
        if message["role"] == "assistant"
    }


# Asking the models


def _ask_here(
    run: Run, settings: Settings, rows: Sequence[Example], on_progress: OnProgress
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
    notes = (IN_4_BITS,) if four_bit else ()
    return Asked(rows, {BASE: plain, TUNED: tuned}, labels, notes)


def _ask_api(
    asked: Asked, settings: Settings, most: int, on_progress: Callable[[int, int], None]
) -> Asked:
    """Add the answers of a well-prompted model of the API, if there is a key.

    A failure ends it; the next evaluation continues there.
    """
    api = inference.api(settings) if most else None
    if api is None:
        return asked
    api = api.model_copy(update={"patience": PATIENT * api.patience})
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


# Comparing the answers


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
        verdict=metrics.decide(ahead),
        headline=headline,
        because=because,
        why=metrics.sentence(headline, scores[TUNED][headline], scores[BASE][headline]),
        notes=(*notes, _beside_prompted(asked, scores, headline)),
        systems={who: _system(asked, who, scores[who]) for who in asked.replies},
        differences={name: metrics.interval(each) for name, each in differences.items()},
        samples=tuple(_samples(asked, scores, headline)),
    )


def _system(asked: Asked, who: str, scores: Scores) -> System:
    given = asked.replies[who]
    return System(
        label=asked.labels[who],
        rows=len(given),
        metrics={name: metrics.interval(values) for name, values in scores.items()},
        seconds=metrics.interval([reply.seconds for reply in given]),
        cut=sum(reply.cut for reply in given),
    )


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
        return BARE
    theirs = scores[PROMPTED][headline]
    ahead = scores[TUNED][headline][: len(theirs)] - theirs
    spread, name = metrics.interval(ahead), metrics.spoken(headline)
    return (
        f"Against {asked.labels[PROMPTED]}: {metrics.decide(ahead)}, {signed(spread.low)} to "
        f"{signed(spread.high)} points of {name} on {counted(len(theirs))}."
    )
