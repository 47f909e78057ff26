"""One proxied call and what is known of it so far. The endpoint is its only writer."""

import msgspec

from gateway.core.call import Call
from gateway.core.selection import Route
from gateway.core.upstreams import Upstream
from gateway.core.usage import Usage
from gateway.ledger.entries import Grant, Outcome
from gateway.proxy.meter import Meter
from gateway.store.principals import Principal
from gateway.tokens.prompts import PromptCount


class Exchange(msgspec.Struct, eq=False):
    """Fields are None until their phase has run. Moments are on the monotonic clock, in seconds.

    `sent` becomes true just before the provider may have seen the call; `status` is the provider's, 0 before it
    answered. `prompt` is our count of the input, None while nobody needed it.
    """

    request_id: str
    client_request_id: str | None
    began: float
    principal: Principal | None = None
    call: Call | None = None
    route: Route | None = None
    grant: Grant | None = None
    upstream: Upstream | None = None
    prompt: PromptCount | None = None
    sent: bool = False
    sent_at: float = 0.0
    first_byte_at: float = 0.0
    last_byte_at: float = 0.0
    status: int = 0
    upstream_request_id: str | None = None
    meter: Meter | None = None
    usage: Usage | None = None
    object_id: str | None = None
    answer_text: str | None = None
    outcome: Outcome = Outcome.COMPLETED
    cost_nano_usd: int | None = None
    settled: bool = False
