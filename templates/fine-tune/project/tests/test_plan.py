import json
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from tune import models, plan, trainer
from tune.__main__ import app
from tune.errors import TuneError
from tune.estimate import GB, QUARTER, DataSize, Gpu, Training, memory, needs_4_bits, seconds
from tune.models import Base, Shape
from tune.plan import MIB, RENTABLE
from tune.settings import Settings

A100 = next(gpu for gpu in RENTABLE if gpu.name == "A100 80GB")
SMALL = Gpu("NVIDIA T4", 15360 * MIB, 65, 320e9)
DATA = DataSize(examples=1000, tokens=400_000, longest=2048, padded=800)

# From Qwen's README, for one A100 with 80 GB: rank 64, batches of one row, eight batches in a step.
# Gigabytes and seconds per step, for rows of 512, 2,048 and 8,192 tokens.
QWEN = {
    "7B": Shape(32, 4096, 11008, 151936, kv_heads=32),
    "14B": Shape(40, 5120, 13696, 152064, heads=40, kv_heads=40),
}
PUBLISHED = {
    ("7B", "lora"): {512: (20.4, 1.5), 2048: (23.8, 5.2), 8192: (36.6, 21.3)},
    ("7B", "qlora"): {512: (11.5, 3.0), 2048: (13.9, 7.0), 8192: (23.5, 22.3)},
    ("14B", "lora"): {512: (35.1, 2.4), 2048: (37.4, 8.4), 8192: (55.2, 36.0)},
    ("14B", "qlora"): {512: (18.4, 6.3), 2048: (19.9, 11.8), 8192: (27.9, 38.3)},
}
CASES = [
    (size, method, length, *figures)
    for (size, method), by_length in PUBLISHED.items()
    for length, figures in by_length.items()
]


def training(name: str = "ministral-8b", **changes: Any) -> Training:
    whole = Training(models.find(name), "lora", 16, 4, 2048, DATA, accumulate=4, epochs=3)
    return replace(whole, **changes)


def total(planned: Training) -> float:
    return sum(term.bytes for term in memory(planned))


# Against published figures


@pytest.mark.parametrize(("size", "method", "length", "gigabytes", "step"), CASES)
def test_the_estimates_are_close_to_published_figures(
    size: str, method: Any, length: int, gigabytes: float, step: float
) -> None:
    rows = DataSize(8, 8 * length, length, length)
    base = Base(size, size, shape=QWEN[size])
    planned = Training(base, method, 64, 1, length, rows, accumulate=8)
    assert seconds(planned, A100) == pytest.approx(step, rel=0.35)
    # Their trainer kept all logits in 16 and 32 bits, twice: TRL no longer does.
    logits = length * QWEN[size].vocabulary * 12 * 1.1
    low, high = total(planned) / 1e9, (total(planned) + logits) / 1e9
    assert low * 0.85 < gigabytes < high * 1.2


# Memory


@pytest.mark.parametrize("method", models.METHODS)
def test_the_terms_are_shown_with_their_formulas(method: Any) -> None:
    terms = memory(training(method=method))
    assert all(term.bytes > 0 and term.formula for term in terms)
    assert terms[-1].bytes == GB + 0.1 * sum(term.bytes for term in terms[:-1])


def test_the_weights_memory_follows_from_their_bits() -> None:
    base = models.find("mistral-7b")
    assert base.shape
    lora, qlora = (
        memory(training("mistral-7b", method=method))[0].bytes / base.shape.parameters
        for method in models.METHODS
    )
    assert lora == 2
    assert 0.5 < qlora < 0.6


def test_the_vision_tower_is_quantized_with_the_layers_and_never_trained() -> None:
    shape = models.find("ministral-3b").shape
    assert shape
    blind = replace(shape, vision=0)
    seeing, reading = (
        {
            method: memory(training(base=Base("x", "x", shape=each), method=method))
            for method in models.METHODS
        }
        for each in (shape, blind)
    )
    more = {method: seeing[method][0].bytes - reading[method][0].bytes for method in models.METHODS}
    assert more["lora"] == shape.vision * 2
    assert more["qlora"] == pytest.approx(shape.vision * QUARTER)
    assert seeing["lora"][1] == reading["lora"][1]


def test_every_setting_that_costs_memory_costs_memory() -> None:
    now = total(training())
    for more in ({"batch": 8}, {"length": 4096}, {"rank": 64}):
        assert total(training(**more)) > now
    assert total(training(method="qlora")) < now


def test_an_unknown_shape_is_an_error_with_the_command_that_fixes_it() -> None:
    with pytest.raises(TuneError, match="hf download someone/theirs config.json"):
        memory(training(base=Base("someone/theirs", "someone/theirs")))


# Time and cost


def test_qlora_takes_longer_than_lora() -> None:
    took = {each: seconds(training(method=each), A100) or 0 for each in models.METHODS}
    assert took["lora"] < took["qlora"]


def test_very_short_rows_still_cost_a_launch_of_every_layer() -> None:
    short = training(data=replace(DATA, examples=4, padded=2), epochs=1)
    assert seconds(short, A100) == pytest.approx(34 * 0.005)


def test_equal_gpus_share_the_time_and_an_unknown_speed_gives_no_time() -> None:
    one = seconds(training(), A100)
    assert one
    assert seconds(training(), replace(A100, count=2)) == pytest.approx(one / 2)
    assert seconds(training(), Gpu("Card", 80 * GB)) is None


def test_cost_is_hours_times_price_where_there_is_a_price() -> None:
    made = plan.make(training("ministral-3b"), None)
    for offer in made.offers:
        if offer.cost is None:
            assert not offer.fits or not offer.gpu.price
        else:
            assert offer.hours and offer.cost == pytest.approx(offer.hours * offer.gpu.price)
    assert made.cheapest and made.cheapest.cost == min(o.cost for o in made.offers if o.cost)


def test_every_price_says_where_and_when_it_was_read() -> None:
    assert all(gpu.seller and gpu.read for gpu in RENTABLE if gpu.price)


def test_steps_are_counted_as_the_trainer_does() -> None:
    planned = training(epochs=2, data=replace(DATA, examples=330))
    assert (planned.batches, planned.steps) == (83, 2 * 21)
    hyperparameters = {"batch_size": 4, "accumulate": 4, "epochs": 2, "processes": 1}
    assert trainer.steps(hyperparameters, 330) == planned.steps


# The rows


def test_rows_that_are_too_long_are_left_out_and_a_sample_is_scaled_up() -> None:
    settings = Settings(max_length=100, batch_size=2)
    rows = plan.size([10, 20, 30, 900], count=400, settings=settings)
    assert (rows.examples, rows.tokens, rows.longest) == (300, 6000, 30)


def test_padding_is_counted_by_batches() -> None:
    lengths = [10] * 7 + [100]
    alone, together = (plan.size(lengths, 8, Settings(batch_size=size)).padded for size in (1, 8))
    assert (alone, together) == (21.25, 100)


# What would help


def test_a_training_that_does_not_fit_comes_with_changes_that_would() -> None:
    made = plan.make(training(batch=2), SMALL)
    assert made.here and not made.here.fits
    assert [line.split(":")[0] for line in made.advice] == [
        "METHOD=qlora",
        "BASE_MODEL=ministral-3b",
        "or rent a larger GPU",
    ]


def test_each_piece_of_advice_fits() -> None:
    long = training("ministral-3b", batch=32)
    made = plan.make(long, SMALL)
    assert made.advice[0].startswith("BATCH_SIZE=")
    batch, accumulate = (int(part.split("=")[1].strip(":")) for part in made.advice[0].split()[:2])
    assert batch * accumulate == 32 * 4
    assert total(replace(long, batch=batch)) <= SMALL.usable


def test_a_smaller_base_is_one_of_the_same_kind() -> None:
    made = plan.make(training("ministral-14b-instruct", batch=1), SMALL)
    assert "BASE_MODEL=ministral-3b-instruct" in made.advice


def test_a_training_that_fits_needs_no_advice() -> None:
    made = plan.make(training(), A100)
    assert made.here and made.here.fits and made.advice == ()


def test_qlora_does_not_fit_where_bitsandbytes_does_not_work() -> None:
    mac = Gpu("Apple M3 Max", 45 * GB, quantizes=False)
    made = plan.make(training(method="qlora"), mac)
    assert made.here and not made.here.fits


def test_with_qlora_a_note_says_what_merging_takes() -> None:
    notes = plan.make(training(method="qlora"), SMALL).notes
    assert [note for note in notes if "Merging its result takes 17.6 GB" in note]
    assert not [note for note in plan.make(training(), SMALL).notes if "Merging" in note]


@pytest.mark.parametrize(
    ("name", "gigabytes", "four"),
    [
        ("ministral-3b", 14.5, False),  # a T4
        ("ministral-3b", 7, True),  # a T4 whose other half is in use
        ("ministral-8b", 14.5, True),
        ("ministral-8b", 22, False),
        ("ministral-14b", 22, True),
        ("mistral-small", 44, True),
        ("mistral-small", 78, False),
    ],
)
def test_a_model_too_large_for_16_bits_needs_4(name: str, gigabytes: float, four: bool) -> None:
    shape = models.find(name).shape
    assert needs_4_bits(shape, gigabytes * GB, quantizes=True) == four
    assert not needs_4_bits(shape, gigabytes * GB, quantizes=False)


def test_unknown_models_are_tried_in_16_bits() -> None:
    assert not needs_4_bits(None, 1 * GB, quantizes=True)


def test_several_gpus_are_counted_as_one() -> None:
    notes = plan.make(training(), replace(A100, count=4)).notes
    assert any("one of the 4 GPUs" in note for note in notes)


# The GPU of this machine


def says(answers: dict[str, str]) -> Any:
    return lambda *words: answers.get(words[0] if words[0] != "sysctl" else words[-1], "")


@pytest.mark.parametrize(
    ("name", "mebibytes", "like"),
    [
        ("Tesla T4", 15360, "T4"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("NVIDIA A100-SXM4-40GB", 40960, "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100 80GB"),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX 4090"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
    ],
)
def test_an_nvidia_gpu_is_known_by_its_driver_s_name(name: str, mebibytes: int, like: str) -> None:
    seen = plan.local_gpu(says({"nvidia-smi": f"{name}, {mebibytes}\n"}), "linux")
    known = next(gpu for gpu in RENTABLE if gpu.name == like)
    assert seen and (seen.tflops, seen.bandwidth) == (known.tflops, known.bandwidth)
    assert seen.memory == mebibytes * MIB and seen.price == 0


def test_of_several_gpus_the_largest_is_used_and_equal_ones_are_counted() -> None:
    lines = "Quadro P400, 2048\nNVIDIA L4, 23034\nNVIDIA L4, 23034\n"
    seen = plan.local_gpu(says({"nvidia-smi": lines}), "linux")
    assert seen and (seen.name, seen.count) == ("NVIDIA L4", 2)


def test_a_gpu_of_unknown_speed_still_has_its_memory() -> None:
    seen = plan.local_gpu(says({"nvidia-smi": "NVIDIA GeForce GTX 1070, 8192"}), "win32")
    assert seen and seen.memory == 8 * GB and seen.tflops == 0


@pytest.mark.parametrize("said", ["", "no devices were found", "NVIDIA GB10, [N/A]"])
def test_output_without_a_memory_size_is_no_gpu(said: str) -> None:
    assert plan.local_gpu(says({"nvidia-smi": said}), "linux") is None


def test_apple_silicons_gpu_uses_a_share_of_the_memory() -> None:
    answers = {"machdep.cpu.brand_string": "Apple M3 Max", "hw.memsize": str(64 * GB)}
    seen = plan.local_gpu(says(answers), "darwin")
    assert seen and seen.memory == pytest.approx(44.8 * GB) and not seen.quantizes
    assert plan.local_gpu(says({"machdep.cpu.brand_string": "Intel"}), "darwin") is None


# The command


def command(*words: str) -> str:
    return CliRunner().invoke(app, ["plan", *words], env={"COLUMNS": "80"}).stdout


def test_the_command_plans_with_the_training_examples() -> None:
    said = json.loads(command("--json", "--base", "ministral-14b", "--method", "qlora"))
    assert said["training"]["base"]["name"] == "ministral-14b"
    assert 0 < said["training"]["length"] <= said["training"]["data"]["longest"]
    assert said["bytes"] == sum(term["bytes"] for term in said["terms"])


def test_the_command_shows_the_sum_and_every_gpu() -> None:
    said = command()
    assert "total" in said
    assert all(gpu.name in said for gpu in RENTABLE)


def test_the_command_lists_the_bases() -> None:
    said = command("--list")
    assert all(base.name in said and base.source in said for base in models.BASES)
