"""The price of one model: which rates apply to a call, and the dearest that a request can select.

A price has rows for the standard service and for each service tier with prices of its own (batch, flex, priority ...).
A row says from which day, from which second of the day (UTC) and above how many input tokens its rates apply; a row's
rates are for all tokens of the call.
"""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import chain

import msgspec

from gateway.core.rates import Rates, Unit, raised
from gateway.core.usage import Usage

DAY_SECONDS = 86_400
CLOCK_SKEW_SECONDS = 60
"""A call is stamped with the database's clock, which may be this far from ours when its hold is computed."""
MAX_REMEMBERED_DEAREST = 64
FAST_TIER = "fast"
"""Anthropic's fast speed: twice the standard rates, or six times, by the model; without a row nobody knows
(https://platform.claude.com/docs/en/build-with-claude/fast-mode)."""


class PriceRow(msgspec.Struct, frozen=True, gc=False):
    """Rates, and from which Unix second, which second of the day and above how many input tokens they apply."""

    from_seconds: int
    second_of_day: int
    above_input_tokens: int
    rates: Rates


class Reach(msgspec.Struct, frozen=True):
    """What a request can select, told from its body. The default is everything.

    `service_tiers` are those that it may get beside the standard one, None for any that has a price.
    """

    service_tiers: frozenset[str] | None = None
    cache_writes: bool = True
    cache_writes_1h: bool = True
    input_audio: bool = True
    input_image: bool = True
    output_audio: bool = True
    output_image: bool = True


ANYTHING = Reach()


class ModelPrice:
    """The price of one model; never changed once made.

    Rows are sorted by day, second of the day and input tokens, and the first of them applies always. `service_tiers`
    has rows only where they differ from the standard ones. `steps` are all the numbers of input tokens above which
    some rates change, `units` all that a call must be measured in, and `remembered_dearest` keeps the last answers of
    `dearest`.
    """

    __slots__ = ("remembered_dearest", "service_tiers", "standard", "steps", "units")

    def __init__(
        self, standard: tuple[PriceRow, ...], service_tiers: Mapping[str, tuple[PriceRow, ...]] | None = None
    ) -> None:
        self.standard = standard
        self.service_tiers = service_tiers or {}
        all_rows = tuple(chain(standard, *self.service_tiers.values()))
        self.steps = tuple(sorted({row.above_input_tokens for row in all_rows}))
        self.units = frozenset[Unit]().union(*(row.rates.units for row in all_rows))
        self.remembered_dearest: dict[tuple[int, int, Reach], tuple[int, int]] = {}

    def leaves_open(self, service_tier: str | None) -> bool:
        """Tell whether it says what other tiers cost but not this one, which is not at the standard rates."""
        return service_tier == FAST_TIER and bool(self.service_tiers) and FAST_TIER not in self.service_tiers

    def rates(self, usage: Usage, admitted_at_seconds: int) -> Rates:
        """Return the rates that apply to a call of this usage, admitted at this Unix second."""
        rates = self._listed(usage, admitted_at_seconds)
        return raised(rates, usage.surcharge_percent) if usage.surcharge_percent else rates

    def _listed(self, usage: Usage, admitted_at_seconds: int) -> Rates:
        rows = self.standard
        if usage.service_tier is not None:
            rows = self.service_tiers.get(usage.service_tier, rows)
        if len(rows) > 1:
            second_of_day = admitted_at_seconds % DAY_SECONDS
            for row in reversed(rows):
                if (
                    usage.input_tokens > row.above_input_tokens
                    and admitted_at_seconds >= row.from_seconds
                    and second_of_day >= row.second_of_day
                ):
                    return row.rates
        return rows[0].rates


def flat_price(rates: Rates) -> ModelPrice:
    """Return a price that is the same at any time, length and service tier."""
    return ModelPrice((PriceRow(0, 0, -1, rates),))


def dearest(
    price: ModelPrice, max_input_tokens: int, admitted_at_seconds: int, reach: Reach = ANYTHING
) -> tuple[int, int]:
    """Return the dearest pico-USD per input token and per output token that a request can select, for its hold.

    Looks at the service tiers within reach, at the rows of up to `max_input_tokens`, and at what a cached, written,
    audio or image token costs; the clocks may differ by CLOCK_SKEW_SECONDS. Fees by the call (web searches) are not in
    it, nor what is not paid by the token. The answer is remembered for a minute.
    """
    minute = admitted_at_seconds // CLOCK_SKEW_SECONDS
    key = (minute, bisect_left(price.steps, max_input_tokens), reach)
    known = price.remembered_dearest.get(key)
    if known is None:
        known = _dearest(price, max_input_tokens, minute * CLOCK_SKEW_SECONDS, reach)
        if len(price.remembered_dearest) >= MAX_REMEMBERED_DEAREST:
            price.remembered_dearest.clear()
        price.remembered_dearest[key] = known
    return known


def _dearest(price: ModelPrice, max_input_tokens: int, minute_seconds: int, reach: Reach) -> tuple[int, int]:
    # Before, at the start of and after the minute, as far as the clocks may differ.
    skews = (-CLOCK_SKEW_SECONDS, 0, 2 * CLOCK_SKEW_SECONDS - 1)
    moments = [max(0, minute_seconds + skew) for skew in skews]
    most_input = most_output = 0
    for tier, rows in (("", price.standard), *price.service_tiers.items()):
        if tier and reach.service_tiers is not None and tier not in reach.service_tiers:
            continue
        slots = {_slot(rows, moment) for moment in moments}
        for row in rows:
            if row.above_input_tokens < max_input_tokens and (row.from_seconds, row.second_of_day) in slots:
                most_input = max(most_input, _dearest_input(row.rates, reach))
                most_output = max(most_output, _dearest_output(row.rates, reach))
    return most_input, most_output


def _slot(rows: tuple[PriceRow, ...], at_seconds: int) -> tuple[int, int]:
    """Return the day and the second of the day from which the rows for this moment apply."""
    second_of_day = at_seconds % DAY_SECONDS
    return max(
        (row.from_seconds, row.second_of_day)
        for row in rows
        if row.from_seconds <= at_seconds and row.second_of_day <= second_of_day
    )


def _dearest_input(rates: Rates, reach: Reach) -> int:
    dearest_rate = max(rates.input, rates.cached)
    if reach.cache_writes:
        dearest_rate = max(dearest_rate, rates.cache_write)
    if reach.cache_writes_1h:
        dearest_rate = max(dearest_rate, rates.cache_write_1h)
    if reach.input_audio:
        dearest_rate = max(dearest_rate, rates.input_audio, rates.cached_audio)
    if reach.input_image:
        dearest_rate = max(dearest_rate, rates.input_image, rates.cached_image)
    return dearest_rate


def _dearest_output(rates: Rates, reach: Reach) -> int:
    dearest_rate = max(rates.output, rates.reasoning)
    if reach.output_audio:
        dearest_rate = max(dearest_rate, rates.output_audio)
    if reach.output_image:
        dearest_rate = max(dearest_rate, rates.output_image)
    return dearest_rate
