from pathlib import Path

import pytest
from mistral_server import MistralServer, text

from agent import memory, runner
from agent.events import (
    KINDS,
    Answer,
    Approval,
    Call,
    Decision,
    Draft,
    Event,
    Notice,
    Result,
    Task,
    Thought,
    Usage,
    as_dict,
    from_dict,
    pending,
)
from agent.settings import Settings

EACH: list[Event] = [
    Task("\ud800 \0 🫖; DROP TABLE chats; --", ("a.png",)),
    Thought("Hm.", "writer"),
    Call("a", "add", {"x": [1, {"y": None}]}),
    Result("a", "add", "3", True, 0.5),
    Approval("b", "write", {"path": "é.md"}),
    Decision("b", "edit", "", {"path": "e.md"}),
    Draft("The"),
    Answer("The end.", "a-model", "notice"),
    Notice("Careful."),
    Usage(2, 1.5, 10, 20, 0.001),
]


def test_every_kind_of_step_is_saved_unchanged(tmp_path: Path) -> None:
    assert {type(event) for event in EACH} == set(KINDS.values())
    for event in EACH:
        assert from_dict(as_dict(event)) == event
        memory.add(tmp_path, "chat", event)
    assert memory.events(tmp_path, "chat") == EACH


def test_conversations_are_listed_with_the_latest_first(tmp_path: Path) -> None:
    for chat in ("one", "two"):
        memory.add(tmp_path, chat, Task(f"Begin {chat}.\nMore."))
    memory.add(tmp_path, "one", Task("Go on."))
    assert [each.title for each in memory.chats(tmp_path)] == [
        "Begin one. More.",
        "Begin two. More.",
    ]


def test_each_browser_owns_only_what_it_started(tmp_path: Path) -> None:
    ada, bob = memory.new_visitor(), memory.new_visitor()
    owners = {"ada's": ada, "rest": memory.PROGRAMS, "command line": ""}
    for chat, owner in owners.items():
        memory.add(tmp_path, chat, Task("Begin."), owner)
    assert [each.id for each in memory.chats_of(tmp_path, ada)] == ["ada's"]
    assert len(memory.chats(tmp_path)) == 3
    assert [chat for chat in owners if memory.is_owner(tmp_path, chat, ada)] == ["ada's"]
    assert [chat for chat in owners if memory.is_owner(tmp_path, chat, memory.PROGRAMS)] == ["rest"]
    for other in (bob, "", None, " ", 0, "programs", f"{ada}\n", ada.upper(), [ada]):
        mine = {chat for chat in owners if memory.is_owner(tmp_path, chat, other)}  # type: ignore
        assert mine <= ({"rest"} if other == memory.PROGRAMS else set())
        assert memory.chats_of(tmp_path, other) == []  # type: ignore[arg-type]


def test_only_a_browser_has_a_new_conversation(tmp_path: Path) -> None:
    assert memory.is_owner(tmp_path, memory.new_id(), memory.new_visitor())
    assert not memory.is_owner(tmp_path, "", memory.new_visitor())
    assert not memory.is_owner(tmp_path, memory.new_id(), memory.PROGRAMS)


def test_a_call_gets_only_one_decision(tmp_path: Path) -> None:
    for chat in ("one", "two"):
        assert memory.decide(tmp_path, chat, Decision("a", "approve"))
    assert not memory.decide(tmp_path, "one", Decision("a", "refuse"))
    assert memory.decide(tmp_path, "one", Decision("b", "refuse"))
    assert len(memory.events(tmp_path, "one")) == 2


def test_a_deleted_conversation_is_gone_also_for_the_model(
    online: Settings, server: MistralServer
) -> None:
    chat = memory.new_id()
    server.will(text("Noted."), text("Who?"))
    list(runner.run(chat, Task("My name is Ada."), online))
    memory.delete(online.memory, chat)
    assert memory.events(online.memory, chat) == []
    list(runner.run(chat, Task("What is my name?"), online))
    assert "Ada" not in str(server.requests[-1].body["messages"])


def test_a_damaged_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "conversations.db").write_bytes(b"garbage" * 1000)
    memory.add(tmp_path, "chat", Task("Begin."))
    assert memory.events(tmp_path, "chat") == [Task("Begin.")]
    assert (tmp_path / "conversations.db.damaged").read_bytes().startswith(b"garbage")
    assert "moved to" in caplog.text


# What waits


def test_a_call_waits_until_it_is_decided_or_cancelled() -> None:
    one, two = Approval("a", "write", {}), Approval("b", "write", {})
    assert pending([Task("Do."), one, two]) == [one, two]
    assert pending([Task("Do."), one, two, Decision("a", "refuse")]) == [two]
    assert pending([Task("Do."), one, Task("Else.")]) == []
    assert pending([Task("Do."), one, Answer("Stopped.")]) == []
