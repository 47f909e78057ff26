"""Actual against held -> one usage record. Every exit behind a grant comes here, with an outcome.

What is charged:
    never reached the provider                  nothing
    the provider answered with an error         the request, no tokens
    it reported usage                           that
    it goes on with a job in the background     nothing yet: the hold stays until `conclude.py` knows how that ended
    anything else, from the moment it was sent  our count of the prompt and of what was delivered; for a model that
                                                thinks what it writes on average, if that is more
    pictures and sound                          as asked for, where the provider does not tell (`core/media.py`)
"""

import logging

import msgspec
from msgspec.structs import replace

from gateway.core.batches import BATCH_TIER, WINDOW_SECONDS, Lines
from gateway.core.errors import ServiceUnavailable
from gateway.core.media import Media, tells_all, with_measures, with_tokens
from gateway.core.rates import Unit
from gateway.core.selection import Route
from gateway.core.usage import UNTOLD, Usage, at_least
from gateway.ledger.entries import Noted, Outcome, Settlement, Source
from gateway.proxy.exchange import Exchange
from gateway.proxy.till import ANSWERED, COMPLETED, MICROSECONDS, REPORTED, Till, charge, report, settlement_of
from gateway.store import provider_objects
from gateway.store.provider_objects import ProviderObject, with_items
from gateway.tokens.prompts import PromptCount

log = logging.getLogger(__name__)

COUNTED, CLIENT_LEFT = Source.COUNTED, Outcome.CLIENT_LEFT
FIRST_LOOK_SECONDS = 0.5
LOOK_AFTER_STREAM_SECONDS = 600.0
"""A stream tells the end of its job itself; who looks earlier than this only asks the provider in vain."""


async def settle(till: Till, exchange: Exchange) -> None:
    """Charge the exchange, durably. Counts what was not reported. Runs once; later calls do nothing."""
    if exchange.settled or exchange.grant is None:
        return
    if _goes_on(exchange):
        await defer(till, exchange, FIRST_LOOK_SECONDS)
        exchange.settled = True
        till.ledger.unwatch(exchange.request_id)
        return
    usage, source = await measured(till, exchange)
    if usage.is_clamped:
        log.warning("call %s: the provider's figures contradict each other", exchange.request_id)
    if source is REPORTED and exchange.prompt is not None:
        _learn(till, exchange, exchange.prompt, usage)
    settlement = settlement_of(exchange, usage, source, till.monotonic())
    exchange.cost_nano_usd = settlement.figures.cost_nano_usd
    await _note_ownership(till, exchange, settlement)
    began = till.monotonic()
    # Until here it can be cancelled and run again; from here on the ledger has it, whatever becomes of this task.
    exchange.settled = True
    exchange.usage, exchange.outcome = usage, settlement.outcome  # whoever tells of the call tells this
    try:
        await till.ledger.settle(settlement)
    finally:
        till.ledger.unwatch(exchange.request_id)
        report(till, settlement, till.monotonic() - began, exchange.call.choices if exchange.call is not None else 1)
    if exchange.is_deferred:
        await _forget_job(till, exchange.request_id)


async def defer(till: Till, exchange: Exchange, first_look_seconds: float) -> None:
    """Note that the provider goes on with what the call began. The hold stays until somebody hears of its end.

    What is noted is also what is charged if nobody ever does: our count of the prompt.
    """
    object_id, call = exchange.named_object, exchange.call
    assert object_id is not None and call is not None
    tier = None if call.lines is None else BATCH_TIER
    counted = Usage(input_tokens=await _prompt_tokens(till, exchange), service_tier=tier)
    record = settlement_of(exchange, counted, Source.SWEPT, till.monotonic())
    if call.lines is not None:
        record = _of_lines(record, call.lines, exchange.route)
    record = replace(record, outcome=Outcome.UPSTREAM_FAILED)
    made = _provider_object(exchange, record, object_id)
    thought = _most_tokens(exchange) if exchange.thinks else 0
    text = msgspec.json.encode(Noted(**msgspec.structs.asdict(record), most_thought_tokens=thought)).decode()
    window_seconds = 0.0 if call.lines is None else WINDOW_SECONDS
    await till.jobs.note(exchange.request_id, made, text, first_look_seconds, window_seconds)
    exchange.is_deferred = True


def _of_lines(record: Settlement, lines: Lines, route: Route | None) -> Settlement:
    """Return the record of a batch whose results nobody knows: each line as long as all are on average."""
    average = Usage(input_tokens=lines.counted_tokens // lines.count, service_tier=BATCH_TIER)
    price = None if route is None else route.price
    cost, rates = charge(price, average, record.admitted_at_us // MICROSECONDS)
    whole = None if cost is None else cost * lines.count
    figures = replace(record.figures, requests=lines.count, succeeded=0, cost_nano_usd=whole)
    return replace(record, figures=figures, rates=rates)


def _goes_on(exchange: Exchange) -> bool:
    """Tell whether the provider still works on it, so that nobody knows yet what it will have used."""
    call, meter = exchange.call, exchange.meter
    if call is None or not call.defers or exchange.status not in ANSWERED or exchange.named_object is None:
        return False
    return exchange.is_over is False if meter is None else not meter.ended


async def _forget_job(till: Till, request_id: str) -> None:
    try:
        await till.jobs.forget(request_id)
    except ServiceUnavailable:
        # Who looks at it later will settle it again, and twice is once.
        log.warning("the job of call %s is still noted, though it is settled", request_id)


async def measured(till: Till, exchange: Exchange) -> tuple[Usage, Source]:
    """Return what the call used and who says so."""
    meter = exchange.meter
    if meter is not None:
        meter.look_at_rest()
    reported = exchange.usage or (meter.usage if meter is not None else None)
    failed = exchange.status != 0 and exchange.status not in ANSWERED
    if not exchange.sent or failed or (exchange.call is not None and exchange.call.is_free):
        return Usage(), REPORTED
    if exchange.call is not None and exchange.call.media is not None:
        return await _media_measured(till, exchange, exchange.call.media, reported)
    whole = meter is None or (not meter.early and (exchange.outcome is COMPLETED or meter.ended))
    if reported is not None and whole and not reported.lacks_some:
        return reported, REPORTED
    if reported is None:
        reported = UNTOLD
    prompt = await _prompt_tokens(till, exchange) if reported.lacks_input else 0
    output = 0 if whole and not reported.lacks_output else await _written_tokens(till, exchange)
    if exchange.thinks and _is_cut(exchange) and (reported.lacks_output or (meter is not None and meter.early)):
        output = max(output, _calibrated_tokens(till, exchange))
    # Figures that the provider sent on the way stand, unless we have counted more than they say.
    used = at_least(reported, input_tokens=prompt, output_tokens=output)
    return used, REPORTED if used is reported and not reported.lacks_some else COUNTED


def _is_cut(exchange: Exchange) -> bool:
    """Tell whether the answer is broken off, or its client did not wait for one. A provider's own error is an end."""
    meter, outcome = exchange.meter, exchange.outcome
    if outcome is COMPLETED or exchange.answer_text is not None or (meter is not None and (meter.ended or meter.error)):
        return False
    return outcome is CLIENT_LEFT or exchange.status in ANSWERED


def _calibrated_tokens(till: Till, exchange: Exchange) -> int:
    """Return what such a call writes on average, hidden tokens and all, at most what was held."""
    call, found = exchange.call, exchange.route
    assert call is not None and found is not None
    return min(_most_tokens(exchange), till.expected.tokens(found.model)) * call.choices


def _most_tokens(exchange: Exchange) -> int:
    """Return the cap that was held for each choice."""
    call, found, grant = exchange.call, exchange.route, exchange.grant
    assert call is not None and found is not None and grant is not None
    return grant.output_cap or call.output_cap or found.facts.max_output_tokens


async def _media_measured(till: Till, exchange: Exchange, media: Media, reported: Usage | None) -> tuple[Usage, Source]:
    """Return what a call of pictures or sound used. What the model is paid by and nobody told is taken as asked for."""
    price = exchange.route.price if exchange.route is not None else None
    source = REPORTED if tells_all(price, reported) else COUNTED
    usage = reported or Usage()
    if exchange.meter is not None and exchange.meter.error:
        # The provider says in its stream that it failed: what is not told then was not made.
        media = msgspec.structs.replace(media, images=0, output_tokens=0)
    if price is not None and Unit.TOKENS in price.units and not usage.total_tokens:
        usage = with_tokens(
            media,
            usage,
            input_tokens=await _prompt_tokens(till, exchange),
            written_tokens=await _written_tokens(till, exchange) if media.unit is Unit.AUDIO else 0,
            spoken_ms=exchange.spoken_ms,
        )
    return with_measures(media, usage, exchange.spoken_ms), source


def _learn(till: Till, exchange: Exchange, prompt: PromptCount, usage: Usage) -> None:
    """Hold our count of the prompt, where one was made, against the provider's: the next estimates are nearer to it."""
    call, found = exchange.call, exchange.route
    if call is None or found is None or not call.text_only or usage.others:
        return
    factor = till.counter.learn(found.model, prompt, usage.input_tokens)
    if factor is not None:
        till.metrics.estimates_calibrated(found.model, factor)


async def _written_tokens(till: Till, exchange: Exchange) -> int:
    """Return our count of the text that was delivered."""
    written = exchange.meter.delivered() if exchange.meter is not None else 0
    if exchange.answer_text and exchange.route is not None:
        written += await till.counter.text(exchange.route.model, exchange.answer_text)
    return written


async def _note_ownership(till: Till, exchange: Exchange, settlement: Settlement) -> None:
    """Note who made what now lives at the provider, or that it is gone."""
    call = exchange.call
    # What is gone at the provider, however it went, is nothing that a list should show.
    if call is None or not (exchange.status in ANSWERED or (call.forgets and exchange.status == 404)):
        return
    upstream = settlement.subject.upstream
    object_id = exchange.named_object
    try:
        if call.makes and object_id:
            made = with_items(_provider_object(exchange, settlement, object_id), exchange.named_items)
            await till.database.write(lambda connection: provider_objects.record(connection, made))
        elif call.forgets:
            gone = call.references[0]
            await till.database.write(lambda connection: provider_objects.forget(connection, upstream, gone))
    except ServiceUnavailable:
        # The charge goes on to the spool; only the note of the owner is lost, and then nobody can reach the object.
        log.warning("could not note who made %s", object_id)


def _provider_object(exchange: Exchange, settlement: Settlement, object_id: str) -> ProviderObject:
    assert exchange.call is not None
    caller, at = settlement.caller, settlement.admitted_at_us // MICROSECONDS
    return ProviderObject(
        settlement.subject.upstream,
        object_id,
        caller.project_id,
        caller.api_key_id,
        exchange.call.makes,
        at,
        exchange.shown.decode(errors="replace").replace("\0", "") or None,
    )


async def _prompt_tokens(till: Till, exchange: Exchange) -> int:
    call, route = exchange.call, exchange.route
    if exchange.prompt is None and call is not None and route is not None:
        exchange.prompt = await till.counter.prompt_for(call, route.model)
    return exchange.prompt.tokens if exchange.prompt is not None else 0
