"""What a call may use at most, told before the provider is asked: the demand that limits are held against."""

from collections.abc import Sequence
from functools import lru_cache

from gateway.core.batches import Lines, batch_price
from gateway.core.call import Call
from gateway.core.limits import Demand
from gateway.core.media import Media, most_fee_pico
from gateway.core.model_price import ModelPrice, Reach, dearest
from gateway.core.prices import ModelFacts
from gateway.core.rates import Unit, more_by

FLOOR_TOKENS = 1_024
REASONING_FLOOR_TOKENS = 4_096
"""The least output cap the gateway sets of itself; a smaller answer would be of no use, least of all while thinking."""
FIRST_EXPECTATION_TOKENS = 512
EXPECTATION_WEIGHT = 8
"""A new call counts for one eighth of the running mean."""
MOST_MODELS = 1_024
TOOLS_MARGIN_TOKENS = 12
"""The largest error of the tool formulas on recorded traffic."""
ESTIMATE_MARGIN = 10
"""An estimate holds a tenth more."""
NOTHING_DEMANDED = Demand(0, 0, 0)
_MEDIA_REACH = Reach(service_tiers=frozenset(), cache_writes=False, cache_writes_1h=False)


def demand_of(
    call: Call,
    facts: ModelFacts,
    prices: Sequence[ModelPrice],
    input_tokens: int,
    expected_tokens: int,
    now_seconds: int,
) -> Demand:
    """Return the most the call may use. `prices` are those of all models that it may ask, its own first, none if that
    has none. `expected_tokens` is what such a call writes on average, of one choice.
    """
    if call.lines is not None:
        return _batch_demand(call.lines, prices, now_seconds)
    cap = call.output_cap if call.output_cap is not None else facts.max_output_tokens
    if call.media is not None:
        price = prices[0] if prices else None
        return _media_demand(call.media, price, input_tokens, cap, expected_tokens, call.choices, now_seconds)
    input_rate = output_rate = fee = 0
    if prices:
        reach = _reach(call.service_tier, call.has_audio, call.draws, call.cache_writes, call.cache_writes_1h)
        rates = [dearest(price, input_tokens, now_seconds, reach) for price in prices]
        input_rate, output_rate = rates[0] if len(rates) == 1 else (max(column) for column in zip(*rates, strict=True))
        input_rate, output_rate = (more_by(rate, call.surcharge_percent) for rate in (input_rate, output_rate))
        plain = prices[0].standard[0].rates
        fee = plain.request + call.web_searches * plain.web_search
    floor = REASONING_FLOOR_TOKENS if facts.is_reasoning else FLOOR_TOKENS
    choices = call.choices * call.runs
    return Demand(
        input_tokens=input_tokens * call.runs,
        output_tokens=cap * choices,
        expected_output_tokens=min(cap, expected_tokens) * choices,
        input_rate=input_rate,
        output_rate=output_rate,
        fee_pico=fee,
        choices=choices,
        floor_output_tokens=None if call.output_cap is not None else min(floor, cap),
    )


def _media_demand(
    media: Media,
    price: ModelPrice | None,
    input_tokens: int,
    cap: int,
    expected_tokens: int,
    choices: int,
    now_seconds: int,
) -> Demand:
    """Return the most that pictures or sound may use; nothing without a price, which says in what it is paid."""
    if price is None:
        return NOTHING_DEMANDED
    if Unit.TOKENS not in price.units:
        input_tokens = cap = 0
    # Each picture is charged as if it had been asked for alone.
    input_tokens *= max(media.images, 1)
    input_rate, output_rate = dearest(price, input_tokens, now_seconds, _MEDIA_REACH)
    return Demand(
        input_tokens=input_tokens,
        output_tokens=cap * choices,
        expected_output_tokens=min(cap, expected_tokens) * choices,
        input_rate=input_rate,
        output_rate=output_rate,
        fee_pico=price.standard[0].rates.request + most_fee_pico(media, price),
        choices=choices,
    )


def most_input(call: Call, context_window: int, tokens: int, *, exact: bool, unseen: bool) -> int:
    """Return the most that a prompt of so many counted tokens may be: with a margin where the count is an estimate.

    `unseen` says that part of it can't be seen from here; then it is the whole context window.
    """
    if call.media is not None and call.media.most_input_tokens is not None:
        return call.media.most_input_tokens
    if unseen:
        return max(context_window, tokens)
    if exact:
        has_tools = b'"tools"' in call.body or b'"functions"' in call.body
        return tokens + (TOOLS_MARGIN_TOKENS if has_tools else 0)
    return tokens + tokens // ESTIMATE_MARGIN + call.formula_tokens


def _batch_demand(lines: Lines, prices: Sequence[ModelPrice], now_seconds: int) -> Demand:
    """Return the most that the lines of a batch may use together, at the dearest rates of batches that one can select.

    The caps stand in a file that cannot be changed, so none is lowered.
    """
    input_rate = output_rate = fee = 0
    if prices:
        price = batch_price(prices[0])
        reach = Reach(
            service_tiers=frozenset(),
            cache_writes_1h=False,
            input_audio=lines.has_audio,
            output_audio=lines.has_audio,
            output_image=False,
        )
        input_rate, output_rate = dearest(price, lines.widest_tokens, now_seconds, reach)
        plain = price.standard[0].rates
        fee = plain.request * lines.count + plain.web_search * lines.web_searches
    return Demand(
        input_tokens=lines.input_tokens,
        output_tokens=lines.output_tokens,
        expected_output_tokens=0,
        input_rate=input_rate,
        output_rate=output_rate,
        fee_pico=fee,
        batch_lines=lines.count,
    )


@lru_cache(maxsize=64)
def _reach(service_tier: str | None, has_audio: bool, draws: bool, cache_writes: bool, cache_writes_1h: bool) -> Reach:
    """Return what the request can select."""
    tiers: frozenset[str] | None = frozenset() if service_tier in (None, "default") else None
    return Reach(
        service_tiers=tiers,
        cache_writes=cache_writes,
        cache_writes_1h=cache_writes_1h,
        input_audio=has_audio,
        output_audio=has_audio,
        output_image=draws,
    )


class ExpectedOutput:
    """The running mean of output tokens per model and choice: what minute limits hold."""

    def __init__(self) -> None:
        self._means: dict[str, int] = {}

    def tokens(self, model: str) -> int:
        """Return what a call to this model is expected to write."""
        return self._means.get(model, FIRST_EXPECTATION_TOKENS)

    def learn(self, model: str, output_tokens: int) -> None:
        """Take note of what a call has written."""
        if len(self._means) >= MOST_MODELS and model not in self._means:
            self._means.clear()
        mean = self.tokens(model)
        self._means[model] = mean + (output_tokens - mean) // EXPECTATION_WEIGHT
