"""Runs doctor's checks in parallel and collects their findings in a report."""

import queue
import re
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from hackkit.doctor.checks import Check, all_checks
from hackkit.doctor.findings import (
    Category,
    Finding,
    Report,
    Result,
    Status,
    failure,
    skipped,
)
from hackkit.errors import WrongUseError
from hackkit.project.context import Context
from hackkit.project.leaks import scrub
from hackkit.system.command_line import hackkit

ONLINE_SECONDS = 5.0  # for all checks that use the network, together
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LONGEST = 300  # characters of a message

CheckProgress = Callable[[int, int, Collection[str]], None]  # done, total, titles still running


@dataclass(frozen=True)
class Choice:
    """Which checks to run: the ids in `only`, or all, without those in `skip`."""

    only: Collection[str] = ()
    skip: Collection[str] = ()


def diagnose(
    context: Context,
    choice: Choice = Choice(),
    progress: CheckProgress = lambda *_: None,
    checks: Sequence[Check] | None = None,
) -> Report:
    """Run the chosen checks in parallel and return their results, in the order of the screen.

    A check that raises, or takes longer than its limit, is reported as broken; the others go on.
    Raises WrongUseError for an id that no check has.
    """
    chosen = _chosen(all_checks() if checks is None else checks, choice, context)
    results, secrets = _run_all(chosen, context, progress), context.secrets
    in_order = [_scrubbed(results[check.id], secrets) for check in chosen]
    return Report(tuple(_one_of_each_cause(in_order)))


def _chosen(checks: Sequence[Check], choice: Choice, context: Context) -> list[Check]:
    known = [check.id for check in checks]
    for wanted in (*choice.only, *choice.skip):
        if wanted not in known:
            raise WrongUseError(
                f'There is no check "{wanted}". Checks: {", ".join(known)}.',
                fix=hackkit("doctor", "--help"),
            )
    in_scope = [check for check in checks if _in_scope(check, choice, context)]
    return [check for check in in_scope if check.id not in choice.skip]


def _in_scope(check: Check, choice: Choice, context: Context) -> bool:
    if choice.only:
        return check.id in choice.only
    return check.category is not Category.PROJECT or context.project is not None


def _run_all(
    checks: Sequence[Check], context: Context, progress: CheckProgress
) -> dict[str, Result]:
    """Run every check in its own thread, each within its time limit."""
    results: dict[str, Result] = {}
    finished: queue.SimpleQueue[Result] = queue.SimpleQueue()
    began = time.monotonic()
    waiting: dict[str, Check] = {}
    for check in checks:
        reason = _reason_to_skip(check, context)
        if reason:
            results[check.id] = _result(check, skipped(reason), 0.0)
            continue
        waiting[check.id] = check
        # A daemon: a check that never ends must not keep hackkit from ending.
        threading.Thread(
            target=lambda check=check: finished.put(_run(check, context)), daemon=True
        ).start()
    while waiting:
        progress(len(results), len(checks), [check.title for check in waiting.values()])
        deadline = began + min(map(_limit, waiting.values()))
        try:
            result = finished.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            late = [
                check for check in waiting.values() if began + _limit(check) <= time.monotonic()
            ]
            for check in late:
                results[check.id] = _too_slow(check, context)
                del waiting[check.id]
            continue
        if waiting.pop(result.id, None):
            results[result.id] = result
    return results


def _limit(check: Check) -> float:
    return min(check.seconds, ONLINE_SECONDS) if check.online else check.seconds


def _reason_to_skip(check: Check, context: Context) -> str:
    if check.category is Category.PROJECT and context.project is None:
        return "this folder is not in a hackkit project"
    return "not checked: --offline" if check.online and context.offline else ""


def _run(check: Check, context: Context) -> Result:
    began = time.monotonic()
    try:
        finding = check.run(context)
    except Exception as error:  # noqa: BLE001 - the other checks go on
        seconds = time.monotonic() - began
        message = f"{type(error).__name__}: {error}".strip().rstrip(":")
        trace = "".join(traceback.format_exception(error)).splitlines()
        crash = failure(
            f"this check crashed: {message}", _again(check, context), details=tuple(trace)
        )
        return _result(check, crash, seconds, broken=True)
    return _result(check, finding, time.monotonic() - began)


def _too_slow(check: Check, context: Context) -> Result:
    """Report a check that did not end in time: nothing is known, so it is not a failure."""
    limit = _limit(check)
    message = f"could not look: took longer than {limit:g} s"
    return _result(check, skipped(message, _again(check, context)), limit, broken=True)


def _again(check: Check, context: Context) -> str:
    return hackkit("doctor", "--only", check.id, "--verbose", folder=context.folder)


def _result(check: Check, finding: Finding, seconds: float, *, broken: bool = False) -> Result:
    return Result(check.id, check.title, check.category, finding, seconds, broken=broken)


def _one_of_each_cause(results: Sequence[Result]) -> Iterator[Result]:
    """Keep only the worst result of each cause: without a network, one problem is shown."""
    first: dict[str, Result] = {}
    for result in sorted(results, key=lambda each: each.finding.status is not Status.FAIL):
        first.setdefault(result.finding.explanation.cause, result)
    for result in results:
        known = first[result.finding.explanation.cause]
        if not result.finding.explanation.cause or known is result:
            yield result
        else:
            message = f"the same as {known.title}: {result.finding.message}"
            yield replace(result, finding=skipped(message))


def _scrubbed(result: Result, secrets: Collection[str]) -> Result:
    """Return the result with every secret masked, and each text on one line.

    Control characters are removed: the name of a file could hold some for the terminal.
    """
    finding = result.finding

    def clean(text: str) -> str:
        return scrub(_CONTROLS.sub(" ", text), secrets)

    return replace(
        result,
        finding=replace(
            finding,
            explanation=replace(
                finding.explanation,
                problem=clean(finding.message)[:_LONGEST],
                fix=clean(finding.fix),
            ),
            details=tuple(map(clean, finding.details)),
        ),
    )
