"""What a batch's lines ask for and what they have used, added up: a batch is one call that makes many.

Its lines are of one model. Each is charged by its own length at the rates of batches, so a batch costs what its lines
would have cost one by one at those rates.
"""

import msgspec
from msgspec.structs import replace

from gateway.core.model_price import ModelPrice
from gateway.core.rates import cost_nano_usd
from gateway.core.usage import Usage, added

BATCH_TIER = "batch"
"""The word for batches among the service tiers of prices and of usage records."""
WINDOW_SECONDS = 86_400.0
"""How long a provider may take over a batch."""


class Lines(msgspec.Struct, frozen=True):
    """What all lines of a batch ask for together.

    `counted_tokens` are the prompts by our count, `input_tokens` the most that they may be, `output_tokens` the caps of
    all choices; `widest_tokens` is the longest prompt; `web_searches` are those that are held for.
    """

    count: int
    counted_tokens: int
    input_tokens: int
    output_tokens: int
    widest_tokens: int
    has_audio: bool = False
    web_searches: int = 0


class Tally:
    """The results of a batch, one after the other.

    `answered` counts the lines that the provider ran, `succeeded` those with an answer of 2xx. `is_whole` becomes false
    with a success that does not say what it used.
    """

    def __init__(self, price: ModelPrice | None, admitted_at_seconds: int) -> None:
        self._price = price
        self._admitted_at = admitted_at_seconds
        self._rates: dict[str, None] = {}
        self.answered = 0
        self.succeeded = 0
        self.usage = Usage(service_tier=BATCH_TIER)
        self.cost_nano_usd: int | None = 0
        self.is_whole = True

    def add(self, status: int, usage: Usage | None) -> None:
        """Take note of one line's answer."""
        self.answered += 1
        if not 200 <= status < 300:
            return
        self.succeeded += 1
        if usage is None or usage.lacks_some:
            self.is_whole = False
        if usage is None:
            return
        self._charge(replace(usage, service_tier=BATCH_TIER))

    def _charge(self, usage: Usage) -> None:
        self.usage = added((self.usage, usage))
        if self._price is None:
            self.cost_nano_usd = 0 if self.usage.is_nothing else None
            return
        rates = self._price.rates(usage, self._admitted_at)
        self._rates[rates.text] = None
        self.cost_nano_usd = (self.cost_nano_usd or 0) + cost_nano_usd(usage, rates)

    @property
    def rates(self) -> str | None:
        """The rates that were used, as JSON: one object, or a list where lines differ in length by so much."""
        texts = list(self._rates)
        return f"[{','.join(texts)}]" if len(texts) > 1 else next(iter(texts), None)


def batch_price(price: ModelPrice) -> ModelPrice:
    """Return what a batch of the model costs: the plain price where batches have none of their own."""
    return ModelPrice(price.service_tiers.get(BATCH_TIER, price.standard))
