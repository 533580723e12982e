"""Making a conversation of a row: each column is used, named or refused."""

import json
from typing import Any

import pytest

from tune import checks
from tune.dataset import Example, Problem, to_example

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ASKED = {"prompt": "Hi", "completion": "Hello"}
TOOL = {"name": "get", "description": "d", "parameters": {"type": "object"}}
WRAPPED = {"type": "function", "function": TOOL}
SHAREGPT = [
    {"from": "human", "value": "Add, and add."},
    {"from": "function_call", "value": '{"name": "get", "arguments": {"n": 1}}'},
    {"from": "observation", "value": "5"},
    {"from": "gpt", "value": "5"},
]


def made(value: dict[str, Any]) -> Example:
    example = to_example(value)
    assert isinstance(example, Example), example
    return example


@pytest.mark.parametrize(
    ("value", "question", "answer", "unused"),
    [
        (
            {"instruction": "Sum up.", "context": "Long.", "response": "L.", "category": "sum"},
            "Sum up.\n\nLong.",
            "L.",
            ("category",),
        ),
        (
            {"instruction": "Ask.", "context": "", "response": "", "category": "qa"},
            "Ask.",
            "",
            ("category",),
        ),
        (
            {"id": 1, "context": "C", "question": "Q", "answers": {"text": ["A", "B"]}},
            "C\n\nQ",
            "A",
            ("id",),
        ),
        ({"context": "C", "question": "Q", "answers": {"text": []}}, "C\n\nQ", "", ()),
        ({"question": "Q", "answers": ["A", "B"]}, "Q", "A", ()),
        (
            {"question": "Q", "context": "CREATE T", "answer": "SELECT"},
            "CREATE T\n\nQ",
            "SELECT",
            (),
        ),
        ({"Context": "I am sad.", "Response": "Why?"}, "I am sad.", "Why?", ()),
        ({"instruction": "I", "input": "", "output": "O", "text": "I O"}, "I", "O", ("text",)),
        ({"instruction": "I", "output": "O", "source": "web"}, "I", "O", ("source",)),
        ({"user": "U", "assistant": "A", "category": "c"}, "U", "A", ("category",)),
        ({"text": "T", "label": 1}, "T", "1", ()),
        ({"text": "T", "label": True}, "T", "true", ()),
        ({"text": "T", "category": "c"}, "T", "c", ()),
        ({"text": "T", "target": "t", "note": "", "more": None}, "T", "t", ()),
        ({**ASKED, "label": "friendly"}, "Hi", "Hello", ("label",)),
        ({"prompt": TALK[:1], "completion": "Hello", "source": "web"}, "Hi", "Hello", ("source",)),
        ({"messages": TALK, "prompt": "Hi", "images": []}, "Hi", "Hello", ("prompt",)),
        ({"interactions": TALK, "meta": {"by": "me"}}, "Hi", "Hello", ("meta",)),
        (
            {"messages": [TALK[0], {**TALK[1], "reasoning_content": "Hm."}]},
            "Hi",
            "Hello",
            ("messages.reasoning_content",),
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_each_column_is_in_the_conversation_or_named(
    value: dict[str, Any], question: str, answer: str, unused: tuple[str, ...]
) -> None:
    example = made(value)
    assert [each["content"] for each in example.messages] == [question, answer]
    assert example.unused == unused


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({**ASKED, "label": True}, "KTO"),
        ({"prompt": "Hi", "completion": "", "label": "False"}, "KTO"),
        ({"messages": TALK, "label": False}, "KTO"),
        ({**ASKED, "rating": 5}, "ratings"),
        ({"text": "T", "label": "good", "score": "0.9"}, "ratings"),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}, "DPO"),
        ({"conversations": SHAREGPT[:1], "chosen": SHAREGPT[3], "rejected": {}}, "DPO"),
        ({"messages": TALK, "images": ["cat.png"]}, "only text"),
        ({"text": "<s>[INST] 2+2 [/INST] 4 </s>"}, "split the text"),
        ({"text": "<|im_start|>user\n2+2"}, "split the text"),
        ({"text": "### Instruction:\n2+2"}, "split the text"),
        ({"messages": TALK, "tools": [{**TOOL, "parameters": "none"}]}, "not an object"),
        ({"conversations": [SHAREGPT[0], {**SHAREGPT[1], "value": "get(1)"}]}, "function_call"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_data_for_another_kind_of_training_is_refused(value: dict[str, Any], says: str) -> None:
    found = to_example(value, "rows.jsonl", 7)
    assert isinstance(found, Problem)
    assert says in f"{found} {found.fix}"
    assert "\n" not in f"{found}"


@pytest.mark.parametrize("name", ["tools", "available_tools", "functions"])
@pytest.mark.parametrize(
    "tools", [[WRAPPED], [TOOL], json.dumps([TOOL]), json.dumps(TOOL)], ids=str
)
def test_tools_are_read_bare_and_as_text(name: str, tools: object) -> None:
    example = made({"messages": TALK, name: tools})
    assert (example.tools, example.unused) == ((WRAPPED,), ())


def test_what_a_tool_cannot_have_is_named() -> None:
    assert made({"messages": TALK, "tools": [{**TOOL, "returns": "a"}]}).unused == (
        "tools.returns",
    )


def test_the_calls_of_sharegpt_get_ids_that_their_results_name() -> None:
    both = {"from": "function-call", "value": f"[{SHAREGPT[1]['value']}, {SHAREGPT[1]['value']}]"}
    said = [SHAREGPT[0], both, SHAREGPT[2], SHAREGPT[2], SHAREGPT[3]]
    example = made({"conversations": said, "tools": json.dumps([TOOL])})
    _, calls, *results, _ = example.messages
    ids = [call["id"] for call in calls["tool_calls"]]
    assert ids == [each["tool_call_id"] for each in results] == ["call00001", "call00002"]
    assert calls["tool_calls"][0]["function"] == {"name": "get", "arguments": '{"n": 1}'}
    assert checks.check(example) == []
    assert example == made({"conversations": said, "tools": json.dumps([TOOL])})


def test_the_older_function_call_of_openai_is_read() -> None:
    call = {"role": "assistant", "content": None, "function_call": {"name": "get", "arguments": ""}}
    result = {"role": "function", "name": "get", "content": "5"}
    example = made({"messages": [TALK[0], call, result, TALK[1]], "functions": [TOOL]})
    assert [each["role"] for each in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert checks.check(example) == []


def test_the_roles_of_sharegpt_are_read_under_the_names_of_openai_too() -> None:
    said = [{"role": each["from"], "content": each["value"]} for each in SHAREGPT[:3]]
    example = made({"messages": [*said, TALK[1]], "tools": [TOOL]})
    assert [each["role"] for each in example.messages] == ["user", "assistant", "tool", "assistant"]
    assert checks.check(example) == []


@pytest.mark.parametrize(("only_last", "weights"), [(True, [0, None]), (False, [None, None])])
def test_only_the_last_answer_is_learned_if_the_row_says_so(
    only_last: bool, weights: list[int | None]
) -> None:
    example = made({"messages": TALK + TALK, "only_last": only_last})
    assert [each.get("weight") for each in example.messages[1::2]] == weights
    assert example.unused == ()


def test_a_role_that_only_sharegpt_has_is_unknown_in_messages() -> None:
    (problem,) = checks.check(made({"messages": [TALK[0], {"role": "bot", "content": "Hello"}]}))
    assert (problem.kind, problem.level) == ("role", "error")
    assert made({"conversations": [SHAREGPT[0], {"from": "bot", "value": "5"}]}).answer == "5"
