"""Reading examples in every format, converting them, and splitting them."""

import json
from pathlib import Path

import pytest

from tune import dataset
from tune.dataset import Example, Problem, read, to_example
from tune.errors import TuneError

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def asked_and_answered(value: object) -> tuple[str, str]:
    row = to_example(value)
    assert isinstance(row, Example), row
    return row.messages[-2]["content"], row.answer


def write(path: Path, *rows: object) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pairs(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {at}", "completion": f"answer {at}"} for at in range(count)]


@pytest.mark.parametrize(
    "value",
    [
        CHAT,
        {"prompt": "Hi", "completion": "Hello"},
        {"question": "Hi", "answer": "Hello"},
        {"text": "Hi", "label": "Hello"},
        {"input": "Hi", "output": "Hello"},
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"prompt": CHAT["messages"][:1], "completion": CHAT["messages"][1:]},
        {"messages": json.dumps(CHAT["messages"])},
        {"messages": [{"role": "Human ", "content": [{"text": "Hi"}]}, CHAT["messages"][1]]},
    ],
    ids=lambda value: ", ".join(value),
)
def test_every_supported_format_becomes_the_same_conversation(value: dict) -> None:
    assert asked_and_answered(value) == ("Hi", "Hello")


def test_an_instruction_and_its_input_are_one_question() -> None:
    value = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    assert asked_and_answered(value) == ("Add.\n\n1, 2", "3")


def test_the_answer_of_a_call_is_its_name_and_its_arguments() -> None:
    call = {"id": "a1B2c3D4e", "function": {"name": "find", "arguments": '{"n":1}'}}
    row = to_example({"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]})
    assert isinstance(row, Example)
    assert row.answer == 'find{"n": 1}'


@pytest.mark.parametrize(
    "value",
    [
        {**CHAT, "system": "Be brief."},
        {"conversations": [{"from": "human", "value": "Hi"}], "system": "Be brief."},
        {"prompt": "Hi", "completion": "Hello", "system": "Be brief."},
    ],
    ids=["messages", "conversations", "prompt"],
)
def test_a_system_prompt_beside_the_messages_comes_first(value: dict) -> None:
    row = to_example(value)
    assert isinstance(row, Example)
    assert [message["content"] for message in row.messages[:2]] == ["Be brief.", "Hi"]


def test_the_history_of_an_alpaca_row_is_kept() -> None:
    history = [["one", "two"], ["three", "four"]]
    row = to_example({"instruction": "five", "input": "", "output": "six", "history": history})
    assert isinstance(row, Example)
    assert " ".join(each["content"] for each in row.messages) == "one two three four five six"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_csv_is_read_with_its_separator_and_its_quotes(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "rows.csv"
    head, row = separator.join(["Prompt", "Completion"]), separator.join(['"a, ""b""\nc"', "d"])
    file.write_text(f"{head}\n{row}\n", encoding="utf-8-sig")
    (found,) = dataset.load(file)
    assert (found.messages[0]["content"], found.answer) == ('a, "b"\nc', "d")


def test_the_separator_is_not_taken_from_within_quotes(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", '"prompt";"completion";"seen, in, a, shop"', "a;b;c")
    (found,) = dataset.load(file)
    assert found.answer == "b"


def test_a_row_of_a_csv_knows_the_line_that_it_begins_on(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", "text,label", '"two\nlines",a', "b,c")
    assert [row.line for row in dataset.load(file)] == [2, 4]


def test_a_row_of_an_array_knows_the_line_that_it_begins_on(tmp_path: Path) -> None:
    file = tmp_path / "alpaca.json"
    file.write_text(json.dumps(pairs(2), indent=1), encoding="utf-8")
    assert [row.line for row in dataset.load(file)] == [2, 6]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[\n{"prompt": "a", "completion": "b"},\n{"prompt": oops},\n{}]', 3),
        ('[\n{"prompt": "a", "completion": "b"}\n]\n{"prompt": "c", "completion": "d"}', 4),
        ('[\n{"prompt": "a", "completion": "b"},\n', 2),
    ],
    ids=["a value that is none", "more after its end", "no end"],
)
def test_what_is_wrong_with_an_array_is_named_with_its_line(
    tmp_path: Path, text: str, line: int
) -> None:
    found = problem(write(tmp_path / "rows.json", text))
    assert (found.kind, found.line) == ("json", line)


def test_empty_lines_and_a_byte_order_mark_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"\n{json.dumps(CHAT)}\n\n", encoding="utf-8-sig")
    assert [row.line for row in dataset.load(file)] == [2]


def problem(path: Path) -> Problem:
    (found,) = [each for each in read(path) if isinstance(each, Problem)]
    return found


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_text_in_another_encoding_is_converted(tmp_path: Path, encoding: str) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text;label\nGrüße;à toi\n", encoding)
    with pytest.raises(TuneError, match=r"line \d.*\n.*convert .* --encoding cp1252"):
        dataset.load(source)
    dataset.convert(source, tmp_path / "rows.jsonl", encoding=encoding)
    (row,) = dataset.load(tmp_path / "rows.jsonl")
    assert (row.messages[0]["content"], row.answer) == ("Grüße", "à toi")


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("{'messages': []}", "double quotes"),
        ("{", "on one line"),
        ('{"prompt": "a", "completion": NaN}', "NaN is not valid JSON"),
        ('{"messages": ' + "[" * 50_000, "flatten its values"),
    ],
)
def test_a_line_that_is_not_json_says_what_to_do(tmp_path: Path, line: str, fix: str) -> None:
    found = problem(write(tmp_path / "rows.jsonl", CHAT, line, CHAT))
    assert (found.kind, found.line) == ("json", 2)
    assert fix in f"{found.text} {found.fix}"


def test_reading_goes_on_after_a_line_that_cannot_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", CHAT, "{", CHAT)
    assert [each.line for each in read(file) if isinstance(each, Example)] == [1, 3]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "not an object"),
        ({"mesages": []}, 'has "mesages"'),
        ({"text": "only a text"}, "completion"),
        ({"messages": "Hi"}, "[{…}, {…}]"),
        ({"messages": []}, "write a question"),
        ({"messages": ["Hi"]}, '"role": "user"'),
        ({"messages": [{"role": "user", "content": 3}]}, "as text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "as text"),
        ({**CHAT, "tools": [{"name": "find"}]}, '"type": "function"'),
        ({**CHAT, "tools": "find"}, '"tools": [{…}, {…}]'),
        ({"messages": [{"role": "assistant", "tool_calls": [{"name": "a"}]}]}, '"tool_calls": [{'),
        ({"instruction": "a", "output": "b", "history": ["c"]}, '[["…", "…"], …]'),
    ],
)
def test_an_unknown_format_says_what_to_write(value: object, says: str) -> None:
    found = to_example(value, "rows.jsonl", 7)
    assert isinstance(found, Problem)
    assert says in f"{found} {found.fix}"


def test_reading_a_csv_goes_on_after_an_empty_cell(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.csv", "instruction,output,tools", "a,b,", ",c,", "d,e,x", "f,g,")
    found = list(read(file))
    assert [each.line for each in found] == [2, 3, 4, 5]
    assert [each.line for each in found if isinstance(each, Problem)] == [4]


def test_a_csv_with_too_many_fields_names_the_line(tmp_path: Path) -> None:
    found = problem(write(tmp_path / "rows.csv", "text,label", "a,b", "a, or b,c", "d,e"))
    assert (found.line, found.kind) == (3, "csv")


def test_a_quote_that_never_ends_is_reported(tmp_path: Path) -> None:
    assert problem(write(tmp_path / "rows.csv", "text,label", '"a,b', "c,d")).kind == "csv"


def test_loading_names_the_first_fault_with_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", CHAT, {"messages": CHAT["messages"][:1]})
    with pytest.raises(TuneError, match=r"rows\.jsonl, line 2: .*answer"):
        dataset.load(file)


def test_a_warning_does_not_stop_the_loading(tmp_path: Path) -> None:
    row = {"prompt": "I am jo@gmail.com", "completion": "Hi"}
    assert len(dataset.load(write(tmp_path / "rows.jsonl", row))) == 1


def test_a_missing_file_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match=r"trian\.jsonl does not exist"):
        dataset.load(tmp_path / "trian.jsonl")


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "[\n]\n"])
def test_a_file_without_examples_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(TuneError, match="contains no examples"):
        dataset.load(file)


def test_half_a_character_is_converted_as_it_was(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", {"prompt": "Hi \ud83d", "completion": "Hello"})
    dataset.convert(source, tmp_path / "b.jsonl")
    assert "\\ud83d" in (tmp_path / "b.jsonl").read_text("utf-8")


def test_converting_leaves_out_what_cannot_be_read_and_says_so(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", CHAT, "{")
    rows, problems, _ = dataset.convert(source, tmp_path / "b.jsonl")
    assert (rows, [each.line for each in problems]) == (1, [2])


def test_converting_never_overwrites_unasked(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", CHAT)
    with pytest.raises(TuneError, match="exists already"):
        dataset.convert(file, file)


def test_a_conversion_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TuneError):
        dataset.convert(write(tmp_path / "a.jsonl", "{"), tmp_path / "b.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def parts(folder: Path) -> dict[Path, float]:
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    return {folder / f"{name}.jsonl": share for name, share in shares.items()}


def texts(path: Path) -> set[str]:
    return set(path.read_text("utf-8").splitlines())


def test_a_split_has_the_shares_that_were_asked_for_and_loses_nothing(tmp_path: Path) -> None:
    counts = dataset.split(write(tmp_path / "all.jsonl", *pairs(100)), parts(tmp_path), seed=1)
    assert list(counts.values()) == [80, 10, 10]
    lines = [line for part in parts(tmp_path) for line in part.read_text("utf-8").splitlines()]
    assert len(lines) == len(set(lines)) == 100


def test_the_same_rows_are_split_alike_in_any_order(tmp_path: Path) -> None:
    for name, rows in (("one", pairs(100)), ("two", pairs(100)[::-1])):
        file = write(tmp_path / f"{name}.jsonl", *rows)
        dataset.split(file, parts(tmp_path / name), seed=1)
    one, two = (list(map(texts, parts(tmp_path / name))) for name in ("one", "two"))
    assert one == two


def test_another_seed_gives_another_split(tmp_path: Path) -> None:
    file = write(tmp_path / "all.jsonl", *pairs(100))
    for seed in (1, 2):
        dataset.split(file, parts(tmp_path / str(seed)), seed=seed)
    assert texts(tmp_path / "1" / "test.jsonl") != texts(tmp_path / "2" / "test.jsonl")


def test_what_asks_the_same_stays_in_one_part(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Question {at % 20}" + " ?!" * (at // 20), "completion": str(at)}
        for at in range(100)
    ]
    dataset.split(write(tmp_path / "all.jsonl", *rows), parts(tmp_path), seed=1)
    asked = [
        {row.messages[0]["content"].strip(" ?!") for row in dataset.load(part)}
        for part in parts(tmp_path)
    ]
    assert sum(map(len, asked)) == 20


def test_a_conversation_stays_with_its_beginning(tmp_path: Path) -> None:
    said = [[f"{word} {at}" for word in ("ask", "answer", "more", "end")] for at in range(50)]
    rows = [
        {
            "messages": [
                {"role": ("user", "assistant")[n % 2], "content": s} for n, s in enumerate(x)
            ]
        }
        for each in said
        for x in (each[:2], each)
    ]
    dataset.split(write(tmp_path / "all.jsonl", *rows), parts(tmp_path), seed=1)
    started = [
        {row.messages[0]["content"] for row in dataset.load(part)} for part in parts(tmp_path)
    ]
    assert sum(map(len, started)) == 50


def test_a_split_of_a_part_never_loses_the_other_parts(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", *pairs(100))
    dataset.split(train, parts(tmp_path), seed=1, overwrite=True)
    with pytest.raises(TuneError, match="cannot be split into itself"):
        dataset.split(train, parts(tmp_path), seed=1, overwrite=True)


def test_a_split_never_overwrites_unasked(tmp_path: Path) -> None:
    file = write(tmp_path / "all.jsonl", *pairs(100))
    write(tmp_path / "test.jsonl", CHAT)
    with pytest.raises(TuneError, match=r"test\.jsonl exists already"):
        dataset.split(file, parts(tmp_path), seed=1)
    assert not (tmp_path / "train.jsonl").exists()


def test_too_few_examples_for_a_split_are_said_and_nothing_is_written(tmp_path: Path) -> None:
    file = write(tmp_path / "all.jsonl", *pairs(3))
    with pytest.raises(TuneError, match="too few examples"):
        dataset.split(file, parts(tmp_path), seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["all.jsonl"]


def test_the_sample_data_of_this_project_can_be_loaded() -> None:
    for name in ("train", "validation", "test"):
        assert dataset.load(Path(__file__).parent.parent / "data" / f"{name}.jsonl")
