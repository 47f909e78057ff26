"""What a call may use at most, told before the provider is asked: the demand that limits are held against."""

from functools import lru_cache

from gateway.core.call import Call
from gateway.core.limits import Demand
from gateway.core.model_price import ModelPrice, Reach, dearest
from gateway.core.prices import ModelFacts

FLOOR_TOKENS = 1_024
REASONING_FLOOR_TOKENS = 4_096
"""The least output cap the gateway sets of itself; a smaller answer would be of no use, least of all while thinking."""
FIRST_EXPECTATION_TOKENS = 512
EXPECTATION_WEIGHT = 8
"""A new call counts for one eighth of the running mean."""
MOST_MODELS = 1_024
TOOLS_MARGIN_TOKENS = 12
"""The largest error of the tool formulas on recorded traffic."""
NOTHING_DEMANDED = Demand(0, 0, 0)


def demand_of(
    call: Call, facts: ModelFacts, price: ModelPrice | None, input_tokens: int, expected_tokens: int, now_seconds: int
) -> Demand:
    """Return the most the call may use. `expected_tokens` is what such a call writes on average, of one choice."""
    cap = call.output_cap if call.output_cap is not None else facts.max_output_tokens
    input_rate = output_rate = 0
    if price is not None:
        input_rate, output_rate = dearest(price, input_tokens, now_seconds, _reach(call.service_tier, call.has_audio))
    floor = REASONING_FLOOR_TOKENS if facts.is_reasoning else FLOOR_TOKENS
    return Demand(
        input_tokens=input_tokens,
        output_tokens=cap * call.choices,
        expected_output_tokens=min(cap, expected_tokens) * call.choices,
        input_rate=input_rate,
        output_rate=output_rate,
        fee_pico=price.standard[0].rates.request if price is not None else 0,
        choices=call.choices,
        floor_output_tokens=None if call.output_cap is not None else min(floor, cap),
    )


@lru_cache(maxsize=64)
def _reach(service_tier: str | None, has_audio: bool) -> Reach:
    """Return what the request can select. Text is never written to an hour's cache by OpenAI's dialect."""
    tiers: frozenset[str] | None = frozenset() if service_tier in (None, "default") else None
    return Reach(
        service_tiers=tiers,
        cache_writes_1h=False,
        input_audio=has_audio,
        output_audio=has_audio,
        output_image=False,
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
