"""What goes into the ledger and what comes back: reservations, grants, settlements."""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import (
    CONCURRENCY,
    COST,
    INPUT_TOKENS,
    REQUESTS,
    TOKENS,
    Demand,
    Interval,
    Limit,
    Metric,
    Refusal,
    Scope,
    Standing,
)


class Source(StrEnum):
    """Where a usage record's figures come from."""

    REPORTED = "reported"
    COUNTED = "counted"
    SWEPT = "swept"


class Outcome(StrEnum):
    """How a call ended."""

    COMPLETED = "completed"
    CLIENT_LEFT = "client_left"
    UPSTREAM_FAILED = "upstream_failed"
    GATEWAY_FAILED = "gateway_failed"


class OutcomeUnknown(ServiceUnavailable):
    """The database went away while it committed: the batch was applied or not, and only asking again can tell."""


class Caller(msgspec.Struct, frozen=True):
    """Whose call it is, as the ledger's columns have it. Exactly one of user and service account is set."""

    api_key_id: str
    project_id: str
    user_id: str | None
    service_account_id: str | None

    def is_in(self, scope: Scope, scope_id: str) -> bool:
        """Tell whether a limit on this scope binds the caller."""
        return scope is Scope.ORGANIZATION or bool(getattr(self, f"{scope}_id") == scope_id)


class Subject(msgspec.Struct, frozen=True):
    """What was called: `model` is the name the provider got, `requested_model` the client's own word."""

    operation: str
    model: str
    requested_model: str
    upstream: str


class Item(msgspec.Struct, frozen=True):
    """What a hold took from one counter, in the metric's unit."""

    limit_id: str
    metric: Metric
    interval: Interval | None
    period_start: int
    amount: int


class Reservation(msgspec.Struct, frozen=True):
    """A call that asks to be admitted. `limits` are all that bind it, as read at `revision`.

    `input_tokens` is the counted prompt, the rates are pico-USD per token and `fee_nano_usd` is what the call costs
    beside tokens: what a sweep charges by if this process dies. They are the model's plain rates, while `demand` has
    the dearest. `batch` is 1 for a batch of calls.
    """

    request_id: str
    revision: int
    caller: Caller
    subject: Subject
    limits: tuple[Limit, ...]
    demand: Demand
    input_tokens: int
    input_rate: int
    output_rate: int
    fee_nano_usd: int = 0
    batch: int = 0


class Grant(msgspec.Struct, frozen=True):
    """An admitted call: its hold is durable. `standings` show the limits just after, `output_cap` as in Admission."""

    request_id: str
    admitted_at_us: int
    items: tuple[Item, ...]
    output_cap: int | None
    standings: tuple[Standing, ...]


class Refused(msgspec.Struct, frozen=True):
    """Not admitted; nothing was left behind. `now` is the database's clock in Unix seconds."""

    refusals: tuple[Refusal, ...]
    now: float


class Stale(msgspec.Struct, frozen=True):
    """The reservation was made from an older revision; read key and limits again and ask again."""

    revision: int


class Figures(msgspec.Struct, frozen=True):
    """The amounts of a usage record, as `core.usage` has them; all are 0 or more in a final entry."""

    requests: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    cost_nano_usd: int | None = 0
    upstream_cost_nano_usd: int | None = None

    def __sub__(self, other: "Figures") -> "Figures":
        """Return the differences, for a correction. A cost that is unknown in both stays unknown."""
        return replace(
            self, **{name: _difference(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__}
        )

    def amount(self, metric: Metric) -> int:
        """Return what these figures charge under a metric; nothing stays charged under concurrency."""
        if metric is REQUESTS:
            return self.requests
        if metric is COST:
            return self.cost_nano_usd or 0
        if metric is TOKENS:
            return self.input_tokens + self.output_tokens
        if metric is CONCURRENCY:
            return 0
        return self.input_tokens if metric is INPUT_TOKENS else self.output_tokens


class Settlement(msgspec.Struct, frozen=True):
    """A call's whole usage record: it charges even when its hold was lost, and twice is once.

    `items` are the grant's, in case the database no longer has them. `service_tier` is "" when none was told,
    `image_size` None where no picture was made.
    """

    request_id: str
    admitted_at_us: int
    caller: Caller
    subject: Subject
    items: tuple[Item, ...]
    figures: Figures
    source: Source
    outcome: Outcome
    status: int
    service_tier: str = ""
    batch: int = 0
    rates: str | None = None
    duration_ms: int = 0
    first_byte_ms: int | None = None
    client_request_id: str | None = None
    upstream_request_id: str | None = None
    image_size: str | None = None


class Noted(Settlement, frozen=True):
    """The record of a call that goes on at its provider, as a job has it.

    `most_thought_tokens` is the output that it may be charged for what nobody saw, 0 for a model that does not think.
    """

    most_thought_tokens: int = 0


def _difference(mine: int | None, theirs: int | None) -> int | None:
    return None if mine is None and theirs is None else (mine or 0) - (theirs or 0)
