"""The ledger: usage records, append-only, and their rollups by hour and day."""

from typing import Any

from sqlalchemy import ColumnElement, Index, PrimaryKeyConstraint, Table, case
from sqlalchemy import text as sql

from gateway.store.tables import integer, metadata, text

_HAS_SIZE = sql("image_size IS NOT NULL")

usage = Table(
    "usage",
    metadata,
    integer("admitted_at_us"),
    text("request_id"),
    text("entry"),
    integer("settled_at_us"),
    text("api_key_id"),
    text("project_id"),
    text("user_id", null=True),
    text("service_account_id", null=True),
    text("operation"),
    text("model"),
    text("requested_model"),
    text("upstream"),
    text("service_tier"),
    integer("batch", default=0),
    integer("requests"),
    integer("succeeded"),
    integer("input_tokens"),
    integer("cached_tokens"),
    integer("cache_write_tokens"),
    integer("cache_write_1h_tokens"),
    integer("input_audio_tokens"),
    integer("input_image_tokens"),
    integer("output_tokens"),
    integer("reasoning_tokens"),
    integer("output_audio_tokens"),
    integer("images"),
    integer("audio_ms", default=0),
    integer("characters", default=0),
    integer("cost_nano_usd", null=True),
    integer("upstream_cost_nano_usd", null=True),
    text("rates", null=True),
    text("source"),
    text("outcome"),
    integer("status"),
    integer("duration_ms"),
    integer("first_byte_ms", null=True),
    text("client_request_id", null=True),
    text("upstream_request_id", null=True),
    text("image_size", null=True),
    PrimaryKeyConstraint("admitted_at_us", "request_id", "entry"),
    Index(None, "api_key_id", "admitted_at_us"),
    Index("ix_usage_image_size", "admitted_at_us", sqlite_where=_HAS_SIZE, postgresql_where=_HAS_SIZE),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (admitted_at_us)",
)
"""One `final` row per call; a settlement that comes after a sweep adds one `correction` with the differences, which may
be negative. `cost_nano_usd` is null when the model had no price. `rates` are those used, as JSON, in pico-USD per
token. `image_size` is not in the rollups' key: reports by size read these rows, by the index that has no others.
"""

SUMS = (
    "requests",
    "succeeded",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_audio_tokens",
    "images",
    "audio_ms",
    "characters",
    "cost_nano_usd",
    "unpriced_requests",
)
"""The columns that rollups add up. `cache_write_tokens` here covers both lifetimes of the cache."""
AMOUNTS = (*SUMS[:-1], "cache_write_1h_tokens", "upstream_cost_nano_usd")
"""The columns of a usage record that are amounts: 0 or more in a final entry, differences in a correction."""
_ADDED = frozenset(("audio_ms", "characters"))
"""Sums that came with a later migration: the gateway before it writes rows without them."""


def _rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        integer("start"),
        text("operation"),
        text("model"),
        text("api_key_id"),
        text("service_tier"),
        integer("batch"),
        *(integer(column, default=0 if column in _ADDED else None) for column in SUMS),
        text("project_id"),
        text("user_id", null=True),
        text("service_account_id", null=True),
        # In this order the present bucket's rows lie together, and a report by model reads a range without sorting it.
        PrimaryKeyConstraint("start", "operation", "model", "api_key_id", "service_tier", "batch"),
        Index(None, "api_key_id", "start"),
        # PostgreSQL keeps rows where they began, by time: which pages have a span is told by a few bytes per page, and
        # a call's commit writes nothing to them.
        Index(f"ix_{name}_span", "start", postgresql_using="brin", postgresql_with={"pages_per_range": 16}).ddl_if(
            dialect="postgresql"
        ),
        sqlite_with_rowid=False,
    )


usage_hour = _rollup("usage_hour")
usage_day = _rollup("usage_day")
"""Rolled up in the settling transaction by the time of admission; `start` is in Unix seconds."""


def figure(name: str) -> ColumnElement[Any]:
    """Return what of a usage record a rollup's column adds up."""
    if name == "cache_write_tokens":
        return usage.c.cache_write_tokens + usage.c.cache_write_1h_tokens
    if name == "unpriced_requests":
        return case(((usage.c.cost_nano_usd.is_(None)) & (usage.c.entry == "final"), 1), else_=0)
    return usage.c[name]
