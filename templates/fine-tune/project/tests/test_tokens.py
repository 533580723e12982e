"""Mistral's tokens: counted as mistral-common counts them, joined as it joins them."""

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import (
    MistralRequestValidatorV13,
    ValidationMode,
)
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV13
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from tune import tokens
from tune.dataset import Example, to_example
from tune.errors import TuneError
from tune.rehearse import CONTROL, make_base


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(identity: str, arguments: object) -> dict[str, Any]:
    function = {"name": "order_status", "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def example(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> Example:
    found = to_example({"messages": list(messages), "tools": list(tools)}, "rows.jsonl", 1)
    assert isinstance(found, Example), found
    return found


NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"parameters": NUMBER, "name": "order_status"}}
EXAMPLES = {
    "a question": example(
        said("user", "Wo ist es?"), said("assistant", "Über morgen, à bientôt 🙂")
    ),
    "turns and spaces": example(
        said("system", "Be brief.\n"),
        said("user", "Hi"),
        said("assistant", "Hello"),
        said("user", "  And   now?\n"),
        said("assistant", " Bye\n\n"),
    ),
    "a call and its result": example(
        said("system", "Look it up."),
        said("user", "Where is 17?"),
        said("assistant", "", tool_calls=[call("abcdefghi", '{"number":17}')]),
        said("tool", '{"at": "dépôt"}', tool_call_id="abcdefghi"),
        said("assistant", "It is at the depot."),
        tools=(TOOL,),
    ),
    "words and two calls": example(
        said("user", "Where are 1 and 2?"),
        said(
            "assistant",
            "Let me see.",
            tool_calls=[call("abcdefghi", {"number": 1}), call("abcdefghj", '{"ü": [2, null]}')],
        ),
        tools=(TOOL, TOOL),
    ),
    "an answer that is not learned": example(
        said("user", "Hi"),
        said("assistant", "Go away", weight=0),
        said("user", "Hi?"),
        said("assistant", "Hello", weight=1),
    ),
}
every_example = pytest.mark.parametrize("one", EXAMPLES.values(), ids=EXAMPLES)


@cache
def mistral() -> MistralTokenizer:
    """Messages to tokens by mistral-common, in the version for Ministral 3."""
    file = max(Path(str(files("mistral_common"))).glob("data/tekken_*.json"))
    held = json.loads(file.read_text("utf-8"))
    config, version = held["config"], TokenizerVersion.v13
    tekken = Tekkenizer(
        held["vocab"],
        [{"rank": at, "token_str": name, "is_control": True} for at, name in enumerate(CONTROL)],
        config["pattern"],
        config["default_vocab_size"],
        config["default_num_special_tokens"],
        version,
    )
    checks = MistralRequestValidatorV13(ValidationMode.finetuning)
    return MistralTokenizer(InstructTokenizerV13(tekken), checks, get_normalizer(version))


def by_mistral(one: Example) -> list[int]:
    messages = [{k: v for k, v in each.items() if k != "weight"} for each in one.messages]
    request = ChatCompletionRequest(messages=messages, tools=list(one.tools) or None)
    return mistral().encode_chat_completion(request).tokens


class Generation(Extension):
    """The generation block of Transformers, which marks nothing here."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def written(one: Example) -> str:
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation]
    )
    jinja.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return jinja.from_string(tokens.training_template()).render(
        messages=list(one.messages), tools=list(one.tools), bos_token="<s>", eos_token="</s>"
    )


def by_our_template(one: Example) -> list[int]:
    text = written(one)
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(map(re.escape, CONTROL))})", text):
        known = [CONTROL.index(piece)] if piece in CONTROL else None
        tekken = mistral().instruct_tokenizer.tokenizer
        ids += known or tekken.encode(piece, bos=False, eos=False)
    return ids


@every_example
def test_an_example_has_as_many_tokens_as_mistral_common_makes_of_it(one: Example) -> None:
    assert tokens.count(one).total == len(by_mistral(one))


@every_example
def test_the_template_writes_what_mistral_common_writes_token_by_token(one: Example) -> None:
    assert by_our_template(one) == by_mistral(one)


def test_only_answers_with_a_weight_are_counted_as_learned() -> None:
    learned = tokens.count(EXAMPLES["an answer that is not learned"]).learned
    assert learned == tokens.count(example(said("user", "Hi"), said("assistant", "Hello"))).learned


def test_control_tokens_are_counted_and_the_end_is_learned() -> None:
    counted = tokens.count(example(said("user", "Hi"), said("assistant", "Hello")))
    assert counted == (6, 2)  # <s> [INST] Hi [/INST] | Hello </s>


def test_a_million_blanks_in_an_example_are_counted() -> None:
    counted = tokens.count(example(said("user", " " * 1_000_000 + "x"), said("assistant", "Hi")))
    assert counted.total > 10_000


# What is trained on, with a tokenizer of Transformers


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    texts = [message["content"] for each in EXAMPLES.values() for message in each.messages]
    folder = make_base(tmp_path_factory.mktemp("tiny") / "model", texts)
    made = transformers.AutoTokenizer.from_pretrained(folder)
    made.chat_template = tokens.training_template()
    return made


def test_what_is_learned_is_the_answers_with_their_end(tokenizer: Any) -> None:
    learned = tokens.trained_text(tokenizer, EXAMPLES["turns and spaces"])
    assert learned == ["Hello</s>", " Bye\n\n</s>"]


def test_what_is_learned_of_a_call_is_the_call(tokenizer: Any) -> None:
    assert tokens.trained_text(tokenizer, EXAMPLES["words and two calls"]) == [
        'Let me see.[TOOL_CALLS]order_status[ARGS]{"number": 1}'
        '[TOOL_CALLS]order_status[ARGS]{"ü": [2, null]}</s>'
    ]


def test_an_answer_of_weight_0_is_not_learned(tokenizer: Any) -> None:
    learned = tokens.trained_text(tokenizer, EXAMPLES["an answer that is not learned"])
    assert learned == ["Hello</s>"]


def test_our_template_is_accepted(tokenizer: Any) -> None:
    tokens.verify(tokenizer, EXAMPLES.values())


@pytest.mark.parametrize(
    ("mark", "instead"),
    [
        ("reply.text ~ eos_token", "reply.text"),  # never learns to end
        ("{{- '[INST]'", "{% generation %}{{- '[INST]'"),  # learns the question, too
    ],
)
def test_a_template_that_marks_something_else_is_refused(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, mark: str, instead: str
) -> None:
    template = tokens.training_template().replace(mark, instead)
    if "generation" in instead:
        template = template.replace("'[/INST]' }}", "'[/INST]' }}{% endgeneration %}")
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(TuneError, match=r"rows\.jsonl, line 1: training would learn"):
        tokens.verify(tokenizer, [EXAMPLES["a question"]])
