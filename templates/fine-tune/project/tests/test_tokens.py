"""Mistral's tokens: counted as mistral-common counts them, put together as it puts them."""

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
from mistral_common.protocol.instruct.validator import MistralRequestValidatorV13, ValidationMode
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV13
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from tune.errors import TuneError
from tune.rows import tokens
from tune.rows.row import Row, to_row
from tune.training.tiny import CONTROL

VERSION = TokenizerVersion.v13


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(identity: str, arguments: object) -> dict[str, Any]:
    function = {"name": "order_status", "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def row(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> Row:
    found = to_row({"messages": list(messages), "tools": list(tools)}, "rows.jsonl", 1)
    assert isinstance(found, Row), found
    return found


NUMBER = {"type": "object", "properties": {"number": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"parameters": NUMBER, "name": "order_status"}}
ROWS = {
    "a question": row(said("user", "Wo ist es?"), said("assistant", "Über morgen, à bientôt 🙂")),
    "turns and spaces": row(
        said("system", "Be brief.\n"),
        said("user", "Hi"),
        said("assistant", "Hello"),
        said("user", "  And   now?\n"),
        said("assistant", " Bye\n\n"),
    ),
    "a call and its result": row(
        said("system", "Look it up."),
        said("user", "Where is 17?"),
        said("assistant", "", tool_calls=[call("abcdefghi", '{"number":17}')]),
        said("tool", '{"at": "dépôt"}', tool_call_id="abcdefghi"),
        said("assistant", "It is at the depot."),
        tools=(TOOL,),
    ),
    "words and two calls": row(
        said("user", "Where are 1 and 2?"),
        said(
            "assistant",
            "Let me see.",
            tool_calls=[call("abcdefghi", {"number": 1}), call("abcdefghj", '{"ü": [2, null]}')],
        ),
        tools=(TOOL, TOOL),
    ),
    "an answer that is not learned": row(
        said("user", "Hi"),
        said("assistant", "Go away", weight=0),
        said("user", "Hi?"),
        said("assistant", "Hello", weight=1),
    ),
}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


@cache
def mistral() -> MistralTokenizer:
    """Mistral's own way from messages to tokens, at the version of Ministral 3."""
    file = max(Path(str(files("mistral_common"))).glob("data/tekken_*.json"))
    held = json.loads(file.read_text("utf-8"))
    config = held["config"]
    tekken = Tekkenizer(
        held["vocab"],
        [{"rank": at, "token_str": name, "is_control": True} for at, name in enumerate(CONTROL)],
        config["pattern"],
        config["default_vocab_size"],
        config["default_num_special_tokens"],
        VERSION,
    )
    checks = MistralRequestValidatorV13(ValidationMode.finetuning)
    return MistralTokenizer(InstructTokenizerV13(tekken), checks, get_normalizer(VERSION))


def by_mistral(row: Row) -> list[int]:
    messages = [{k: v for k, v in each.items() if k != "weight"} for each in row.messages]
    request = ChatCompletionRequest(messages=messages, tools=list(row.tools) or None)
    return mistral().encode_chat_completion(request).tokens


class Generation(Extension):
    """The block that Transformers knows, which marks nothing here."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def by_our_template(row: Row) -> list[int]:
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation]
    )
    jinja.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    text = jinja.from_string(tokens.training_template()).render(
        messages=list(row.messages), tools=list(row.tools), bos_token="<s>", eos_token="</s>"
    )
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(map(re.escape, CONTROL))})", text):
        known = [CONTROL.index(piece)] if piece in CONTROL else None
        tekken = mistral().instruct_tokenizer.tokenizer
        ids += known or tekken.encode(piece, bos=False, eos=False)
    return ids


@every_row
def test_a_row_has_as_many_tokens_as_mistral_common_makes_of_it(row: Row) -> None:
    assert tokens.count(row).total == len(by_mistral(row))


@every_row
def test_the_template_writes_what_mistral_common_writes_token_by_token(row: Row) -> None:
    assert by_our_template(row) == by_mistral(row)


def test_only_answers_with_a_weight_are_counted_as_learned() -> None:
    learned = row(said("user", "Hi"), said("assistant", "Hello"))
    assert (
        tokens.count(ROWS["an answer that is not learned"]).learned == tokens.count(learned).learned
    )


def test_control_tokens_are_counted_and_the_end_is_learned() -> None:
    counted = tokens.count(row(said("user", "Hi"), said("assistant", "Hello")))
    assert counted == (6, 2)  # <s> [INST] Hi [/INST] | Hello </s>


def test_a_million_blanks_in_a_row_are_counted() -> None:
    counted = tokens.count(row(said("user", " " * 1_000_000 + "x"), said("assistant", "Hi")))
    assert counted.total > 10_000


# What training learns from, with a tokenizer of Transformers


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tune.training import tiny

    texts = [message["content"] for each in ROWS.values() for message in each.messages]
    folder = tiny.make(tmp_path_factory.mktemp("tiny") / "model", texts)
    made = transformers.AutoTokenizer.from_pretrained(folder)
    made.chat_template = tokens.training_template()
    return made


def test_what_is_learned_is_the_answers_with_their_end(tokenizer: Any) -> None:
    learned = tokens.trained_text(tokenizer, ROWS["turns and spaces"])
    assert learned == ["Hello</s>", " Bye\n\n</s>"]


def test_what_is_learned_of_a_call_is_the_call(tokenizer: Any) -> None:
    assert tokens.trained_text(tokenizer, ROWS["words and two calls"]) == [
        'Let me see.[TOOL_CALLS]order_status[ARGS]{"number": 1}'
        '[TOOL_CALLS]order_status[ARGS]{"ü": [2, null]}</s>'
    ]


def test_an_answer_of_weight_0_is_not_learned(tokenizer: Any) -> None:
    learned = tokens.trained_text(tokenizer, ROWS["an answer that is not learned"])
    assert learned == ["Hello</s>"]


def test_our_template_is_found_right(tokenizer: Any) -> None:
    tokens.verify(tokenizer, ROWS.values())


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
        tokens.verify(tokenizer, [ROWS["a question"]])
