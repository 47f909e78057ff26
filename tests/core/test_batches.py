"""What a batch's lines have used, added up line by line."""

import msgspec

from gateway.core.batches import Tally, batch_price
from gateway.core.model_price import ModelPrice, PriceRow, flat_price
from gateway.core.rates import RateCard, resolve
from gateway.core.usage import Usage

PLAIN = resolve(RateCard(input=2_000, output=8_000))
HALF = resolve(RateCard(input=1_000, output=4_000))
HALF_LONG = resolve(RateCard(input=2_000, output=6_000))
PRICE = ModelPrice((PriceRow(0, 0, -1, PLAIN),), {"batch": (PriceRow(0, 0, -1, HALF), PriceRow(0, 0, 100, HALF_LONG))})


def test_tally_charges_each_line_by_its_own_length_at_the_rates_of_batches() -> None:
    tally = Tally(PRICE, 1_700_000_000)
    tally.add(200, Usage(input_tokens=60, output_tokens=10))
    tally.add(200, Usage(input_tokens=60, cached_tokens=20, output_tokens=10))
    assert tally.cost_nano_usd == 2 * (60 * 1 + 10 * 4) and tally.rates == HALF.text
    tally.add(200, Usage(input_tokens=101, output_tokens=1))
    assert tally.cost_nano_usd == 200 + 101 * 2 + 6
    assert (tally.usage.input_tokens, tally.usage.cached_tokens, tally.usage.output_tokens) == (221, 20, 21)
    assert msgspec.json.decode(tally.rates or "") == [msgspec.json.decode(it.text) for it in (HALF, HALF_LONG)]


def test_tally_counts_what_was_run_and_charges_no_failure() -> None:
    tally = Tally(PRICE, 1_700_000_000)
    tally.add(400, None)
    tally.add(500, Usage(input_tokens=9))
    assert (tally.answered, tally.succeeded, tally.cost_nano_usd, tally.rates) == (2, 0, 0, None)
    assert tally.is_whole
    tally.add(200, None)
    assert (tally.succeeded, tally.is_whole) == (1, False)


def test_tally_of_a_model_without_a_price_has_no_cost() -> None:
    tally = Tally(None, 1_700_000_000)
    tally.add(200, Usage(input_tokens=9))
    assert (tally.cost_nano_usd, tally.rates) == (None, None)


def test_price_of_a_batch_is_the_plain_one_where_batches_have_none() -> None:
    assert batch_price(flat_price(PLAIN)).standard[0].rates == PLAIN
    assert batch_price(PRICE).standard[0].rates == HALF
