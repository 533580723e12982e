from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Talk
from mistral_server import CHAT, MistralServer, calls, text

from agent.events import Answer, Approval, Call, Decision, Event, Result, Thought
from agent.graph import TEAM

WRITE = ("write_file", {"path": "note.md", "text": "42"})


@pytest.fixture(autouse=True)
def one_agent() -> None:
    """Not in this file: the real team runs."""


def who(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.agent, event.tool) for event in events if isinstance(event, Call)]


def tools(server: MistralServer) -> list[set[str]]:
    """The tools that each request offered to the model."""
    chats = [request.body for request in server.requests if request.path == CHAT]
    return [{tool["function"]["name"] for tool in body["tools"]} for body in chats]


def test_the_planner_hands_over_and_every_step_is_seen(talk: Talk) -> None:
    talk.will(calls(("ask_researcher", {"task": "2 * 21"}), text="The researcher knows."))
    talk.will(calls(("calculate", {"expression": "2 * 21"}), text="I calculate."))
    talk.will(text("It is 42."), text("The team says 42."))
    events = talk.do("What is 2 * 21?")
    assert who(events) == [("", "ask_researcher"), ("researcher", "calculate")]
    assert [event.agent for event in events if isinstance(event, Thought)] == ["", "researcher"]
    results = [(event.agent, event.text) for event in events if isinstance(event, Result)]
    assert results == [("researcher", "42"), ("", "It is 42.")]
    [answer] = [event for event in events if isinstance(event, Answer)]
    assert answer.text == "The team says 42."


def test_each_agent_has_the_tools_of_its_job(talk: Talk) -> None:
    talk.will(calls(("ask_researcher", {"task": "a"}), ("ask_writer", {"task": "b"})))
    talk.will(text("A."), text("B."), text("Done."))
    talk.do("Both.")
    planner, *specialists, _ = tools(talk.server)
    assert planner == {f"ask_{each.name}" for each in TEAM}
    assert sorted("write_file" in offered for offered in specialists) == [False, True]


def test_a_specialists_call_waits_for_approval_too(talk: Talk, workspace: Path) -> None:
    talk.will(calls(("ask_writer", {"task": "Write 42."})), calls(WRITE))
    events = talk.do("Write it.")
    [approval] = [event for event in events if isinstance(event, Approval)]
    assert approval.tool == "write_file"
    assert not (workspace / "note.md").exists()
    talk.will(text("I wrote it."), text("Written."))
    events = talk.do([Decision(approval.id, "approve")])
    assert (workspace / "note.md").read_text(encoding="utf-8") == "42"
    assert who(events) == [("writer", "write_file")]  # the hand-over is not emitted twice
    assert talk.waiting() == []


def test_a_rejection_reaches_the_specialist(talk: Talk, workspace: Path) -> None:
    talk.will(calls(("ask_writer", {"task": "Write 42."})), calls(WRITE))
    events = talk.do("Write it.")
    [approval] = [event for event in events if isinstance(event, Approval)]
    talk.will(text("I was not allowed to."), text("Not written."))
    talk.do([Decision(approval.id, "refuse", "wrong file")])
    assert "wrong file" in str(talk.sent()[-2])
    assert not (workspace / "note.md").exists()


def test_without_a_model_the_team_works_too(offline: Talk, workspace: Path) -> None:
    events = offline.do("What is 2 * 21? Write it to out.md.")
    assert ("", "ask_researcher") in who(events)
    assert ("researcher", "calculate") in who(events)
    [approval] = [event for event in events if isinstance(event, Approval)]
    offline.do([Decision(approval.id, "approve")])
    assert "42" in (workspace / "out.md").read_text(encoding="utf-8")
