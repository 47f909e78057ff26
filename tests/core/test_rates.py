"""The formula by hand: fallbacks, rounding, bounds; test_prices.py holds it against genai-prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.rates import MAX_COST_NANO_USD, RateCard, cost_nano_usd, more_by, raised, resolve
from gateway.core.usage import MAX_COUNT, Usage, checked_usage

PLAIN = resolve(RateCard(2_000_000, 10_000_000))
FULL = resolve(
    RateCard(
        2_000,
        10_000,
        cached=200,
        cache_write=2_500,
        cache_write_1h=4_000,
        input_audio=40_000,
        cached_audio=3_000,
        input_image=5_000,
        cached_image=1_000,
        reasoning=12_000,
        output_audio=80_000,
        output_image=30_000,
        web_search=10_000_000_000,
        request=7_000,
    )
)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 7),
        (Usage(input_tokens=100), 200 + 7),
        (Usage(input_tokens=100, cached_tokens=50), 100 + 10 + 7),
        (Usage(input_tokens=100, cache_write_tokens=40, cache_write_1h_tokens=60), 100 + 240 + 7),
        (Usage(input_tokens=100, input_audio_tokens=10), 180 + 400 + 7),
        (Usage(input_tokens=10, cached_tokens=10, input_audio_tokens=10, cached_audio_tokens=10), 30 + 7),
        (Usage(input_tokens=10, input_image_tokens=10), 50 + 7),
        (Usage(input_tokens=10, cached_tokens=10, input_image_tokens=10, cached_image_tokens=10), 10 + 7),
        (Usage(output_tokens=10), 100 + 7),
        (Usage(output_tokens=30, reasoning_tokens=10, output_audio_tokens=10, output_image_tokens=10), 1220 + 7),
        (Usage(web_searches=2), 20_000_000 + 7),
    ],
)
def test_cost_is_each_kind_of_token_at_its_rate(usage: Usage, cost: int) -> None:
    assert cost_nano_usd(usage, FULL) == cost


def test_cost_without_rates_of_their_own_is_that_of_input_and_output() -> None:
    usage = Usage(
        input_tokens=100,
        cached_tokens=20,
        cache_write_tokens=20,
        cache_write_1h_tokens=20,
        input_audio_tokens=10,
        input_image_tokens=10,
        output_tokens=10,
        reasoning_tokens=5,
    )
    assert cost_nano_usd(usage, PLAIN) == 100 * 2_000 + 10 * 10_000


@pytest.mark.parametrize(("tokens", "cost"), [(1, 0), (3, 2), (5, 2), (7, 4)])
def test_cost_is_rounded_once_half_to_even(tokens: int, cost: int) -> None:
    assert cost_nano_usd(Usage(input_tokens=tokens), resolve(RateCard(500))) == cost


def test_cost_of_an_absurd_usage_is_bounded() -> None:
    assert cost_nano_usd(Usage(input_tokens=MAX_COUNT, output_tokens=MAX_COUNT), PLAIN) == MAX_COST_NANO_USD


@given(st.tuples(*[st.integers(0, 10_000)] * 13))
def test_cost_of_a_checked_usage_is_never_negative(counts: tuple[int, ...]) -> None:
    names = Usage.__struct_fields__[:13]
    usage = checked_usage(**dict(zip(names, counts, strict=True)))  # type: ignore[arg-type]  # counts only
    assert cost_nano_usd(usage, FULL) >= 0


def test_cached_audio_without_a_rate_costs_what_audio_costs() -> None:
    rates = resolve(RateCard(10, 20, cached=1, input_audio=100, input_image=50))
    assert (rates.cached_audio, rates.cached_image) == (100, 50)


def test_an_hours_cache_write_without_a_rate_costs_what_a_cache_write_costs() -> None:
    assert resolve(RateCard(10, 20, cache_write=12)).cache_write_1h == 12


def test_text_of_rates_is_the_card_alone_and_stable() -> None:
    text = resolve(RateCard(2_500_000, 10_000_000, cached=1_250_000)).text
    assert text == '{"input":2500000,"output":10000000,"cached":1250000}'


@given(st.integers(0, 10**9), st.integers(0, 100))
def test_rate_that_is_raised_is_the_next_whole_one(rate: int, percent: int) -> None:
    exact = rate * (100 + percent)
    assert 0 <= more_by(rate, percent) * 100 - exact < 100


def test_rates_that_are_raised_leave_fees_and_what_is_not_set() -> None:
    card = RateCard(input=3_000_000, output=15_000_000, cached=300_000, web_search=10_000_000_000, request=7)
    dearer = RateCard(input=3_300_000, output=16_500_000, cached=330_000, web_search=10_000_000_000, request=7)
    assert raised(resolve(card), 10) == resolve(dearer)
