"""How entries lie in rows: the one place that knows the order of the ledger's columns, for both databases."""

from collections.abc import Iterable
from typing import Any
from typing import Final as Constant

import msgspec

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.effects import Entry, Final, Rollups, rollups
from gateway.ledger.entries import Figures, Grant, Outcome, Reservation, Settlement, Source

HOLD_COLUMNS: Constant = (
    "request_id", "owner", "admitted_at_us", "api_key_id", "project_id", "user_id", "service_account_id",
    "operation", "model", "requested_model", "upstream", "input_tokens", "input_rate", "output_rate", "fee_nano_usd",
    "batch",
)  # fmt: skip
ITEM_COLUMNS: Constant = ("request_id", "limit_id", "period_start", "amount")
USAGE_COLUMNS: Constant = (
    "admitted_at_us", "request_id", "entry", "settled_at_us",
    "api_key_id", "project_id", "user_id", "service_account_id",
    "operation", "model", "requested_model", "upstream",
    "service_tier", "batch", *Figures.__struct_fields__,
    "rates", "source", "outcome", "status", "duration_ms", "first_byte_ms", "client_request_id", "upstream_request_id",
    "image_size",
)  # fmt: skip
ROLLUP_KEY_COLUMNS: Constant = ("api_key_id", "start", "operation", "model", "service_tier", "batch")
ROLLUP_OWNER_COLUMNS: Constant = ("project_id", "user_id", "service_account_id")
ROLLUP_SUM_COLUMNS: Constant = (
    "requests", "succeeded", "input_tokens", "cached_tokens", "cache_write_tokens", "input_audio_tokens",
    "input_image_tokens", "output_tokens", "reasoning_tokens", "output_audio_tokens", "images", "audio_ms",
    "characters", "cost_nano_usd", "unpriced_requests",
)  # fmt: skip

LIMIT_COLUMNS: Constant = ("id", "scope", "scope_id", "metric", "interval", "amount", "models", "created_at")
IS_CORRECTED: Constant = (
    "EXISTS (SELECT 1 FROM usage c WHERE c.admitted_at_us = usage.admitted_at_us "
    "AND c.request_id = usage.request_id AND c.entry = 'correction')"
)
FINAL_COLUMNS: Constant = ("request_id", "source", IS_CORRECTED, *Figures.__struct_fields__)

# Drivers take plain text only, and an enum's `value` is a function of its own.
_WORDS: Constant = {word: word.value for word in (*Source, *Outcome)}

Row = tuple[str | int | None, ...]


def hold_row(owner: str, reservation: Reservation, grant: Grant) -> Row:
    """Return the row of HOLD_COLUMNS."""
    caller, subject = reservation.caller, reservation.subject
    return (
        reservation.request_id, owner, grant.admitted_at_us,
        caller.api_key_id, caller.project_id, caller.user_id, caller.service_account_id,
        subject.operation, subject.model, subject.requested_model, subject.upstream,
        reservation.input_tokens, reservation.input_rate, reservation.output_rate, reservation.fee_nano_usd,
        reservation.batch,
    )  # fmt: skip


def usage_row(entry: Entry) -> Row:
    """Return the row of USAGE_COLUMNS."""
    record, figures = entry.settlement, entry.figures
    caller, subject = record.caller, record.subject
    return (
        record.admitted_at_us, record.request_id, entry.kind, entry.settled_at_us,
        caller.api_key_id, caller.project_id, caller.user_id, caller.service_account_id,
        subject.operation, subject.model, subject.requested_model, subject.upstream,
        record.service_tier, record.batch,
        figures.requests, figures.succeeded, figures.input_tokens, figures.cached_tokens, figures.cache_write_tokens,
        figures.cache_write_1h_tokens, figures.input_audio_tokens, figures.input_image_tokens, figures.output_tokens,
        figures.reasoning_tokens, figures.output_audio_tokens, figures.images, figures.audio_ms, figures.characters,
        figures.cost_nano_usd, figures.upstream_cost_nano_usd,
        record.rates, _WORDS[record.source], _WORDS[record.outcome], record.status, record.duration_ms,
        record.first_byte_ms, record.client_request_id, record.upstream_request_id,
        record.image_size,
    )  # fmt: skip


def item_rows(granted: Iterable[tuple[Reservation, Grant]]) -> list[Row]:
    """Return rows of ITEM_COLUMNS."""
    return [
        (grant.request_id, item.limit_id, item.period_start, item.amount)
        for _, grant in granted
        for item in grant.items
    ]


def rollup_rows(entries: Iterable[Entry]) -> tuple[list[Row], list[Row]]:
    """Return rows of key, owner and sum columns for hours and for days, in the order of their key."""
    hours, days = rollups(entries)
    return _rollup_rows(hours), _rollup_rows(days)


def _rollup_rows(added: Rollups) -> list[Row]:
    return [
        (*key, record.caller.project_id, record.caller.user_id, record.caller.service_account_id, *sums)
        for key, (record, sums) in added.items()
    ]


def final_of(row: Iterable[Any]) -> Final:
    """Read a row of FINAL_COLUMNS."""
    request_id, source, is_corrected, *figures = row
    return Final(request_id, Source(source), bool(is_corrected), Figures(*figures))


def limit_of(row: Iterable[Any]) -> tuple[Limit, int]:
    """Read a row of LIMIT_COLUMNS: the limit, and the Unix second in which it was made."""
    id, scope, scope_id, metric, interval, amount, models, created_at = row
    patterns = None if models is None else msgspec.json.decode(models, type=tuple[str, ...])
    limit = Limit(id, Scope(scope), scope_id, Metric(metric), interval and Interval(interval), amount, patterns)
    return limit, created_at


def scope_ids(settlement: Settlement) -> list[str]:
    """Return the ids of all that a limit on this call's caller can be set on, beside the organization."""
    caller = settlement.caller
    ids = (caller.api_key_id, caller.project_id, caller.user_id, caller.service_account_id)
    return [id for id in ids if id is not None]
