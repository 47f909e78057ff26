"""Which rates apply, and the dearest that a request can select."""

import pytest

from gateway.core.model_price import (
    ANYTHING,
    CLOCK_SKEW_SECONDS,
    DAY_SECONDS,
    MAX_REMEMBERED_DEAREST,
    ModelPrice,
    PriceRow,
    Reach,
    dearest,
    flat_price,
)
from gateway.core.rates import RateCard, Rates, resolve
from gateway.core.usage import Usage

NEW_YEAR = 20_454 * DAY_SECONDS
EVENING = 18 * 3_600
LONG = 200_000
STANDARD = Reach(frozenset(), False, False, False, False, False, False)


def flat(rate: int) -> Rates:
    return resolve(RateCard(rate, 10 * rate))


PRICE = ModelPrice(
    (
        PriceRow(0, 0, -1, flat(10)),
        PriceRow(NEW_YEAR, 0, -1, flat(4)),
        PriceRow(NEW_YEAR, 0, LONG, flat(8)),
        PriceRow(NEW_YEAR, EVENING, -1, flat(2)),
        PriceRow(NEW_YEAR, EVENING, LONG, flat(3)),
    ),
    {"priority": (PriceRow(0, 0, -1, flat(7)), PriceRow(0, 0, 1_000, flat(9)))},
)


@pytest.mark.parametrize(
    ("at_seconds", "input_tokens", "service_tier", "rate"),
    [
        (0, 0, None, 10),
        (NEW_YEAR - 1, LONG + 1, None, 10),
        (NEW_YEAR, LONG, None, 4),
        (NEW_YEAR, LONG + 1, None, 8),
        (NEW_YEAR + EVENING - 1, 5, None, 4),
        (NEW_YEAR + EVENING, 5, None, 2),
        (NEW_YEAR + EVENING, LONG + 1, None, 3),
        (NEW_YEAR + DAY_SECONDS, 5, None, 4),
        (NEW_YEAR, 1_000, "priority", 7),
        (NEW_YEAR, 1_001, "priority", 9),
        (NEW_YEAR, 5, "scale", 4),
    ],
)
def test_rates_are_those_of_the_moment_the_length_and_the_service_tier(
    at_seconds: int, input_tokens: int, service_tier: str | None, rate: int
) -> None:
    usage = Usage(input_tokens=input_tokens, service_tier=service_tier)
    assert PRICE.rates(usage, at_seconds).input == rate


@pytest.mark.parametrize(
    ("at_seconds", "max_input_tokens", "reach", "rate"),
    [
        (NEW_YEAR + 3_600, 5, STANDARD, 4),
        (NEW_YEAR + 3_600, LONG, STANDARD, 4),
        (NEW_YEAR + 3_600, LONG + 1, STANDARD, 8),
        (NEW_YEAR + 3_600, 5, ANYTHING, 7),
        (NEW_YEAR + 3_600, 1_001, ANYTHING, 9),
        (NEW_YEAR + 3_600, 1_001, Reach(service_tiers=frozenset({"priority"})), 9),
        (NEW_YEAR + 3_600, 1_001, Reach(service_tiers=frozenset({"flex"})), 4),
        (NEW_YEAR + CLOCK_SKEW_SECONDS - 1, 5, STANDARD, 10),  # the database may still be in the old year
        (NEW_YEAR - CLOCK_SKEW_SECONDS, 5, STANDARD, 10),
        (NEW_YEAR + EVENING + CLOCK_SKEW_SECONDS - 1, 5, STANDARD, 4),
        (NEW_YEAR + EVENING + 3_600, 5, STANDARD, 2),
    ],
)
def test_dearest_is_the_highest_rate_within_reach(
    at_seconds: int, max_input_tokens: int, reach: Reach, rate: int
) -> None:
    for _ in ("computed", "remembered"):
        assert dearest(PRICE, max_input_tokens, at_seconds, reach) == (rate, 10 * rate)


@pytest.mark.parametrize(
    ("card", "flag"),
    [
        (RateCard(2, 3, cache_write=9), "cache_writes"),
        (RateCard(2, 3, cache_write_1h=9), "cache_writes_1h"),
        (RateCard(2, 3, input_audio=9), "input_audio"),
        (RateCard(2, 3, input_image=9), "input_image"),
        (RateCard(2, 3, output_audio=9), "output_audio"),
        (RateCard(2, 3, output_image=9), "output_image"),
    ],
)
def test_dearest_counts_a_kind_of_token_only_within_reach(card: RateCard, flag: str) -> None:
    price = flat_price(resolve(card))
    assert dearest(price, 100, 0, STANDARD) == (2, 3)
    assert 9 in dearest(price, 100, 0, Reach(frozenset(), *(name == flag for name in Reach.__struct_fields__[1:])))


def test_dearest_counts_cached_and_reasoning_tokens_always() -> None:
    assert dearest(flat_price(resolve(RateCard(2, 3, cached=5, reasoning=6))), 100, 0, STANDARD) == (5, 6)


def test_dearest_remembers_only_so_many_answers() -> None:
    price = flat_price(flat(1))
    for minute in range(MAX_REMEMBERED_DEAREST + 5):
        assert dearest(price, 100, minute * CLOCK_SKEW_SECONDS) == (1, 10)
    assert len(price.remembered_dearest) <= MAX_REMEMBERED_DEAREST
