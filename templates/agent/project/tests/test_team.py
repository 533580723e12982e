from collections.abc import Sequence
from pathlib import Path

import pytest
from mistral_server import CHAT, MistralServer, calls, text

from agent import memory, runner
from agent.settings import Settings
from agent.events import Answer, Approval, Call, Decision, Result, Event, Task, Thought
from agent.graph import TEAM

WRITE = ("write_file", {"path": "note.md", "text": "42"})


@pytest.fixture(autouse=True)
def one_agent() -> None:
    """Not in this file: the real team runs."""


@pytest.fixture
def chat() -> str:
    return memory.new_id()


def do(chat: str, request: str | Sequence[Decision], settings: Settings) -> list[Event]:
    return list(runner.run(chat, Task(request) if isinstance(request, str) else request, settings))


def who(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.agent, event.tool) for event in events if isinstance(event, Call)]


def tools(server: MistralServer) -> list[set[str]]:
    """The tools that each request offered to the model."""
    chats = [request.body for request in server.requests if request.path == CHAT]
    return [{tool["function"]["name"] for tool in body["tools"]} for body in chats]


def test_the_planner_hands_over_and_every_step_is_seen(
    online: Settings, server: MistralServer, chat: str
) -> None:
    server.will(calls(("ask_researcher", {"task": "2 * 21"}), text="The researcher knows."))
    server.will(calls(("calculate", {"expression": "2 * 21"}), text="I calculate."))
    server.will(text("It is 42."), text("The team says 42."))
    events = do(chat, "What is 2 * 21?", online)
    assert who(events) == [("", "ask_researcher"), ("researcher", "calculate")]
    assert [event.agent for event in events if isinstance(event, Thought)] == ["", "researcher"]
    results = [(event.agent, event.text) for event in events if isinstance(event, Result)]
    assert results == [("researcher", "42"), ("", "It is 42.")]
    [answer] = [event for event in events if isinstance(event, Answer)]
    assert answer.text == "The team says 42."


def test_each_agent_has_the_tools_of_its_job(
    online: Settings, server: MistralServer, chat: str
) -> None:
    server.will(calls(("ask_researcher", {"task": "a"}), ("ask_writer", {"task": "b"})))
    server.will(text("A."), text("B."), text("Done."))
    do(chat, "Both.", online)
    planner, *specialists, _ = tools(server)
    assert planner == {f"ask_{each.name}" for each in TEAM}
    assert sorted("write_file" in offered for offered in specialists) == [False, True]


def test_a_specialists_call_waits_for_approval_too(
    online: Settings, server: MistralServer, chat: str, workspace: Path
) -> None:
    server.will(calls(("ask_writer", {"task": "Write 42."})), calls(WRITE))
    events = do(chat, "Write it.", online)
    [approval] = [event for event in events if isinstance(event, Approval)]
    assert approval.tool == "write_file"
    assert not (workspace / "note.md").exists()
    server.will(text("I wrote it."), text("Written."))
    events = do(chat, [Decision(approval.id, "approve")], online)
    assert (workspace / "note.md").read_text(encoding="utf-8") == "42"
    assert who(events) == [("writer", "write_file")]  # the hand-over is not emitted twice
    assert runner.waiting(chat, online) == []


def test_a_rejection_reaches_the_specialist(
    online: Settings, server: MistralServer, chat: str, workspace: Path
) -> None:
    server.will(calls(("ask_writer", {"task": "Write 42."})), calls(WRITE))
    events = do(chat, "Write it.", online)
    [approval] = [event for event in events if isinstance(event, Approval)]
    server.will(text("I was not allowed to."), text("Not written."))
    do(chat, [Decision(approval.id, "refuse", "wrong file")], online)
    assert "wrong file" in str(server.requests[-2].body["messages"])
    assert not (workspace / "note.md").exists()


def test_without_a_model_the_team_works_too(settings: Settings, chat: str, workspace: Path) -> None:
    events = do(chat, "What is 2 * 21? Write it to out.md.", settings)
    assert ("", "ask_researcher") in who(events)
    assert ("researcher", "calculate") in who(events)
    [approval] = [event for event in events if isinstance(event, Approval)]
    do(chat, [Decision(approval.id, "approve")], settings)
    assert "42" in (workspace / "out.md").read_text(encoding="utf-8")
