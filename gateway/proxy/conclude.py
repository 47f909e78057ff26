"""What a job's end says -> its one usage record, whoever heard of it: the gateway's own look, or its owner's.

It is charged what the provider reports: a response once, a batch line by line. If that reports nothing (of a job that
was cancelled, say), our count of the prompt and of the text there is, for a model that thinks no less than it writes on
average; and if nothing came to light at all, what was
noted when the job began.
"""

import logging

import msgspec
from msgspec.structs import replace

from gateway.core.batches import BATCH_TIER, Tally
from gateway.core.call import Reading, WireFormat
from gateway.core.errors import GatewayFault, NotFound, UpstreamFailed
from gateway.core.model_price import ModelPrice
from gateway.core.upstreams import Upstream
from gateway.core.usage import UNTOLD, Usage, at_least
from gateway.dialects import files
from gateway.dialects.batches import LINE_FORMATS, read_result
from gateway.ledger.entries import Figures, Noted, Outcome, Settlement, Source
from gateway.proxy.exchange import Exchange
from gateway.proxy.till import ANSWERED, MICROSECONDS, Till, charge, figures_of, report, safe
from gateway.store.jobs import Job
from gateway.store.provider_objects import ProviderObject, with_items
from gateway.upstream.fetch import fetch, fetch_lines

FILE_SECONDS = 20.0
RESULT_FORMATS = {wire_format.operation: wire_format for wire_format in LINE_FORMATS.values()}

log = logging.getLogger(__name__)

_records = msgspec.json.Decoder(Noted)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def conclude_seen(till: Till, exchange: Exchange) -> None:
    """Settle the job whose end the exchange's answer has told of, if there is one.

    Raises ServiceUnavailable, and UpstreamFailed when a batch's results cannot be read now.
    """
    call, meter, upstream = exchange.call, exchange.meter, exchange.upstream
    if call is None or not call.is_free or exchange.status not in ANSWERED or upstream is None:
        return
    usage = exchange.usage or (meter.usage if meter is not None and meter.ended else None)
    # A stream without figures was perhaps not read from its beginning: the gateway's own look knows better.
    told = exchange.is_over if meter is None else usage is not None
    name = exchange.named_object
    if not told or name is None:
        return
    job = await till.jobs.find(upstream.name, name)
    if job is not None:
        await conclude(till, job, _seen(exchange, usage))


def _seen(exchange: Exchange, usage: Usage | None) -> Reading:
    failed = exchange.failed or (exchange.meter is not None and exchange.meter.error)
    text = exchange.answer_text or ""
    return Reading(usage=usage, error=failed, text=text, files=exchange.files, items=exchange.named_items)


async def conclude(till: Till, job: Job, told: Reading | None) -> None:
    """Charge a job that is over, once. `told` is None when nobody knows how it ended.

    Raises ServiceUnavailable, and UpstreamFailed when a batch's results cannot be read now: nothing is charged then.
    """
    record = _records.decode(job.record)
    upstream = till.catalog().upstream(job.upstream)
    settlement: Settlement = record
    left: tuple[ProviderObject, ...] = ()
    if told is not None and upstream is not None:
        if record.batch:
            settlement = await _batch_settlement(till, record, upstream, told)
            left = await _results(till, record, upstream, told.files)
        else:
            settlement = await _settlement(till, record, upstream, told)
            made = _made(record, upstream, job.external_id, job.kind, record.admitted_at_us // MICROSECONDS)
            left = with_items(made, told.items)[1:]
    settlement = replace(settlement, duration_ms=max(till.jobs.now_us() - record.admitted_at_us, 0) // 1_000)
    began = till.monotonic()
    try:
        await till.ledger.settle(settlement)
    except GatewayFault:
        log.exception("job %s of call %s cannot be charged as told; its hold is swept", job.external_id, job.request_id)
    if await till.jobs.forget(job.request_id, left):
        report(till, settlement, till.monotonic() - began, max(settlement.figures.succeeded, 1))


async def _settlement(till: Till, record: Noted, upstream: Upstream, told: Reading) -> Settlement:
    usage, source = told.usage or UNTOLD, Source.REPORTED
    if usage.lacks_some:
        output = await till.counter.text(record.subject.model, told.text) if told.text and usage.lacks_output else 0
        if usage.lacks_output and not told.error:
            output = max(output, min(record.most_thought_tokens, till.expected.tokens(record.subject.model)))
        counted = record.figures.input_tokens if usage.lacks_input else 0
        usage, source = at_least(usage, input_tokens=counted, output_tokens=output), Source.COUNTED
    cost, rates = charge(_price(till, record, upstream), usage, record.admitted_at_us // MICROSECONDS)
    figures = figures_of(usage, cost, requests=record.figures.requests, succeeded=record.figures.succeeded)
    tier = safe(usage.service_tier, 32) or ""
    concluded = _concluded(record, figures, source, rates, tier)
    return replace(concluded, outcome=Outcome.UPSTREAM_FAILED) if told.error else concluded


async def _batch_settlement(till: Till, record: Settlement, upstream: Upstream, told: Reading) -> Settlement:
    """Add up the results of a batch. Of lines that do not say what they used, the batch's own figures stand."""
    admitted_at = record.admitted_at_us // MICROSECONDS
    price = _price(till, record, upstream)
    tally = Tally(price, admitted_at)
    is_there = await _read_results(till, upstream, told.files, tally, RESULT_FORMATS[record.subject.operation])
    requests, succeeded = max(tally.answered, 1), tally.succeeded
    if is_there and tally.is_whole:
        figures = figures_of(tally.usage, tally.cost_nano_usd, requests=requests, succeeded=succeeded)
        return _concluded(record, figures, Source.REPORTED, tally.rates, BATCH_TIER)
    usage, source = told.usage, Source.REPORTED
    if usage is None:
        most_input = max(record.figures.input_tokens, tally.usage.input_tokens)
        usage, source = replace(tally.usage, input_tokens=most_input), Source.COUNTED
    cost, rates = charge(price, replace(usage, service_tier=BATCH_TIER), admitted_at)
    return _concluded(
        record, figures_of(usage, cost, requests=requests, succeeded=succeeded), source, rates, BATCH_TIER
    )


async def _read_results(
    till: Till, upstream: Upstream, names: tuple[str, ...], tally: Tally, wire_format: WireFormat
) -> bool:
    """Add the results in these files to the tally; return False if one is not there any more. Raises UpstreamFailed."""
    for name in names:
        try:
            async for line in fetch_lines(till.pool, upstream, files.CONTENT.about(name).target):
                result = read_result(line, wire_format)
                if result is not None:
                    status, reading = result
                    tally.add(status, reading.usage)
        except NotFound:
            return False
        except ValueError as error:
            raise UpstreamFailed(
                f"Upstream {upstream.name} has results that cannot be read.", code="upstream_broken", sent=True
            ) from error
    return True


async def _results(
    till: Till, record: Settlement, upstream: Upstream, names: tuple[str, ...]
) -> tuple[ProviderObject, ...]:
    """Return the files of results, which are the caller's own from now on."""
    made = []
    for name in names:
        shown: str | None = None
        try:
            status, body = await fetch(till.pool, upstream, "GET", files.RETRIEVE.about(name).target, FILE_SECONDS)
            if status in ANSWERED and _objects.decode(body):
                shown = body.decode()
        except (UpstreamFailed, msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("file %s of upstream %s is listed without its looks", name, upstream.name)
        made.append(_made(record, upstream, name, "files", till.jobs.now_us() // MICROSECONDS, shown))
    return tuple(made)


def _made(
    record: Settlement, upstream: Upstream, name: str, kind: str, at: int, shown: str | None = None
) -> ProviderObject:
    return ProviderObject(upstream.name, name, record.caller.project_id, record.caller.api_key_id, kind, at, shown)


def _price(till: Till, record: Settlement, upstream: Upstream) -> ModelPrice | None:
    return till.catalog().prices.lookup(upstream.provider, record.subject.model)


def _concluded(record: Settlement, figures: Figures, source: Source, rates: str | None, tier: str) -> Settlement:
    return replace(record, figures=figures, source=source, outcome=Outcome.COMPLETED, rates=rates, service_tier=tier)
