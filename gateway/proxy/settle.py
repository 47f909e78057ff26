"""Actual against held -> one usage record. Every exit behind a grant comes here, with an outcome.

What is charged:
    never reached the provider                  nothing
    the provider answered with an error         the request, no tokens
    it reported usage                           that
    anything else, from the moment it was sent  our count of the prompt and of what was delivered
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.errors import ServiceUnavailable
from gateway.core.estimates import ExpectedOutput
from gateway.core.limits import Metric
from gateway.core.rates import cost_nano_usd
from gateway.core.selection import Route
from gateway.core.usage import Usage
from gateway.ledger.entries import Caller, Figures, Outcome, Settlement, Source, Subject
from gateway.ledger.ledger import Ledger
from gateway.metrics import Metrics
from gateway.proxy.exchange import Exchange
from gateway.store import provider_objects
from gateway.store.engine import Database
from gateway.store.provider_objects import ProviderObject
from gateway.tokens.counter import TokenCounter

log = logging.getLogger(__name__)

MICROSECONDS = 1_000_000
ANSWERED = range(200, 300)
MOST_ID_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Till:
    """What settling needs of the house. `monotonic` is in seconds."""

    ledger: Ledger
    database: Database
    counter: TokenCounter
    expected: ExpectedOutput
    metrics: Metrics
    monotonic: Callable[[], float]


async def settle(till: Till, exchange: Exchange) -> None:
    """Charge the exchange, durably. Counts what was not reported. Runs once; later calls do nothing."""
    if exchange.settled or exchange.grant is None:
        return
    usage, source = await _measured(till, exchange)
    if usage.is_clamped:
        log.warning("call %s: the provider's figures contradict each other", exchange.request_id)
    settlement = _settlement(exchange, usage, source, till.monotonic())
    exchange.cost_nano_usd = settlement.figures.cost_nano_usd
    await _note_ownership(till, exchange, settlement)
    began = till.monotonic()
    # Until here it can be cancelled and run again; from here on the ledger has it, whatever becomes of this task.
    exchange.settled = True
    try:
        await till.ledger.settle(settlement)
    finally:
        till.ledger.unwatch(exchange.request_id)
        _report(till, exchange, settlement, usage, till.monotonic() - began)


async def _measured(till: Till, exchange: Exchange) -> tuple[Usage, Source]:
    """Return what the call used and who says so."""
    meter = exchange.meter
    reported = exchange.usage or (meter.usage if meter is not None else None)
    failed = exchange.status != 0 and exchange.status not in ANSWERED
    if not exchange.sent or failed or (exchange.call is not None and exchange.call.is_free):
        return Usage(), Source.REPORTED
    whole = exchange.outcome is Outcome.COMPLETED or meter is None or meter.ended
    if reported is not None and whole:
        return reported, Source.REPORTED
    prompt = await _prompt_tokens(till, exchange)
    output = meter.delivered() if meter is not None else 0
    if exchange.answer_text and exchange.route is not None:
        output += await till.counter.text(exchange.route.model, exchange.answer_text)
    if reported is None:
        return Usage(input_tokens=prompt, output_tokens=output), Source.COUNTED
    # Cut short: figures that the provider sent on the way stand, unless we have delivered more since.
    return _at_least(reported, output), Source.REPORTED if reported.output_tokens >= output else Source.COUNTED


async def _note_ownership(till: Till, exchange: Exchange, settlement: Settlement) -> None:
    """Note who made what now lives at the provider, or that it is gone."""
    call = exchange.call
    if call is None or exchange.status not in ANSWERED:
        return
    caller, upstream = settlement.caller, settlement.subject.upstream
    object_id = exchange.object_id or (exchange.meter.object_id if exchange.meter is not None else None)
    try:
        if call.stores and object_id:
            name = object_id[:MOST_ID_CHARACTERS]
            at = settlement.admitted_at_us // MICROSECONDS
            made = ProviderObject(upstream, name, caller.project_id, caller.api_key_id, call.operation, at)
            await till.database.write(lambda connection: provider_objects.record(connection, made))
        elif call.operation == "responses.delete":
            gone = call.references[0]
            await till.database.write(lambda connection: provider_objects.forget(connection, upstream, gone))
    except ServiceUnavailable:
        # The charge goes on to the spool; only the note of the owner is lost, and then nobody can reach the object.
        log.warning("could not note who made %s", object_id)


async def _prompt_tokens(till: Till, exchange: Exchange) -> int:
    call, route = exchange.call, exchange.route
    if exchange.prompt is None and call is not None and route is not None:
        exchange.prompt = await till.counter.prompt_of(call.operation, route.model, call.body)
    return exchange.prompt.tokens if exchange.prompt is not None else 0


def _at_least(usage: Usage, output_tokens: int) -> Usage:
    if usage.output_tokens >= output_tokens:
        return usage
    return Usage(
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=output_tokens,
        service_tier=usage.service_tier,
    )


def _settlement(exchange: Exchange, usage: Usage, source: Source, now: float) -> Settlement:
    grant, call, route, principal = exchange.grant, exchange.call, exchange.route, exchange.principal
    assert grant is not None and call is not None and route is not None and principal is not None
    cost, rates = _price(route, usage, grant.admitted_at_us // MICROSECONDS)
    upstream = exchange.upstream or route.candidates[0]
    return Settlement(
        request_id=exchange.request_id,
        admitted_at_us=grant.admitted_at_us,
        caller=Caller(principal.api_key_id, principal.project_id, principal.user_id, principal.service_account_id),
        subject=Subject(call.operation, route.model, call.model, upstream.name),
        items=grant.items,
        figures=Figures(
            requests=1 if exchange.sent else 0,
            succeeded=1 if exchange.status in ANSWERED else 0,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            input_audio_tokens=usage.input_audio_tokens,
            input_image_tokens=usage.input_image_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            output_audio_tokens=usage.output_audio_tokens,
            cost_nano_usd=cost,
        ),
        source=source,
        outcome=exchange.outcome,
        status=exchange.status,
        service_tier=_safe(usage.service_tier, 32) or "",
        rates=rates,
        duration_ms=int((now - exchange.began) * 1000),
        first_byte_ms=int((exchange.first_byte_at - exchange.sent_at) * 1000) if exchange.first_byte_at else None,
        client_request_id=_safe(exchange.client_request_id, 128),
        upstream_request_id=_safe(exchange.upstream_request_id, 128),
    )


def _price(route: Route, usage: Usage, admitted_at_seconds: int) -> tuple[int | None, str | None]:
    """Return the cost in nano-USD and the rates used, both None for a model without a price."""
    if usage.total_tokens == 0:
        return 0, None
    if route.price is None:
        return None, None
    rates = route.price.rates(usage, admitted_at_seconds)
    return cost_nano_usd(usage, rates), rates.text


def _safe(text: str | None, length: int) -> str | None:
    """Return a text that every database takes: a provider's words must not fail a neighbour's batch."""
    if text is None or (len(text) <= length and text.isascii() and text.isprintable()):
        return text
    return "".join(character for character in text[:length] if "!" <= character <= "~")


def _report(till: Till, exchange: Exchange, settlement: Settlement, usage: Usage, seconds: float) -> None:
    figures = settlement.figures
    overrun = 0
    for item in settlement.items:
        if item.metric is Metric.TOKENS:
            overrun = max(overrun, usage.total_tokens - item.amount)
    till.metrics.settled(settlement.source.value, settlement.outcome.value, seconds, overrun_tokens=overrun)
    if figures.succeeded and figures.output_tokens and exchange.call is not None:
        till.expected.learn(settlement.subject.model, figures.output_tokens // exchange.call.choices)
    if usage.total_tokens:
        till.metrics.usage_charged(
            settlement.subject.model,
            figures.cost_nano_usd or 0,
            input_tokens=figures.input_tokens,
            output_tokens=figures.output_tokens,
            cached_tokens=figures.cached_tokens,
            reasoning_tokens=figures.reasoning_tokens,
        )
