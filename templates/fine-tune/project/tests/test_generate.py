import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from tune import dataset, models, weights  # noqa: E402
from tune.errors import TuneError  # noqa: E402
from tune.generate import Generator, UnsupportedMessages  # noqa: E402
from tune.models import Base  # noqa: E402

QUESTIONS = [
    [{"role": "user", "content": text}]
    for text in (
        "Hello",
        "Where is my parcel? The courier was here, but the tracking says that it is lost.",
        "My card was charged twice for one invoice.",
        "Größe der Lampe? 🪴",
        "Is the blanket warm?",
    )
]


class Forgetful:
    """A model whose memory fits a number of rows; it counts the rows of each attempt."""

    def __init__(self, model: Any, most: int) -> None:
        self.model, self.most = model, most
        self.tried: list[int] = []

    def __call__(self, *, input_ids: Any, **rest: Any) -> Any:
        if input_ids.shape[1] > 1:  # the questions; after that come single tokens
            self.tried.append(len(input_ids))
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return self.model(input_ids=input_ids, **rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def loaded(folder: Path, max_tokens: int = 20) -> Generator:
    base = models.find(str(folder))
    return Generator(weights.load_base(base), weights.load_tokenizer(base), max_tokens)


@pytest.fixture(scope="module")
def random(tiny_settings: Any) -> Generator:
    """A model with random weights: it never ends an answer by itself."""
    return loaded(Path(tiny_settings.base_model))


@pytest.fixture(scope="module")
def trained(tuned: Any) -> Generator:
    tokenizer = weights.load_tokenizer(models.find(str(tuned.base)))
    return Generator(weights.load_tuned(tuned.run), tokenizer, 20)


@pytest.fixture
def asked(tuned: Any) -> list[list[dict[str, Any]]]:
    return [row.question for row in dataset.load(tuned.settings.test)[:6]]


# One question, and many


def test_a_batch_gives_the_same_answers_as_single_questions(random: Generator) -> None:
    together = random.answers(QUESTIONS)
    alone = [random.answer(question) for question in QUESTIONS]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert len({reply.text for reply in together}) > 1


def test_answers_are_those_of_transformers_own_generate(random: Generator) -> None:
    tokenizer = random.tokenizer
    for question in QUESTIONS:
        encoded = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        theirs = random.model.generate(
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            max_new_tokens=20,
            do_sample=False,
        )[0][encoded["input_ids"].shape[1] :]
        assert random.answer(question).text == tokenizer.decode(theirs, skip_special_tokens=True)


def test_an_answer_ends_at_the_end_token(trained: Generator, asked: Any) -> None:
    for reply in trained.answers(asked):
        assert reply.text.startswith("{") and reply.text.endswith("}")
        assert not reply.cut
        assert 0 < reply.tokens < 20
        assert reply.seconds > 0


def test_an_answer_without_an_end_is_cut_and_says_so(random: Generator) -> None:
    reply = replace(random, max_tokens=3).answer(QUESTIONS[0])
    assert (reply.tokens, reply.cut) == (3, True)


def test_no_question_gives_no_answer(random: Generator) -> None:
    assert random.answers([]) == []


def test_tools_are_part_of_the_prompt(random: Generator) -> None:
    parameters = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "track", "parameters": parameters}}
    tool["function"]["description"] = ""  # type: ignore[index]
    assert random.answer(QUESTIONS[0], [tool]).text != random.answer(QUESTIONS[0]).text


def test_a_temperature_makes_answers_vary(random: Generator) -> None:
    warm = replace(random, temperature=1.0)
    assert len({reply.text for reply in warm.answers([QUESTIONS[0]] * 4)}) > 1


def test_an_image_text_model_answers_text_as_well(seeing: Base) -> None:
    generator = loaded(Path(seeing.source), 12)
    together = generator.answers(QUESTIONS)
    assert [each.text for each in together] == [generator.answer(q).text for q in QUESTIONS]
    assert "".join(generator.stream(QUESTIONS[1])) == together[1].text


# Out of memory


def test_a_batch_that_does_not_fit_is_halved(random: Generator) -> None:
    model = Forgetful(random.model, most=2)
    replies = replace(random, model=model).answers(QUESTIONS)
    assert model.tried == [5, 2, 2, 1]
    assert [reply.text for reply in replies] == [each.text for each in random.answers(QUESTIONS)]


def test_one_question_that_does_not_fit_is_explained(random: Generator) -> None:
    with pytest.raises(TuneError, match="Out of memory") as caught:
        replace(random, model=Forgetful(random.model, most=0)).answers(QUESTIONS)
    assert "MAX_TOKENS" in caught.value.fix


def test_a_cpu_without_memory_is_explained_as_well(random: Generator) -> None:
    class Full(Forgetful):
        def __call__(self, *, input_ids: Any, **rest: Any) -> Any:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …")

    with pytest.raises(TuneError, match="Out of memory"):
        replace(random, model=Full(random.model, 1)).answers(QUESTIONS)


@pytest.mark.parametrize("problem", ["shapes do not match", "an illegal memory access"])
def test_another_failure_is_passed_on(random: Generator, problem: str) -> None:
    class Broken(Forgetful):
        def __call__(self, *, input_ids: Any, **rest: Any) -> Any:
            raise RuntimeError(problem)

    with pytest.raises(RuntimeError, match=problem):
        replace(random, model=Broken(random.model, 1)).answers(QUESTIONS)


# Streaming


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_stream_gives_the_same_text_as_the_answer(random: Generator, question: Any) -> None:
    pieces = list(random.stream(question))
    assert "".join(pieces) == random.answer(question).text
    assert len(pieces) > 3


def test_a_stream_that_is_closed_frees_the_model(random: Generator) -> None:
    model = Forgetful(random.model, most=1)
    stream = replace(random, model=model).stream(QUESTIONS[0])
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert next(stream, None) is None
    assert not random.lock.locked()
    assert random.answer(QUESTIONS[0]).tokens == 20


def test_a_stream_leaves_no_trace_in_its_callers_thread(random: Generator) -> None:
    stream = random.stream(QUESTIONS[0])
    next(stream)
    assert not torch.is_inference_mode_enabled()


# With the adapter and without


def test_without_its_adapter_a_model_answers_as_its_base(
    trained: Generator, random: Generator, asked: Any
) -> None:
    base = [reply.text for reply in random.answers(asked)]
    assert [reply.text for reply in trained.without_adapter().answers(asked)] == base
    assert [reply.text for reply in trained.answers(asked)] != base


def test_two_streams_of_one_model_take_turns(trained: Generator, asked: Any) -> None:
    base = trained.without_adapter()
    alone = [trained.answer(asked[0]).text, base.answer(asked[0]).text]
    tuned_stream, base_stream = trained.stream(asked[0]), base.stream(asked[0])
    said = ["", ""]
    for _ in range(20):
        said[0] += next(tuned_stream, "")
        said[1] += next(base_stream, "")
    assert said[0] == alone[0]
    assert alone[1].startswith(said[1]) and said[1]


def test_threads_that_ask_at_once_get_their_own_answers(trained: Generator, asked: Any) -> None:
    base = trained.without_adapter()
    wanted = [generator.answer(q).text for q in asked for generator in (trained, base)]
    found: dict[int, str] = {}

    def ask(at: int, stream: Iterator[str]) -> None:
        found[at] = "".join(stream)

    streams = [generator.stream(q) for q in asked for generator in (trained, base)]
    threads = [threading.Thread(target=ask, args=each) for each in enumerate(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [found[at] for at in range(len(streams))] == wanted


def test_messages_that_the_chat_template_rejects_are_explained(random: Generator) -> None:
    problem = 'cannot be sent to the model: The role "narrator" is'
    with pytest.raises(UnsupportedMessages, match=problem):
        random.answer([{"role": "narrator", "content": "Meanwhile"}])
