"""What settling needs of the house, and how a usage record is made of what is known of a call."""

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.core.call import Call
from gateway.core.estimates import ExpectedOutput
from gateway.core.limits import COST, MINUTE, TOKENS
from gateway.core.model_price import ModelPrice
from gateway.core.rates import cost_nano_usd
from gateway.core.selection import Catalog
from gateway.core.usage import Usage
from gateway.ledger.entries import Caller, Figures, Outcome, Settlement, Source, Subject
from gateway.ledger.ledger import Ledger
from gateway.metrics import Metrics
from gateway.proxy.exchange import Exchange
from gateway.store.engine import Database
from gateway.store.job_book import JobBook
from gateway.tokens.counter import TokenCounter
from gateway.upstream.pool import Pool

MICROSECONDS = 1_000_000
ANSWERED = range(200, 300)
# Looked up once: an enum takes ten times longer to find a member than to be compared with it.
REPORTED, COMPLETED = Source.REPORTED, Outcome.COMPLETED


@dataclass(frozen=True, slots=True)
class Till:
    """What settling needs of the house. `monotonic` is in seconds, `catalog` returns the present one."""

    ledger: Ledger
    database: Database
    jobs: JobBook
    pool: Pool
    catalog: Callable[[], Catalog]
    counter: TokenCounter
    expected: ExpectedOutput
    metrics: Metrics
    monotonic: Callable[[], float]


def settlement_of(exchange: Exchange, usage: Usage, source: Source, now: float) -> Settlement:
    """Return the usage record of a call that ends now, on the monotonic clock."""
    grant, call, route, principal = exchange.grant, exchange.call, exchange.route, exchange.principal
    assert grant is not None and call is not None and route is not None and principal is not None
    cost, rates = charge(route.price, usage, grant.admitted_at_us // MICROSECONDS, route.price_of)
    upstream = exchange.upstream or route.candidates[0]
    return Settlement(
        exchange.request_id,  # by place: CPython calls with too many keywords at twice the price
        grant.admitted_at_us,
        Caller(principal.api_key_id, principal.project_id, principal.user_id, principal.service_account_id),
        Subject(call.operation, route.model, call.model, upstream.name),
        grant.items,
        figures=figures_of(
            usage.whole(), cost, requests=1 if exchange.sent else 0, succeeded=1 if exchange.status in ANSWERED else 0
        ),
        source=source,
        outcome=_outcome(exchange, call),
        status=exchange.status,
        service_tier=safe(usage.service_tier, 32) or "",
        batch=0 if call.lines is None else 1,
        rates=rates,
        duration_ms=int((now - exchange.began) * 1000),
        first_byte_ms=int((exchange.first_byte_at - exchange.sent_at) * 1000) if exchange.first_byte_at else None,
        client_request_id=safe(exchange.client_request_id, 128),
        upstream_request_id=safe(exchange.upstream_request_id, 128),
        image_size=_image_size(usage, call) if usage.images else None,
    )


def _outcome(exchange: Exchange, call: Call) -> Outcome:
    """Return how the call ended. One whose provider says in its answer that it failed was not completed."""
    failed = exchange.failed or (exchange.meter is not None and exchange.meter.error)
    if failed and exchange.outcome is Outcome.COMPLETED and not call.is_free:
        return Outcome.UPSTREAM_FAILED
    return exchange.outcome


def _image_size(usage: Usage, call: Call) -> str | None:
    """Return the pictures' size for reports, which must miss none: as answered, as asked for, or else "auto"."""
    asked = call.media.image_size if call.media is not None else None
    return safe(usage.image_size or asked or "auto", 32)


def figures_of(usage: Usage, cost: int | None, *, requests: int, succeeded: int) -> Figures:
    """Return the amounts of a usage record; `cost` is in nano-USD, None without a price."""
    figures = Figures(
        requests=requests,
        succeeded=succeeded,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        input_image_tokens=usage.input_image_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        output_audio_tokens=usage.output_audio_tokens,
        images=usage.images,
        audio_ms=usage.audio_ms,
        characters=usage.characters,
        cost_nano_usd=cost,
    )
    if usage.upstream_cost_nano_usd is None:
        return figures
    return replace(figures, upstream_cost_nano_usd=usage.upstream_cost_nano_usd)


def charge(
    price: ModelPrice | None,
    usage: Usage,
    admitted_at_seconds: int,
    price_of: Callable[[str], ModelPrice | None] = lambda _model: None,
) -> tuple[int | None, str | None]:
    """Return the cost in nano-USD and the rates used, both None for a model, or a speed of it, without a price.

    `price_of` knows the prices of other models that the provider asked in the same call; one without a price is charged
    as the call's own.
    """
    if usage.is_nothing:
        return 0, None
    if price is None or price.leaves_open(usage.service_tier):
        return None, None
    rates = price.rates(usage, admitted_at_seconds)
    cost = cost_nano_usd(usage, rates)
    for other in usage.others:
        others_price = price_of(other.model) or price
        cost += cost_nano_usd(other.usage, others_price.rates(other.usage, admitted_at_seconds))
    return cost, rates.text


def safe(text: str | None, length: int) -> str | None:
    """Return a text that every database takes: a provider's words must not fail a neighbour's batch."""
    if text is None or (len(text) <= length and text.isascii() and text.isprintable()):
        return text
    return "".join(character for character in text[:length] if "!" <= character <= "~")


def report(till: Till, settlement: Settlement, seconds: float, choices: int) -> None:
    """Leave a settlement that took so long in the metrics; learn what a choice of its model writes."""
    figures = settlement.figures
    total = figures.input_tokens + figures.output_tokens
    overrun = overspent = 0
    for item in settlement.items:
        if item.metric is TOKENS:
            overrun = max(overrun, total - item.amount)
        elif item.metric is COST and item.interval is not MINUTE:  # a minute holds no more than is expected
            overspent = max(overspent, (figures.cost_nano_usd or 0) - item.amount)
    till.metrics.settled(
        settlement.source, settlement.outcome, seconds, overrun_tokens=overrun, overrun_nano_usd=overspent
    )
    is_known = settlement.source is REPORTED or settlement.outcome is COMPLETED  # what was cut short tells too little
    if is_known and figures.succeeded and figures.output_tokens:
        till.expected.learn(settlement.subject.model, figures.output_tokens // choices)
    if total or figures.cost_nano_usd:
        till.metrics.usage_charged(
            settlement.subject.model,
            figures.cost_nano_usd or 0,
            input_tokens=figures.input_tokens,
            output_tokens=figures.output_tokens,
            cached_tokens=figures.cached_tokens,
            reasoning_tokens=figures.reasoning_tokens,
        )
