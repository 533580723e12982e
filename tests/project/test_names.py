"""Any reasonable project name gives one that packages and web addresses accept."""

import re

import pytest

from hackkit.project.names import slug


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("my-app", "my-app"),
        ("My App", "my-app"),
        ("  Café du Nord  ", "cafe-du-nord"),
        ("Straßenbahn & Łódź", "strassenbahn-lodz"),
        ("Cœur__d'Artichaut.2", "coeur-d-artichaut-2"),
        ("x", "x"),
        ("42", "42"),
        ("a" * 40, "a" * 40),
        ("---", "my-app"),
        ("プロジェクト", "my-app"),
    ],
)
def test_a_name_becomes_lower_case_words_joined_by_dashes(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["É", "İstanbul", "100% fun", "a--b", "-x-", "naïve_Bayes!", "ﬁn"])
def test_every_slug_is_a_valid_package_name(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", slug(name))
