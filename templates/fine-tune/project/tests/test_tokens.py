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
    MistralRequestValidatorV3,
    MistralRequestValidatorV13,
    ValidationMode,
)
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV3, InstructTokenizerV13
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from tune import tokens
from tune.dataset import Example, to_example
from tune.errors import TuneError
from tune.tiny import CONTROL
from tune.tokens import ChatForm

VERSIONS = {
    TokenizerVersion.v3: (InstructTokenizerV3, MistralRequestValidatorV3),
    TokenizerVersion.v13: (InstructTokenizerV13, MistralRequestValidatorV13),
}
OLDER = CONTROL[:10]  # what Mistral 7B and Nemo have: no [SYSTEM_PROMPT], no [ARGS]


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(identity: str, arguments: object) -> dict[str, Any]:
    function = {"name": "order_status", "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def row(*messages: dict[str, Any], tools: tuple[dict[str, Any], ...] = ()) -> Example:
    found = to_example({"messages": list(messages), "tools": list(tools)}, "rows.jsonl", 1)
    assert isinstance(found, Example), found
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
WITHOUT_TOOLS = {
    **{name: row for name, row in ROWS.items() if not row.tools},
    "what the system says twice": row(
        said("system", "Be brief."),
        said("system", "Be kind."),
        said("user", "Hi"),
        said("assistant", "Hello"),
    ),
}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
without_tools = pytest.mark.parametrize("row", WITHOUT_TOOLS.values(), ids=WITHOUT_TOOLS)


@cache
def mistral(version: TokenizerVersion = TokenizerVersion.v13) -> MistralTokenizer:
    """Messages to tokens by mistral-common, in the version for Ministral 3 or for Nemo."""
    file = max(Path(str(files("mistral_common"))).glob("data/tekken_*.json"))
    held = json.loads(file.read_text("utf-8"))
    config = held["config"]
    tekken = Tekkenizer(
        held["vocab"],
        [{"rank": at, "token_str": name, "is_control": True} for at, name in enumerate(CONTROL)],
        config["pattern"],
        config["default_vocab_size"],
        config["default_num_special_tokens"],
        version,
    )
    return mistral_with(tekken, version)


def mistral_with(tokenizer: Any, version: TokenizerVersion) -> MistralTokenizer:
    instruct, checks = VERSIONS[version]
    normalizer = get_normalizer(version)
    return MistralTokenizer(instruct(tokenizer), checks(ValidationMode.finetuning), normalizer)


class SentencePiece:
    """A fake of Mistral 7B's tokenizer, which is not installed: each text is one token."""

    bos_id, eos_id, model_settings_builder = CONTROL.index("<s>"), CONTROL.index("</s>"), None
    version = TokenizerVersion.v3

    def __init__(self) -> None:
        self.tokens = list(CONTROL)

    def get_special_token(self, name: str) -> int:
        return self.tokens.index(name)

    def encode(self, text: str, **_: object) -> list[int]:
        self.tokens.append(f" {text}")
        return [len(self.tokens) - 1]

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(self.tokens[number] for number in ids)


def by_mistral(row: Example, tokenizer: MistralTokenizer | None = None) -> list[int]:
    messages = [{k: v for k, v in each.items() if k != "weight"} for each in row.messages]
    request = ChatCompletionRequest(messages=messages, tools=list(row.tools) or None)
    return (tokenizer or mistral()).encode_chat_completion(request).tokens


class Generation(Extension):
    """The generation block of Transformers, which marks nothing here."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def written(row: Example, form: ChatForm) -> str:
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation]
    )
    jinja.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return jinja.from_string(tokens.training_template(form)).render(
        messages=list(row.messages), tools=list(row.tools), bos_token="<s>", eos_token="</s>"
    )


def by_our_template(row: Example, form: ChatForm = tokens.NEWEST) -> list[int]:
    text = written(row, form)
    ids: list[int] = []
    for piece in re.split(f"({'|'.join(map(re.escape, CONTROL))})", text):
        known = [CONTROL.index(piece)] if piece in CONTROL else None
        tekken = mistral().instruct_tokenizer.tokenizer
        ids += known or tekken.encode(piece, bos=False, eos=False)
    return ids


@every_row
def test_a_row_has_as_many_tokens_as_mistral_common_makes_of_it(row: Example) -> None:
    assert tokens.count(row).total == len(by_mistral(row))


@every_row
def test_the_template_writes_what_mistral_common_writes_token_by_token(row: Example) -> None:
    assert by_our_template(row) == by_mistral(row)


@without_tools
def test_an_older_tokenizer_gets_what_mistral_common_writes_for_it(row: Example) -> None:
    expected = by_mistral(row, mistral(TokenizerVersion.v3))
    assert by_our_template(row, ChatForm(system=False, tools=False)) == expected


@without_tools
def test_sentencepiece_gets_its_blank_before_each_text(row: Example) -> None:
    spelling = SentencePiece()
    ids = by_mistral(row, mistral_with(spelling, TokenizerVersion.v3))
    found = written(row, ChatForm(system=False, tools=False, blank=" "))
    assert found == spelling.decode(ids)


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


# What is trained on, with a tokenizer of Transformers


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tune import tiny

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


def test_our_template_is_accepted(tokenizer: Any) -> None:
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


# Which chat format a tokenizer gets


def older(*, blank: bool) -> Any:
    """A tokenizer like Mistral 7B's; `blank`: it adds one before each text itself."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    if blank:
        steps: list[Any] = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        core.normalizer = normalizers.Sequence(steps)
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    parts: list[Any] = [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(parts)
    texts = [message["content"] for row in WITHOUT_TOOLS.values() for message in row.messages]
    trainer = trainers.BpeTrainer(
        vocab_size=200, special_tokens=OLDER, initial_alphabet=["▁", "a"], show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **names)


@pytest.mark.parametrize("blank", [True, False])
def test_each_text_has_one_blank_whether_the_tokenizer_puts_it_or_not(blank: bool) -> None:
    made = older(blank=blank)
    form = tokens.chat_form(made)
    assert form == ChatForm(system=False, tools=False, blank="" if blank else " ")
    made.chat_template = tokens.training_template(form)
    ids, _ = tokens.encode(made, row(said("user", "a"), said("assistant", "a")))
    assert "".join(made.convert_ids_to_tokens(ids)) == "<s>[INST]▁a[/INST]▁a</s>"
    tokens.verify(made, WITHOUT_TOOLS.values())


def test_a_tokenizer_without_a_token_for_arguments_refuses_rows_with_tools() -> None:
    made = older(blank=True)
    made.chat_template = tokens.training_template(tokens.chat_form(made))
    for name in ("a call and its result", "words and two calls"):
        with pytest.raises(TuneError, match="line 1: This base has no control tokens") as raised:
            tokens.encode(made, ROWS[name])
        assert "BASE_MODEL=ministral-3b" in raised.value.fix


def test_a_tokenizer_that_has_all_control_tokens_gets_the_newest_form(tokenizer: Any) -> None:
    assert tokens.chat_form(tokenizer) == tokens.NEWEST
