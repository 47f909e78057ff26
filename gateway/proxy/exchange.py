"""One proxied call and what is known of it so far. The endpoint is its only writer."""

import msgspec

from gateway.core.call import Call, Spoken
from gateway.core.ids import is_object_id
from gateway.core.selection import Route
from gateway.core.upstreams import Upstream
from gateway.core.usage import Usage
from gateway.ledger.entries import Grant, Outcome
from gateway.proxy.meter import Meter
from gateway.store.principals import Principal
from gateway.tokens.prompts import PromptCount


class Exchange(msgspec.Struct, eq=False):
    """Fields are None until their phase has run. Moments are on the monotonic clock, in seconds.

    `until` is how long a slow database may keep the call from the provider, all waits together; it moves on while
    something else is waited for. `sent` becomes true just before the provider may have seen the call; `status` is the
    provider's, 0 before it answered. `failed` is what a whole answer of 200 says of itself. `prompt` is our count of
    the input, None while nobody needed it. `spoken` is the call in the words of a provider of another dialect, None
    where it needs no translation. `is_over` is what the answer says of the job that it names, `is_deferred` becomes
    true when that job is noted. `spoken_ms` is how long the sound of a whole answer plays, 0 where that cannot be read.
    """

    request_id: str
    client_request_id: str | None
    began: float
    until: float
    principal: Principal | None = None
    call: Call | None = None
    route: Route | None = None
    spoken: Spoken | None = None
    grant: Grant | None = None
    upstream: Upstream | None = None
    prompt: PromptCount | None = None
    sent: bool = False
    sent_at: float = 0.0
    first_byte_at: float = 0.0
    last_byte_at: float = 0.0
    status: int = 0
    failed: bool = False
    upstream_request_id: str | None = None
    meter: Meter | None = None
    usage: Usage | None = None
    object_id: str | None = None
    is_over: bool | None = None
    files: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    shown: bytes = b""
    is_deferred: bool = False
    answer_text: str | None = None
    spoken_ms: int = 0
    outcome: Outcome = Outcome.COMPLETED
    cost_nano_usd: int | None = None
    settled: bool = False

    @property
    def thinks(self) -> bool:
        """Tell whether the model writes what nobody sees, so that only the provider can count it."""
        if self.call is None or self.route is None:
            return False
        return self.route.facts.is_reasoning if self.call.thinks is None else self.call.thinks

    @property
    def named_object(self) -> str | None:
        """The id of what the answer says lives at the provider now; None too for one that nobody could ask for."""
        named = self.object_id or (self.meter.object_id if self.meter is not None else None)
        return named if named is not None and is_object_id(named) else None

    @property
    def named_items(self) -> tuple[str, ...]:
        """The ids of what the answer is made of."""
        return self.items or (self.meter.items if self.meter is not None else ())
