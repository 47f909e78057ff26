"""What a limit is, when its period began, and whether a call fits: the one pure decision of admission.

A limit is metric x interval x amount on a scope. Interval `minute` and the metric `concurrency` make a rate limit;
`hour` and longer make a budget. Amounts are integers in the metric's unit: calls, tokens, nano-USD, calls in flight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from gateway.core.money import PICO_PER_NANO

MINUTE_SECONDS = 60
HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400
WEEK_SECONDS = 604_800
FIRST_MONDAY = 4 * DAY_SECONDS
"""1970-01-05, the first Monday of Unix time."""
MAX_AMOUNT = 2**63 - 1


class Scope(StrEnum):
    """Whose calls a limit binds."""

    ORGANIZATION = "organization"
    PROJECT = "project"
    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    API_KEY = "api_key"


class Metric(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    COST = "cost"
    CONCURRENCY = "concurrency"


class Interval(StrEnum):
    """How often a limit's counter starts again; periods are UTC, weeks start on Monday."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"


# The members that every call is compared with: an enum takes ten times longer to look one up than that.
REQUESTS, TOKENS, INPUT_TOKENS = Metric.REQUESTS, Metric.TOKENS, Metric.INPUT_TOKENS
OUTPUT_TOKENS, COST, CONCURRENCY = Metric.OUTPUT_TOKENS, Metric.COST, Metric.CONCURRENCY
MINUTE = Interval.MINUTE
OUTPUT_METRICS = frozenset({Metric.TOKENS, Metric.OUTPUT_TOKENS, Metric.COST})
TOKEN_METRICS = frozenset({Metric.TOKENS, Metric.INPUT_TOKENS, Metric.OUTPUT_TOKENS})


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit. `interval` is None for concurrency only. `models` are wildcard patterns, None binds every model."""

    id: str
    scope: Scope
    scope_id: str
    metric: Metric
    interval: Interval | None
    amount: int
    models: tuple[str, ...] | None = None

    @property
    def is_rate_limit(self) -> bool:
        """True for minute limits and concurrency: what refuses now fits again soon."""
        return self.interval is None or self.interval is Interval.MINUTE

    def binds(self, model: str) -> bool:
        """Tell whether calls to this model count."""
        return self.models is None or any(fnmatchcase(model, pattern) for pattern in self.models)


def period_start(interval: Interval | None, now_seconds: int) -> int:
    """Return the Unix second at which the interval's current period began; 0 for lifetime and concurrency."""
    match interval:
        case None | Interval.LIFETIME:
            return 0
        case Interval.MINUTE:
            return now_seconds - now_seconds % MINUTE_SECONDS
        case Interval.HOUR:
            return now_seconds - now_seconds % HOUR_SECONDS
        case Interval.DAY:
            return now_seconds - now_seconds % DAY_SECONDS
        case Interval.WEEK:
            return now_seconds - (now_seconds - FIRST_MONDAY) % WEEK_SECONDS
        case Interval.MONTH:
            day = datetime.fromtimestamp(now_seconds, UTC)
            return int(day.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


def period_end(interval: Interval | None, start_seconds: int) -> int | None:
    """Return the Unix second at which the period that began at `start_seconds` ends, None if it never does."""
    match interval:
        case None | Interval.LIFETIME:
            return None
        case Interval.MINUTE:
            return start_seconds + MINUTE_SECONDS
        case Interval.HOUR:
            return start_seconds + HOUR_SECONDS
        case Interval.DAY:
            return start_seconds + DAY_SECONDS
        case Interval.WEEK:
            return start_seconds + WEEK_SECONDS
        case Interval.MONTH:
            inside_next = datetime.fromtimestamp(start_seconds, UTC) + timedelta(days=31)
            return period_start(interval, int(inside_next.timestamp()))


class Demand(msgspec.Struct, frozen=True):
    """The most that one call may use, before the provider is asked.

    `output_tokens` is the cap of one choice times `choices`. Rates are the dearest pico-USD per token that the request
    can select, `fee_pico` what the call costs beside its tokens. `expected_output_tokens` is what minute limits hold.
    `floor_output_tokens` is None when the client set the cap itself; else the gateway may lower the cap, never below
    this many tokens a choice. `batch_lines` is how many calls a batch makes, 0 for a call of its own.
    """

    input_tokens: int
    output_tokens: int
    expected_output_tokens: int
    input_rate: int = 0
    output_rate: int = 0
    fee_pico: int = 0
    choices: int = 1
    floor_output_tokens: int | None = None
    batch_lines: int = 0


def amount_of(metric: Metric, input_tokens: int, output_tokens: int, demand: Demand) -> int:
    """Return what a call of so many tokens holds under a metric; cost is rounded up to whole nano-USD."""
    if metric is REQUESTS:
        return demand.batch_lines or 1
    if metric is CONCURRENCY:
        return 1
    if metric is COST:
        pico = input_tokens * demand.input_rate + output_tokens * demand.output_rate + demand.fee_pico
        return -(-pico // PICO_PER_NANO)
    if metric is TOKENS:
        return input_tokens + output_tokens
    return input_tokens if metric is INPUT_TOKENS else output_tokens


def hold_amount(limit: Limit, demand: Demand) -> int:
    """Return what the limit holds for the demand: minute limits the expected output, all others the whole cap.

    Rate limits are about traffic, and a batch is none: to them it is the one call that begins it.
    """
    if demand.batch_lines and limit.is_rate_limit:
        return 1 if limit.metric is REQUESTS else 0
    output = demand.expected_output_tokens if limit.interval is MINUTE else demand.output_tokens
    return amount_of(limit.metric, demand.input_tokens, output, demand)


class Standing(msgspec.Struct):
    """A limit's counter in the current period, as the running transaction sees it."""

    limit: Limit
    period_start: int
    used: int
    held: int

    @property
    def remaining(self) -> int:
        """What is neither used nor held; negative after an overrun or a lowered limit."""
        return self.limit.amount - self.used - self.held


@dataclass(frozen=True, slots=True)
class Refusal:
    """One limit that refused: the figures at that moment and what the call asked for."""

    limit: Limit
    period_start: int
    used: int
    held: int
    asked: int

    @property
    def is_final(self) -> bool:
        """True when `used` alone refuses, so that nobody's settling can make room within the period."""
        if self.limit.metric is Metric.CONCURRENCY:
            return False
        return self.limit.amount == 0 or self.used + self.asked > self.limit.amount

    @property
    def can_ever_fit(self) -> bool:
        """False when the call is larger than the whole limit, or when the limit is 0 and blocks every call."""
        return 0 < self.limit.amount >= self.asked

    def retry_after_seconds(self, now: float) -> float | None:
        """Return the true time until the call can fit, None when no waiting helps."""
        if self.limit.metric is Metric.CONCURRENCY:
            return 1.0 if self.can_ever_fit else None
        if not self.can_ever_fit:
            return None
        end = period_end(self.limit.interval, self.period_start)
        if end is None:
            return None if self.is_final else 1.0
        if self.limit.interval is Interval.MINUTE:
            # A new minute opens with what the last one used beyond its amount, so a large excess takes several.
            minutes = max(1, -(-(self.used + self.asked - self.limit.amount) // self.limit.amount))
            end = self.period_start + minutes * MINUTE_SECONDS
        elif not self.is_final:
            return 1.0
        return max(end - now, 0.001)


class Admission(msgspec.Struct, frozen=True):
    """The decision for one call.

    `amounts` go with the standings in their order and are empty when refused. `output_cap` is the cap of one choice
    that the gateway must send because the client set none and the whole maximum did not fit; None changes nothing.
    """

    amounts: tuple[int, ...]
    output_cap: int | None
    refusals: tuple[Refusal, ...]


def decide(demand: Demand, standings: Sequence[Standing]) -> Admission:
    """Reserve under every limit or under none. Changes nothing; refusals come with the longest wait first."""
    amounts = tuple(hold_amount(standing.limit, demand) for standing in standings)
    refusals = _refusals(standings, amounts)
    if not refusals:
        return Admission(amounts, None, ())
    lowered = _affordable(demand, standings)
    if lowered is not None:
        amounts = tuple(hold_amount(standing.limit, lowered) for standing in standings)
        if not _refusals(standings, amounts):
            return Admission(amounts, lowered.output_tokens // lowered.choices, ())
    return Admission((), None, tuple(sorted(refusals, key=_longest_wait_first)))


def _refusals(standings: Sequence[Standing], amounts: Sequence[int]) -> list[Refusal]:
    return [
        Refusal(standing.limit, standing.period_start, standing.used, standing.held, amount)
        for standing, amount in zip(standings, amounts, strict=True)
        # A limit of 0 blocks even a call that would hold nothing of its metric.
        if amount > standing.remaining or standing.limit.amount == 0
    ]


def _longest_wait_first(refusal: Refusal) -> tuple[bool, float]:
    end = period_end(refusal.limit.interval, refusal.period_start)
    lasting = not refusal.limit.is_rate_limit and refusal.is_final
    return (not lasting, -(end if end is not None else float("inf")))


def _affordable(demand: Demand, standings: Sequence[Standing]) -> Demand | None:
    """Lower the output cap to half of what remains on the tightest budget, at least the floor; None if it cannot be."""
    if demand.floor_output_tokens is None:
        return None
    caps = [_affordable_cap(standing, demand) for standing in standings]
    cap = min([demand.output_tokens // demand.choices, *(cap for cap in caps if cap is not None)])
    if cap < demand.floor_output_tokens:
        return None
    return Demand(
        demand.input_tokens,
        cap * demand.choices,
        min(demand.expected_output_tokens, cap * demand.choices),
        demand.input_rate,
        demand.output_rate,
        demand.fee_pico,
        demand.choices,
        demand.floor_output_tokens,
    )


def _affordable_cap(standing: Standing, demand: Demand) -> int | None:
    """Return the cap of one choice that this limit can pay, None if it does not depend on the cap."""
    limit = standing.limit
    if limit.metric not in OUTPUT_METRICS or limit.interval is Interval.MINUTE:
        return None
    room = standing.remaining - amount_of(limit.metric, demand.input_tokens, 0, demand)
    price = demand.output_rate if limit.metric is Metric.COST else 1
    scale = PICO_PER_NANO if limit.metric is Metric.COST else 1
    if price == 0:
        return None
    floor = demand.floor_output_tokens or 0
    whole = room * scale // (price * demand.choices)
    half = standing.remaining * scale // (2 * price * demand.choices)
    return whole if whole < floor else max(min(whole, half), floor)
