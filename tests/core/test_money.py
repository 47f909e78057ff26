"""Money: exact both ways, or refused."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money import (
    MAX_NANO_USD,
    MAX_RATE_PICO,
    nano_half_even,
    parse_rate,
    parse_usd,
    render_usd,
)


@pytest.mark.parametrize(
    ("text", "pico"),
    [
        ("0.30", 300_000),
        ("2.50", 2_500_000),
        ("0", 0),
        ("0.000001", 1),
        ("15", 15_000_000),
        ("1e-3", 1_000),
        ("1.5E1", 15_000_000),
        ("0.30000000000", 300_000),
        ("1000000", MAX_RATE_PICO),
    ],
)
def test_rate_in_usd_per_million_is_exact_pico_per_token(text: str, pico: int) -> None:
    assert parse_rate(text) == pico


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0.017604", 17_604_000), ("25", 25 * 10**9), ("0.000000001", 1), ("9223372036.854775807", MAX_NANO_USD)],
)
def test_amount_in_usd_is_exact_nano(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (0.3, "decimal string"),
        (3, "decimal string"),
        (None, "decimal string"),
        ("", "not a non-negative decimal"),
        ("-1", "not a non-negative decimal"),
        ("+1", "not a non-negative decimal"),
        ("nan", "not a non-negative decimal"),
        ("inf", "not a non-negative decimal"),
        ("1,5", "not a non-negative decimal"),
        (" 1", "not a non-negative decimal"),
        ("1\n", "not a non-negative decimal"),
        ("1_0", "not a non-negative decimal"),
        (".5", "not a non-negative decimal"),
        ("\u0661", "not a non-negative decimal"),
        ("0x10", "not a non-negative decimal"),
        ("1e31", "exponent"),
        ("1e-31", "exponent"),
        ("1e9999", "not a non-negative decimal"),
        ("0." + "0" * 63, "characters"),
        ("0.0000000001", "more than 9 decimals"),
        ("9223372036.854775808", "too large"),
    ],
)
def test_amount_that_is_no_plain_decimal_in_range_is_refused(text: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_usd(text)  # type: ignore[arg-type]  # what a TOML or JSON reader may hand over


def test_rate_with_seven_decimals_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 6 decimals"):
        parse_rate("0.0000001")


def test_rate_above_the_maximum_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_rate("1000000.000001")


@pytest.mark.parametrize(
    ("nano", "text"),
    [(17_604_000, "0.017604"), (0, "0"), (10**10, "10"), (1, "0.000000001"), (-1_500_000_000, "-1.5")],
)
def test_amount_is_rendered_exactly_without_trailing_zeros(nano: int, text: str) -> None:
    assert render_usd(nano) == text


@given(st.integers(0, MAX_NANO_USD))
def test_amount_rendered_and_parsed_again_is_the_same(nano: int) -> None:
    assert parse_usd(render_usd(nano)) == nano


@given(st.integers(-MAX_NANO_USD, MAX_NANO_USD))
def test_rendered_amount_is_what_decimal_reads(nano: int) -> None:
    assert Decimal(render_usd(nano)) == Decimal(nano).scaleb(-9)


@given(st.integers(0, 10**24))
def test_rounding_to_nano_is_half_even(pico: int) -> None:
    assert nano_half_even(pico) == int((Decimal(pico) / 1000).to_integral_value(ROUND_HALF_EVEN))


@pytest.mark.parametrize(("pico", "nano"), [(500, 0), (501, 1), (1_500, 2), (2_500, 2), (499, 0)])
def test_rounding_of_a_half_goes_to_the_even_neighbour(pico: int, nano: int) -> None:
    assert nano_half_even(pico) == nano
