"""The problems of a row, each with a fix."""

from typing import Any

import pytest

from tune import validate
from tune.dataset import Example, to_example

USER = {"role": "user", "content": "Where is it?"}
ASSISTANT = {"role": "assistant", "content": "Here."}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"id": "a1B2c3D4e", "type": "function", "function": {"name": "find", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a1B2c3D4e", "content": "here"}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def found(
    *messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()
) -> list[validate.Problem]:
    row = to_example({"messages": list(messages), "tools": list(tools)}, "rows.jsonl", 3)
    assert isinstance(row, Example), row
    return validate.check(row)


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
def test_a_good_row_has_no_problem(messages: tuple[dict[str, Any], ...]) -> None:
    assert found(*messages) == []


@pytest.mark.parametrize(
    ("kind", "fix", "messages"),
    [
        ("role", '"assistant"', (USER, {"role": "bot", "content": "Hi"})),
        ("role", '"user"', ({"role": "Human ", "content": "Hi"}, ASSISTANT)),
        ("role", '"system"', ({"role": "developer", "content": "Hi"}, USER, ASSISTANT)),
        ("role", '"tool"', ({"role": "narrator", "content": "Hi"}, ASSISTANT)),
        ("role", '"role": "user"', ({"content": "Hi"}, ASSISTANT)),
        ("order", "user's message is not first", (ASSISTANT, USER, ASSISTANT)),
        ("order", "user's message is not first", (SYSTEM, ASSISTANT)),
        ("order", "join", (USER, USER, ASSISTANT)),
        ("order", "into one", (USER, ASSISTANT, ASSISTANT)),
        ("order", "first", (USER, ASSISTANT, SYSTEM, USER, ASSISTANT)),
        ("order", "first", (SYSTEM, SYSTEM, USER, ASSISTANT)),
        ("no-answer", "add the answer", (USER,)),
        ("no-answer", "add the answer", (USER, ASSISTANT, USER)),
        ("empty-answer", "write the answer", (USER, {"role": "assistant", "content": " \n"})),
        ("empty-answer", "write the answer", (USER, {"role": "assistant"})),
        ("empty", "delete the row", ({"role": "user", "content": ""}, ASSISTANT)),
        ("empty", "delete the message", ({"role": "system", "content": ""}, USER, ASSISTANT)),
        ("weight", "0 (not trained on) or 1", (USER, {**ASSISTANT, "weight": 0.5})),
        ("weight", "only on the assistant's messages", ({**USER, "weight": 0}, ASSISTANT)),
        ("weight", "delete the row", (USER, {**ASSISTANT, "weight": 0})),
        ("control-token", "remove it", (USER, {"role": "assistant", "content": "Hi</s>"})),
        ("control-token", "remove it", ({"role": "user", "content": "[INST] Hi"}, ASSISTANT)),
        ("surrogate", "half", ({"role": "user", "content": "Hi \ud83d"}, ASSISTANT)),
        ("order", "tool_calls", (USER, RESULT, ASSISTANT)),
        ("tool-result", "the id of the call", (USER, ASSISTANT, RESULT, ASSISTANT)),
        (
            "tool-result",
            '"tool_call_id": "a1B2c3D4e"',
            (USER, CALLS, {**RESULT, "tool_call_id": "zzzzzzzzz"}, ASSISTANT),
        ),
        ("tool-result", "add {", (USER, CALLS, USER, ASSISTANT)),
        ("tool-id", "a1B2c3D4e", (USER, {**CALLS, "tool_calls": [{**CALL, "id": "call_1"}]})),
    ],
)
def test_a_problem_is_named_with_a_fix(
    kind: str, fix: str, messages: tuple[dict[str, Any], ...]
) -> None:
    problem = next(each for each in found(*messages) if each.level == "error")
    assert problem.kind == kind
    assert fix in f"{problem.text} {problem.fix}"


@pytest.mark.parametrize(("kind", "text"), [("surrogate", "\ud83d"), ("control-token", "[/INST]")])
def test_text_that_breaks_a_tokenizer_is_found_in_calls_and_tools(kind: str, text: str) -> None:
    function = {"name": "find", "arguments": {"city": text}}
    calls = {**CALLS, "tool_calls": [{**CALL, "function": function}]}
    tool = {"type": "function", "function": {"name": "find", "description": text}}
    assert [each.kind for each in found(USER, calls)] == [kind]
    assert [each.kind for each in found(USER, ASSISTANT, tools=(tool,))] == [kind]


def test_personal_data_is_found_in_the_arguments_of_a_call() -> None:
    function = {"name": "find", "arguments": {"to": "jo@gmail.com"}}
    (problem,) = found(USER, {**CALLS, "tool_calls": [{**CALL, "function": function}]})
    assert problem.kind == "personal-e-mail"


@pytest.mark.parametrize("arguments", ["{city: Paris}", "[1]", '"Paris"', '{"a": NaN}'])
def test_arguments_that_are_not_an_object_are_named(arguments: str) -> None:
    call = {**CALL, "function": {"name": "find", "arguments": arguments}}
    assert [each.kind for each in found(USER, {**CALLS, "tool_calls": [call]})] == [
        "tool-arguments"
    ]


def test_a_function_that_no_model_can_call_is_named() -> None:
    call = {**CALL, "function": {"name": "find it", "arguments": "{}"}}
    assert [each.kind for each in found(USER, {**CALLS, "tool_calls": [call]})] == ["tool-call"]


def test_a_call_of_a_tool_that_is_not_described_is_a_warning() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    (problem,) = found(USER, CALLS, tools=(other,))
    assert (problem.kind, problem.level) == ("tool-unknown", "warning")


def test_a_described_tool_is_no_problem() -> None:
    assert found(USER, CALLS, RESULT, ASSISTANT, tools=(TOOL,)) == []


def test_a_problem_says_file_and_line() -> None:
    assert str(found(USER)[0]).startswith("rows.jsonl, line 3: ")


def test_a_huge_row_is_a_warning() -> None:
    (problem,) = found({"role": "user", "content": "word " * 30_000}, ASSISTANT)
    assert (problem.kind, problem.level) == ("huge", "warning")


@pytest.mark.parametrize("text", ["Grüße aus Köln", "l’été"])
def test_text_in_the_wrong_encoding_is_a_warning(text: str) -> None:
    broken = text.encode().decode("cp1252")
    assert [each.kind for each in found({"role": "user", "content": broken}, ASSISTANT)] == [
        "mojibake"
    ]
    assert found({"role": "user", "content": text}, ASSISTANT) == []


# Personal data and secrets. These are put together so that no scanner takes them for real ones.

LETTERS = "a1b2c3d4e5f6g7h8" * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("an e-mail address", "Write to jo.doe+x@mail.company.io, please"),
        ("a phone number", "Call +49 (0)30 1234-5678"),
        ("a phone number", "Call 0049 30 12345678"),
        ("a phone number", "Appelez le 06 12 34 56 78"),
        ("a phone number", "Rufen Sie 030/1234567 an"),
        ("a phone number", "Call (212) 555-0123"),
        ("an IBAN", "Pay to DE89 3704 0044 0532 0130 00"),
        ("an IBAN", "Pay to GB82WEST12345698765432."),
        ("a card number", "It is 4111 1111 1111 1111"),
        ("a card number", "It is 378282246310005"),
        ("a card number", "It is 3782 822463 10005"),
        ("a Mistral API key", f"MISTRAL_API_KEY={LETTERS[:32]}"),
        ("a Mistral API key", f"MISTRAL_API_KEY={LETTERS[:32].swapcase()}"),
        ("a Hugging Face token", f"hf_{LETTERS[:34]}"),
        ("a GitHub token", f"ghp_{LETTERS[:36]}"),
        ("an API key", f"sk-proj-{LETTERS[:32]}"),
        ("an AWS key", "AKIA" + "ABCDEFGH" * 2),
        ("a bearer token", f"Authorization: Bearer {LETTERS[:30]}"),
        ("a private key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ],
)
def test_personal_data_and_secrets_are_found(name: str, text: str) -> None:
    assert [each for each, _ in validate.find_private(text)] == [name]


@pytest.mark.parametrize(
    "text",
    [
        "My order 4711-0815-2024 of 2026-11-25 10:30:15",
        "It costs 1.234.567,89 or 12,000,000 and 30 000 000",
        "At 192.168.100.200, version 10.12.13.14",
        "ISBN 978-3-16-148410-0",
        "The card 4111 1111 1111 1112 has a wrong check digit",
        "J Neurosci 1997 17 4087 4093 9151725",
        "DE88 3704 0044 0532 0130 00 has a wrong checksum",
        "Write to jo@example.com, @support, or me @ home",
        "See https://shop.example/a-very-long-name-of-a-page/and-another-one?with=4711",
        "from transformers import Mistral3ForConditionalGeneration",
        "scikit-learn, sk-learn-something-that-is-a-long-name",
    ],
)
def test_text_that_only_looks_similar_is_not_reported(text: str) -> None:
    assert list(validate.find_private(text)) == []


def test_a_secret_is_not_shown_whole() -> None:
    ((_, shown),) = validate.find_private(f"hf_{LETTERS[:34]}")
    assert LETTERS[:8] not in shown


def test_personal_data_is_a_warning_with_a_placeholder() -> None:
    (problem,) = found({"role": "user", "content": "I am jo@gmail.com"}, ASSISTANT)
    assert (problem.kind, problem.level) == ("personal-e-mail", "warning")
    assert "[EMAIL]" in problem.fix
