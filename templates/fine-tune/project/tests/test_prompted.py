import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mistral_server import CHAT, MistralServer, status, text

from tune import prompted
from tune.evaluate import Options, evaluate
from tune.kept import Kept
from tune.prompted import Model
from tune.runs import Run
from tune.settings import Settings

KEY = "NotARealKeyNotARealKeyNotARealKe"  # as long as a real one
QUICK: dict[str, Any] = {"requests_per_second": 0, "backoff": 0.01, "patience": 0.1, "cooldown": 0}
QUESTIONS = [[{"role": "user", "content": f"question {n}"}] for n in range(4)]


class Api:
    """Answers in capitals, and fails after so many answers."""

    def __init__(self, good: int = 99) -> None:
        self.good, self.asked = good, 0

    def __call__(self, messages: Sequence[dict[str, Any]]) -> str:
        if self.asked >= self.good:
            raise ConnectionError("The network is gone.")
        self.asked += 1
        return str(messages[-1]["content"]).upper()


def silent(done: int, rows: int) -> None:
    pass


def test_every_question_is_asked_and_counted(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    model = Model("small", Kept(tmp_path / "cache.jsonl"), Api())
    found = model.answers(QUESTIONS, lambda done, rows: seen.append((done, rows)))
    assert [reply.text for reply in found.replies] == [f"QUESTION {n}" for n in range(4)]
    assert found.problem == ""
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    cache, api = tmp_path / "cache.jsonl", Api()
    first = Model("small", Kept(cache), Api()).answers(QUESTIONS, silent)
    second = Model("small", Kept(cache), api).answers(QUESTIONS, silent)
    assert api.asked == 0
    assert [reply.text for reply in second.replies] == [reply.text for reply in first.replies]


def test_a_failure_keeps_what_was_answered_and_the_next_time_goes_on(tmp_path: Path) -> None:
    cache, api = tmp_path / "cache.jsonl", Api()
    broken = Model("small", Kept(cache), Api(good=2)).answers(QUESTIONS, silent)
    assert len(broken.replies) == 2
    assert broken.problem == "The network is gone"
    whole = Model("small", Kept(cache), api).answers(QUESTIONS, silent)
    assert (len(whole.replies), api.asked) == (4, 2)


def test_another_model_or_another_example_is_asked_again(tmp_path: Path) -> None:
    cache, api = tmp_path / "cache.jsonl", Api()
    Model("small", Kept(cache), Api()).answers(QUESTIONS, silent)
    Model("large", Kept(cache), api).answers(QUESTIONS[:1], silent)
    shown = [{"role": "system", "content": "an example"}, *QUESTIONS[0]]
    Model("small", Kept(cache), api).answers([shown], silent)
    assert api.asked == 2


def test_a_line_that_a_power_cut_left_half_is_asked_again(tmp_path: Path) -> None:
    cache, api = tmp_path / "cache.jsonl", Api()
    Model("small", Kept(cache), Api()).answers(QUESTIONS, silent)
    text = cache.read_text("utf-8")
    cache.write_text(text[: len(text) - 20], "utf-8")
    assert len(Model("small", Kept(cache), api).answers(QUESTIONS, silent).replies) == 4
    assert api.asked == 1
    assert len(Model("small", Kept(cache), api).answers(QUESTIONS, silent).replies) == 4
    assert api.asked == 1


def test_an_answer_may_hold_any_kind_of_line_break(tmp_path: Path) -> None:
    cache, said = tmp_path / "cache.jsonl", "one\u2028two\nthree\x85four"
    Model("small", Kept(cache), lambda messages: said).answers(QUESTIONS[:1], silent)
    [reply] = Model("small", Kept(cache), Api(good=0)).answers(QUESTIONS[:1], silent).replies
    assert reply.text == said


def test_the_cache_holds_answers_and_no_key(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache.jsonl"
    Model("small", Kept(cache), Api()).answers(QUESTIONS[:1], silent)
    assert set(json.loads(cache.read_text("utf-8"))) == {"key", "text", "seconds", "tokens", "cut"}


def test_without_a_key_no_prompted_model_is_asked() -> None:
    assert prompted.model(Settings(mistral_api_key="")) is None


# With the API itself, played on loopback


@pytest.fixture
def server() -> Iterator[MistralServer]:
    with MistralServer() as server:
        yield server


@pytest.fixture
def online(tuned: Any, server: MistralServer) -> Settings:
    """The settings of the tuned run, and a key."""
    key = {"mistral_api_key": KEY, "mistral_server_url": server.url}
    return Settings(**{**tuned.settings.model_dump(), **key, **QUICK})


@pytest.fixture
def run(tuned: Any, online: Settings) -> Iterator[Run]:
    """A copy of the tuned run, to write into; the saved answers of the API are deleted."""
    run = Run(Path(shutil.copytree(tuned.run.folder, tuned.run.folder.with_name("prompted"))))
    yield run
    shutil.rmtree(run.folder)
    (online.runs / "prompted.jsonl").unlink(missing_ok=True)


def test_a_key_adds_a_model_that_is_prompted_with_the_task(
    server: MistralServer, online: Settings, run: Run
) -> None:
    server.will(*[text('{"team": "billing", "urgent": true}')] * 4)
    found = evaluate(run, online, Options(rows=6, api_rows=4))
    assert found.systems["prompted"].rows == 4
    assert found.systems["prompted"].label == "mistral-small-latest, prompted with 12 examples"
    assert found.samples[3].answers["prompted"] == '{"team": "billing", "urgent": true}'
    assert any("prompted with 12 examples: no proof" in note for note in found.notes)
    asked = [request.body["messages"] for request in server.requests if request.path == CHAT]
    assert [messages[-1] for messages in asked] == [each.question[-1] for each in found.samples[:4]]
    assert all(len(messages) == 1 + 2 * 12 + 1 for messages in asked)


def test_an_api_that_fails_spoils_nothing(
    server: MistralServer, online: Settings, run: Run
) -> None:
    server.will(text("{}"), *[status(503)] * 50)
    found = evaluate(run, online, Options(rows=6))
    assert found.systems["prompted"].rows == 1
    assert any(
        note.startswith("mistral-small-latest answered 1 of 6 rows, then failed: ")
        for note in found.notes
    )
    assert run.report.is_file()


def test_an_api_that_never_answers_is_named_and_left_out(
    server: MistralServer, online: Settings, run: Run
) -> None:
    server.will(*[status(401)] * 50)
    found = evaluate(run, online, Options(rows=6))
    assert set(found.systems) == {"base", "tuned"}
    assert any("answered 0 of 6 rows" in note for note in found.notes)


def test_no_prompted_model_is_asked_when_no_rows_are_wanted_for_it(
    server: MistralServer, online: Settings, run: Run
) -> None:
    assert "prompted" not in evaluate(run, online, Options(rows=6, api_rows=0)).systems
    assert server.requests == []
