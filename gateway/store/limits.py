"""Limits and their counters. A counter is a new row per period and is never zeroed."""

from sqlalchemy import Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text

from gateway.store.tables import integer, metadata, text

limit = Table(
    "limit",
    metadata,
    Column("id", Text, primary_key=True),
    text("scope"),
    text("scope_id"),
    text("metric"),
    text("interval", null=True),
    integer("amount"),
    text("models", null=True),
    integer("created_at"),
    Index(None, "scope", "scope_id"),
)
"""`models` is a JSON list of wildcard patterns, null for every model."""

counter = Table(
    "counter",
    metadata,
    Column("limit_id", Text, ForeignKey("limit.id", ondelete="CASCADE"), nullable=False),
    integer("period_start"),
    integer("used", default=0),
    integer("held", default=0),
    PrimaryKeyConstraint("limit_id", "period_start"),
    sqlite_with_rowid=False,
)
