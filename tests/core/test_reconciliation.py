"""What is compared with what."""

import pytest

from gateway.core.reconciliation import Difference, Place, compare, family, model_of_line_item


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"), ("gpt-4-0613", "gpt-4"), ("gpt-4o", "gpt-4o"), ("o3", "o3"),
        ("gpt-4-1106-preview", "gpt-4-1106-preview"), ("ft:gpt-4o-2024-07-18:us::a", "ft:gpt-4o-2024-07-18:us::a"),
    ],
)  # fmt: skip
def test_family_is_the_name_without_its_date(name: str, expected: str) -> None:
    assert family(name) == expected


@pytest.mark.parametrize(
    ("line_item", "model"),
    [
        ("gpt-4o-mini-2024-07-18, input", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o-mini-2024-07-18, cached input", "gpt-4o-mini-2024-07-18"),
        ("evals | gpt-4o-mini-2024-07-18, input", "gpt-4o-mini-2024-07-18"),
        ("assistants api | file search", "assistants api | file search"),
        ("whisper-1", "whisper-1"),
    ],
)
def test_model_of_a_line_item(line_item: str, model: str) -> None:
    assert model_of_line_item(line_item) == model


def test_compare_has_what_either_side_has_and_nothing_of_neither() -> None:
    one, two, three = (Place(day, "m", None) for day in (1, 2, 3))
    found = compare({one: {"a": 5}, three: {"a": 0}}, {two: {"a": 4}, three: {"a": 0}}, ["a"])
    assert found == [Difference(one, "a", 5, 0), Difference(two, "a", 0, 4)]


def test_percent_is_of_the_larger_side() -> None:
    assert Difference(Place(0, None, None), "a", 75, 100).percent == 25
    assert Difference(Place(0, None, None), "a", 100, 75).percent == 25
    assert Difference(Place(0, None, None), "a", 0, 0).percent == 0
