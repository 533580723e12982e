"""The combinations that the matrix makes of a template's slots."""

import itertools

from combinations import covering

SLOTS = {
    "store": ("chroma", "qdrant"),
    "knowledge": ("yes", "no"),
    "team": ("no", "yes"),
    "license": ("mit", "apache-2.0", "none"),
}


def test_the_first_combination_is_all_the_defaults() -> None:
    first = {"store": "chroma", "knowledge": "yes", "team": "no", "license": "mit"}
    assert covering(SLOTS)[0] == first


def test_any_two_values_of_two_slots_meet() -> None:
    chosen = covering(SLOTS)
    for one, other in itertools.combinations(SLOTS, 2):
        met = {(each[one], each[other]) for each in chosen}
        assert met == set(itertools.product(SLOTS[one], SLOTS[other]))


def test_of_one_slot_each_value_occurs() -> None:
    assert covering({"store": SLOTS["store"]}) == [{"store": "chroma"}, {"store": "qdrant"}]


def test_a_template_without_slots_is_one_combination() -> None:
    assert covering({}) == [{}]
