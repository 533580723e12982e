"""The problems of an example, each with a fix."""

from typing import Any

import pytest

from tune import checks
from tune.dataset import Example, Problem, to_example

USER = {"role": "user", "content": "Where is it?"}
ASSISTANT = {"role": "assistant", "content": "Here."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"id": "a1B2c3D4e", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a1B2c3D4e", "content": "here"}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def found(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> list[Problem]:
    example = to_example({"messages": list(messages), "tools": list(tools)}, "rows.jsonl", 3)
    assert isinstance(example, Example), example
    return checks.check(example)


def calling(name: str, arguments: object) -> dict[str, Any]:
    return {**CALLS, "tool_calls": [{**CALL, "function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize(
    "messages",
    [
        (USER, ASSISTANT),
        (SYSTEM, USER, ASSISTANT, USER, ASSISTANT),
        (USER, CALLS, RESULT, ASSISTANT),
        (USER, CALLS),
        (USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 1}),
    ],
    ids=lambda messages: " ".join(message["role"] for message in messages),
)
def test_a_good_example_has_no_problem(messages: tuple[dict[str, Any], ...]) -> None:
    assert found(*messages, tools=(TOOL,)) == []


@pytest.mark.parametrize(
    ("kind", "fix", "messages"),
    [
        ("role", "write assistant", ({"role": "narrator", "content": "Hi"}, ASSISTANT)),
        ("role", "write assistant", ({"content": "Hi"}, ASSISTANT)),
        ("order", "put a question before", (ASSISTANT, USER, ASSISTANT)),
        ("order", "put a question before", (SYSTEM, ASSISTANT)),
        ("order", "put a question before", (USER, ASSISTANT, ASSISTANT)),
        ("order", "join", (USER, USER, ASSISTANT)),
        ("order", "only once", (USER, ASSISTANT, SYSTEM, USER, ASSISTANT)),
        ("no-answer", "add the answer", (USER,)),
        ("no-answer", "add the answer", (USER, ASSISTANT, USER)),
        ("empty", "write it", (USER, {"role": "assistant", "content": " \n"})),
        ("empty", "write it", ({"role": "user"}, ASSISTANT)),
        ("weight", "0 (not trained on) or 1", (USER, {**ASSISTANT, "weight": 0.5})),
        ("weight", "at least one answer", (USER, {**ASSISTANT, "weight": 0})),
        ("control-token", "remove it", (USER, {"role": "assistant", "content": "Hi</s>"})),
        ("control-token", "remove it", ({"role": "user", "content": "[INST] Hi"}, ASSISTANT)),
        ("control-token", "remove it", (USER, calling("find", {"city": "[/INST]"}))),
        ("control-token", "remove it", ({"role": "user", "content": "Hi \ud83d"}, ASSISTANT)),
        ("order", "tool_calls", (USER, RESULT, ASSISTANT)),
        ("tool-result", "the id of the call", (USER, ASSISTANT, RESULT, ASSISTANT)),
        ("tool-result", "add {", (USER, CALLS, USER, ASSISTANT)),
        ("tool-call", "an object", (USER, calling("find", "{city: Paris}"))),
        ("tool-call", "an object", (USER, calling("find", '{"a": NaN}'))),
    ],
)
def test_a_problem_is_named_with_its_line_and_a_fix(
    kind: str, fix: str, messages: tuple[dict[str, Any], ...]
) -> None:
    problem = next(each for each in found(*messages) if each.level == "error")
    assert problem.kind == kind
    assert str(problem).startswith("rows.jsonl, line 3: ")
    assert fix in f"{problem.text} {problem.fix}"


def test_control_tokens_are_found_in_the_description_of_a_tool() -> None:
    tool = {"type": "function", "function": {"name": "find", "description": "[/INST]"}}
    assert [each.kind for each in found(USER, ASSISTANT, tools=(tool,))] == ["control-token"]


OTHER = {"type": "function", "function": {"name": "other"}}
ODD = {**CALL, "function": {"name": "find it", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("kind", "messages", "tools"),
    [
        ("tool-unknown", (USER, CALLS), ()),
        ("tool-unknown", (USER, CALLS), (OTHER,)),
        ("order", (USER, CALLS, RESULT, USER, ASSISTANT), (TOOL,)),
        ("text-and-calls", (USER, {**CALLS, "content": "Let me see."}), (TOOL,)),
        ("tool-name", (USER, {**CALLS, "tool_calls": [{**CALL, "id": "call_1"}]}), (TOOL,)),
        (
            "tool-name",
            (USER, {**CALLS, "tool_calls": [ODD]}),
            ({"function": {"name": "find it"}},),
        ),
        ("placeholder", ({"role": "user", "content": "Hello {{ name }},"}, ASSISTANT), ()),
        ("placeholder", (USER, {"role": "assistant", "content": "Call {{Phone Number}}"}), ()),
    ],
)
def test_what_can_be_learned_but_is_odd_is_a_warning(
    kind: str, messages: tuple[dict[str, Any], ...], tools: tuple[dict[str, Any], ...]
) -> None:
    (problem,) = found(*messages, tools=tools)
    assert (problem.kind, problem.level) == (kind, "warning")


@pytest.mark.parametrize("text", ['{"a": {"b": {}}}', "{one}", "{{}}", "f(x) = {{1, 2},\n{3}}"])
def test_braces_are_no_placeholder(text: str) -> None:
    assert found({"role": "user", "content": text}, ASSISTANT) == []


@pytest.mark.parametrize("text", ["Grüße aus Köln", "l’été"])
def test_text_in_the_wrong_encoding_is_a_warning(text: str) -> None:
    broken = text.encode().decode("cp1252")
    (problem,) = found({"role": "user", "content": broken}, ASSISTANT)
    assert (problem.kind, problem.level) == ("mojibake", "warning")
    assert found({"role": "user", "content": text}, ASSISTANT) == []


# Personal data and secrets. These are put together so that no scanner takes them for real ones.

LETTERS = "a1b2c3d4e5f6g7h8" * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("an e-mail address", "Write to jo.doe+x@mail.company.io, please"),
        ("a phone number", "Call +49 (0)30 1234-5678"),
        ("a phone number", "Appelez le 06 12 34 56 78"),
        ("a phone number", "Rufen Sie 030/1234567 an"),
        ("a phone number", "Call (212) 555-0123"),
        ("a Mistral API key", f"MISTRAL_API_KEY={LETTERS[:32]}"),
        ("a Hugging Face token", f"hf_{LETTERS[:34]}"),
        ("an API key", f"sk-proj-{LETTERS[:32]}"),
        ("a bearer token", f"Authorization: Bearer {LETTERS[:30]}"),
    ],
)
def test_personal_data_and_secrets_are_found_and_not_shown_whole(name: str, text: str) -> None:
    ((kind, shown),) = checks.find_private(text)
    assert kind == name
    assert shown[:3] in text and shown[4:] not in text


@pytest.mark.parametrize(
    "text",
    [
        "My order 4711-0815-2024 of 2026-11-25 10:30:15",
        "It costs 1.234.567,89 or 12,000,000 and 30 000 000",
        "At 192.168.100.200, version 10.12.13.14, ISBN 978-3-16-148410-0",
        "J Neurosci 1997 17 4087 4093 9151725",
        "Write to jo@example.com, @support, or me @ home",
        "from transformers import Mistral3ForConditionalGeneration",
    ],
)
def test_text_that_only_looks_similar_is_not_reported(text: str) -> None:
    assert list(checks.find_private(text)) == []


def test_personal_data_is_a_warning_with_a_placeholder() -> None:
    (problem,) = found({"role": "user", "content": "I am jo@gmail.com"}, ASSISTANT)
    assert (problem.kind, problem.level) == ("personal", "warning")
    assert "[EMAIL]" in problem.fix
