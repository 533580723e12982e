"""Doctor's engine: runs checks in parallel, within their limits, and shows no secret."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from conftest import Run, clean_environment, write

from hackkit.doctor.checks import Check, all_checks
from hackkit.doctor.diagnose import Choice, diagnose
from hackkit.doctor.findings import (
    Category,
    Finding,
    Repair,
    Report,
    Status,
    failure,
    ok,
    skipped,
    warning,
)
from hackkit.doctor.repair import repair
from hackkit.errors import HackkitError, WrongUseError
from hackkit.project.context import Context
from hackkit.project.files import ProjectFiles

RunCheck = Callable[[Context], Finding]
KEY = "q7Xw2Lp9" * 4


def a_check(
    name: str,
    run: RunCheck,
    category: Category = Category.MACHINE,
    *,
    online: bool = False,
    seconds: float = 5.0,
) -> Check:
    return Check(name, name.capitalize(), category, "Is it?", run, online, seconds)


def fine(_: Context) -> Finding:
    return ok("seen")


def crash(_: Context) -> Finding:
    raise ZeroDivisionError("division by zero")


def hang(_: Context) -> Finding:
    threading.Event().wait(60)
    return ok("too late")


def statuses(report: Report) -> dict[str, str]:
    return {result.id: result.finding.status.value for result in report.results}


def test_checks_run_in_parallel() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def meet(_: Context) -> Finding:
        meeting.wait()
        return ok("all three were here at once")

    report = diagnose(Context(), checks=[a_check(name, meet) for name in "abc"])
    assert statuses(report) == {"a": "ok", "b": "ok", "c": "ok"}


def test_a_check_that_crashes_fails_and_the_others_go_on() -> None:
    report = diagnose(Context(), checks=[a_check("bad", crash), a_check("good", fine)])
    assert statuses(report) == {"bad": "fail", "good": "ok"}
    assert "ZeroDivisionError: division by zero" in report.results[0].finding.message
    assert "--only bad --verbose" in report.results[0].finding.fix
    assert any("in crash" in line for line in report.results[0].finding.details)


def test_a_check_that_is_too_slow_could_not_look_and_the_others_go_on() -> None:
    """Nothing is known about what it checks: that is no failure."""
    ended = threading.Event()

    def slow(context: Context) -> Finding:
        finding = hang(context)
        ended.set()
        return finding

    report = diagnose(Context(), checks=[a_check("slow", slow, seconds=0.2), a_check("good", fine)])
    assert not ended.is_set()
    assert statuses(report) == {"slow": "skip", "good": "ok"}
    finding = report.results[0].finding
    assert finding.message == "could not look: took longer than 0.2 s"
    assert finding.fix.endswith("doctor --only slow --verbose")


@pytest.mark.parametrize("run", [crash, hang], ids=["crash", "hang"])
def test_a_check_that_could_not_look_makes_the_exit_code_2(run: RunCheck) -> None:
    report = diagnose(Context(), checks=[a_check("bad", run, seconds=0.1)])
    assert report.exit_code() == 2


def test_a_failure_makes_the_exit_code_1_and_a_warning_only_when_strict() -> None:
    def bad(_: Context) -> Finding:
        return failure("broken", fix="repair it")

    def poor(_: Context) -> Finding:
        return warning("poor", fix="improve it")

    assert diagnose(Context(), checks=[a_check("a", bad)]).exit_code() == 1
    poorly = diagnose(Context(), checks=[a_check("a", poor), a_check("b", fine)])
    assert poorly.exit_code() == 0
    assert poorly.exit_code(strict=True) == 1
    assert diagnose(Context(), checks=[a_check("a", fine)]).exit_code(strict=True) == 0


def test_of_several_problems_with_one_cause_only_the_worst_is_shown() -> None:
    def unplugged(_: Context) -> Finding:
        return warning("no name", "plug it in", cause="name")

    def worse(_: Context) -> Finding:
        return failure("no name either", "plug it in", cause="name")

    checks = [a_check("a", unplugged), a_check("b", worse), a_check("c", fine)]
    report = diagnose(Context(), checks=checks)
    assert statuses(report) == {"a": "skip", "b": "fail", "c": "ok"}
    assert report.results[0].finding.message == "the same as B: no name"


def test_offline_skips_what_uses_the_network_and_says_so() -> None:
    checks = [a_check("far", crash, Category.NETWORK, online=True), a_check("near", fine)]
    report = diagnose(Context(offline=True), checks=checks)
    assert statuses(report) == {"far": "skip", "near": "ok"}
    assert "--offline" in next(r for r in report.results if r.id == "far").finding.message


def test_outside_a_project_its_checks_are_left_out() -> None:
    checks = [a_check("mine", crash, Category.PROJECT), a_check("good", fine)]
    assert statuses(diagnose(Context(), checks=checks)) == {"good": "ok"}


def test_a_project_check_asked_for_by_name_outside_a_project_says_why_not() -> None:
    checks = [a_check("mine", crash, Category.PROJECT), a_check("good", fine)]
    report = diagnose(Context(), Choice(only=["mine"]), checks=checks)
    assert statuses(report) == {"mine": "skip"}
    assert "not in a hackkit project" in report.results[0].finding.message


def test_only_takes_several_ids_and_skip_leaves_out() -> None:
    checks = [a_check(name, fine) for name in "abcd"]
    report = diagnose(Context(), Choice(only=["a", "b", "c"], skip=["b"]), checks=checks)
    assert list(statuses(report)) == ["a", "c"]


def test_an_unknown_id_lists_the_known_ones() -> None:
    checks = [a_check(name, fine) for name in ("uv", "git")]
    with pytest.raises(WrongUseError, match=r'no check "gti". Checks: uv, git'):
        diagnose(Context(), Choice(only=["gti"]), checks=checks)


def test_progress_names_the_checks_that_are_still_running() -> None:
    seen: list[tuple[int, int, Collection[str]]] = []
    diagnose(
        Context(), Choice(), lambda *news: seen.append(news), [a_check("slow", hang, seconds=0.1)]
    )
    assert seen[0] == (0, 1, ["Slow"])


def test_a_secret_in_a_finding_is_masked() -> None:
    def careless(context: Context) -> Finding:
        key = context.env["MISTRAL_API_KEY"]
        return failure(f"the server refused {key}", fix=f"echo {key}", details=(f"sent {key}",))

    context = Context(env={"MISTRAL_API_KEY": KEY})
    finding = diagnose(context, checks=[a_check("a", careless)]).results[0].finding
    assert KEY not in "".join([finding.message, finding.fix, *finding.details])
    assert "[secret]" in finding.message


def test_a_secret_in_a_crash_is_masked() -> None:
    def careless(context: Context) -> Finding:
        raise ValueError(context.env["HF_TOKEN"])

    report = diagnose(Context(env={"HF_TOKEN": KEY}), checks=[a_check("a", careless)])
    assert KEY not in report.results[0].finding.message


def file_check(path: Path) -> Check:
    """Make a check that needs a file and offers to create it."""

    def look(_: Context) -> Finding:
        if path.is_file():
            return ok("there")
        return failure("no file", fix="make it", repair=Repair("make the file", path.touch))

    return a_check("file", look)


def test_fix_asks_before_a_repair_runs_it_and_shows_the_difference(tmp_path: Path) -> None:
    path, asked = tmp_path / "file", list[str]()
    checks = [file_check(path), a_check("good", fine)]

    def confirm(action: str) -> bool:
        assert not path.exists()
        asked.append(action)
        return True

    report, repairs = repair(diagnose(Context(), checks=checks), Context, confirm, checks)
    assert asked == ["make the file"]
    assert statuses(report) == {"file": "ok", "good": "ok"}
    assert [(r.before.finding.message, r.after.finding.message) for r in repairs] == [
        ("no file", "there")
    ]


def test_fix_runs_no_repair_that_was_declined(tmp_path: Path) -> None:
    path = tmp_path / "file"
    checks = [file_check(path)]
    report, repairs = repair(diagnose(Context(), checks=checks), Context, lambda _: False, checks)
    assert not path.exists()
    assert (statuses(report), repairs) == ({"file": "fail"}, ())


def test_fix_runs_checks_again_that_were_skipped(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"

    def needs_first(_: Context) -> Finding:
        if not first.is_file():
            return skipped("no first file")
        if second.is_file():
            return ok("there")
        return warning("no second file", "make it", repair=Repair("make the second", second.touch))

    checks = [file_check(first), a_check("second", needs_first)]
    report, repairs = repair(diagnose(Context(), checks=checks), Context, lambda _: True, checks)
    assert statuses(report) == {"file": "ok", "second": "ok"}
    assert [each.action for each in repairs] == ["make the file", "make the second"]


def test_a_repair_that_fails_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    def cannot() -> None:
        raise HackkitError("the disk is full")

    def look(_: Context) -> Finding:
        return failure("bad", fix="repair it", repair=Repair("repair it", cannot))

    checks = [a_check("bad", look), file_check(tmp_path / "file")]
    report, repairs = repair(diagnose(Context(), checks=checks), Context, lambda _: True, checks)
    assert statuses(report) == {"bad": "fail", "file": "ok"}
    assert [each.error for each in repairs] == ["the disk is full", ""]


def test_offline_runs_no_repair_that_uses_the_network_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def look(_: Context) -> Finding:
        return warning("old", fix="fetch it", repair=Repair("fetch it", path.touch, online=True))

    checks = [a_check("old", look)]
    before = diagnose(Context(), checks=checks)
    _, (left,) = repair(before, lambda: Context(offline=True), lambda _: True, checks)
    assert "--offline" in left.error
    assert not path.exists()
    _, (ran,) = repair(before, lambda: Context(offline=False), lambda _: True, checks)
    assert ran.error == ""
    assert path.exists()


def test_fix_runs_all_checks_again_that_were_not_ok(tmp_path: Path) -> None:
    """A missing environment fails two checks; one repair is enough for both."""
    path = tmp_path / "file"

    def also_needs_it(_: Context) -> Finding:
        return ok("there") if path.is_file() else failure("no file", fix="make it")

    checks = [a_check("other", also_needs_it), file_check(path)]
    report, _ = repair(diagnose(Context(), checks=checks), Context, lambda _: True, checks)
    assert statuses(report) == {"other": "ok", "file": "ok"}


def test_a_secret_in_the_error_of_a_repair_is_masked() -> None:
    def cannot() -> None:
        raise HackkitError(f"{KEY} was refused")

    def look(_: Context) -> Finding:
        return failure("bad", fix="repair it", repair=Repair(f"use {KEY}", cannot))

    def confirm(action: str) -> bool:
        return action == "use [secret]"

    facts = Context(env={"HF_TOKEN": KEY})
    checks = [a_check("bad", look)]
    _, [repaired] = repair(diagnose(facts, checks=checks), lambda: facts, confirm, checks)
    assert repaired.error == "[secret] was refused"


def test_a_finding_has_no_control_characters_and_a_limited_length() -> None:
    def odd(_: Context) -> Finding:
        name = "a\x1b[2J\x9b31m\nb" + "c" * 1000
        return failure(name, fix=f"edit {name}", details=(name,))

    finding = diagnose(Context(), checks=[a_check("a", odd)]).results[0].finding
    assert finding.message.startswith("a [2J 31m b")
    assert len(finding.message) == 300
    assert all(each.isprintable() for each in (finding.fix, *finding.details))


def test_every_check_has_what_the_registry_needs() -> None:
    checks = all_checks()
    assert len({check.id for check in checks}) == len(checks)
    for check in checks:
        assert check.description.splitlines()[0].endswith("?"), check.id
        assert len(check.title) <= 18, check.id


def test_json_is_one_document_of_the_documented_shape(hackkit: Run) -> None:
    result = hackkit("doctor", "--offline", "--json")
    document = json.loads(result.stdout)
    keys = {"id", "title", "category", "status", "message", "fix", "seconds"}
    assert set(document) == {"checks", "summary"}
    assert document["checks"]
    for check in document["checks"]:
        assert set(check) == keys
        assert check["category"] in {"machine", "accelerator", "network", "services"}
    counted = {
        status.value: sum(check["status"] == status for check in document["checks"])
        for status in Status
    }
    assert document["summary"] == counted
    slow = any(each["message"].startswith("could not look") for each in document["checks"])
    assert result.returncode == (2 if slow else 1 if counted["fail"] else 0)


def test_a_problem_always_comes_with_its_fix(hackkit: Run) -> None:
    for check in json.loads(hackkit("doctor", "--offline", "--json").stdout)["checks"]:
        slow = check["message"].startswith("could not look")
        assert bool(check["fix"]) == (slow or check["status"] in {"warn", "fail"}), check


def test_a_folder_that_does_not_exist_is_exit_code_2(hackkit: Run) -> None:
    result = hackkit("doctor", "nowhere")
    assert result.returncode == 2
    assert "no folder nowhere" in result.stderr


def test_an_unknown_id_on_the_command_line_is_exit_code_2(hackkit: Run) -> None:
    result = hackkit("doctor", "--only", "uv", "--only", "uw")
    assert result.returncode == 2
    assert 'no check "uw"' in result.stderr
    assert ", git, " in result.stderr


def test_one_only_takes_several_ids(hackkit: Run) -> None:
    result = hackkit("doctor", "--json", "--offline", "--only", "disk,proxy")
    assert [each["id"] for each in json.loads(result.stdout)["checks"]] == ["disk", "proxy"]


def test_an_error_is_json_too_for_a_script_that_reads_json(hackkit: Run) -> None:
    result = hackkit("doctor", "--json", "--only", "uw")
    assert 'no check "uw"' in json.loads(result.stdout)["error"]["problem"]
    assert result.returncode == 2


@pytest.mark.skipif(os.name == "nt", reason="there a folder in use cannot be removed")
def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    here = f"cd {tmp_path} && mkdir gone && cd gone && rmdir ../gone"
    result = subprocess.run(
        ["sh", "-c", f"{here} && exec {sys.executable} -P -m hackkit doctor"],
        env=clean_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "does not exist any more" in result.stderr
    assert result.returncode == 2


def test_a_repair_that_failed_is_exit_code_1_also_for_a_warning(
    hackkit: Run, tmp_path: Path
) -> None:
    for name in (".hackkit.yml", ".env.example", ".env"):
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").mkdir()
    command = ("doctor", str(tmp_path), "--only", "env-file")
    assert hackkit(*command).returncode == 0  # a warning
    result = hackkit(*command, "--fix", "--yes")
    assert "the repair failed" in result.stderr
    assert result.returncode == 1


def test_fix_without_a_terminal_needs_yes(hackkit: Run) -> None:
    result = hackkit("doctor", "--fix")
    assert result.returncode == 2
    assert "--fix --yes" in result.stderr


def test_a_project_is_found_from_a_folder_inside_it(tmp_path: Path) -> None:
    write(tmp_path / "app" / ".hackkit.yml", "template: rag-app\n_commit: v0.1.0\n")
    write(tmp_path / "app" / "docs" / "deep" / "a.md", "text")
    project = ProjectFiles.find(tmp_path / "app" / "docs" / "deep")
    assert project == ProjectFiles((tmp_path / "app").resolve())
    assert (project.template, project.version) == ("rag-app", "0.1.0")


@pytest.mark.skipif(os.name == "nt", reason="there a process is interrupted in another way")
def test_ctrl_c_ends_doctor_at_once_with_130(checkout: Path, tmp_path: Path) -> None:
    write(
        checkout / "src" / "hackkit" / "doctor" / "checks" / "sleep.py",
        '"""Does it end?"""\n'
        "import pathlib, time\n"
        "from hackkit.project.context import Context\n"
        "from hackkit.doctor.findings import Category, Finding, ok\n"
        'TITLE, CATEGORY, SECONDS = "Sleep", Category.MACHINE, 60.0\n'
        "def check(context: Context) -> Finding:\n"
        "    pathlib.Path('started').touch()\n"
        "    time.sleep(60)\n"
        "    return ok('')\n",
    )
    with subprocess.Popen(
        [sys.executable, "-m", "hackkit", "doctor", "--only", "sleep", "--json"],
        env={**clean_environment(), "PYTHONPATH": str(checkout / "src")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        document, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert json.loads(document) == {"error": {"problem": "Interrupted.", "fix": ""}}
    assert b"Traceback" not in errors
