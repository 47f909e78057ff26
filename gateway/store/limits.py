"""Limits and their counters. A counter is a new row per period and is never zeroed."""

from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Row,
    Table,
    Text,
    and_,
    or_,
    select,
)

from gateway.core.limits import Interval, Limit, Metric, Scope
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

ORGANIZATION_ID = "org_gateway"
"""The scope id of the organization's limits: a gateway has exactly one organization."""


def binding(
    connection: Connection, api_key_id: str, project_id: str, user_id: str | None, service_account_id: str | None
) -> tuple[Limit, ...]:
    """Return the limits of every scope that binds a key: its own first, then holder's, project's, organization's."""
    scopes = [
        (Scope.API_KEY, api_key_id),
        (Scope.USER, user_id),
        (Scope.SERVICE_ACCOUNT, service_account_id),
        (Scope.PROJECT, project_id),
        (Scope.ORGANIZATION, ORGANIZATION_ID),
    ]
    wanted = [and_(limit.c.scope == scope, limit.c.scope_id == name) for scope, name in scopes if name is not None]
    order = {scope: place for place, (scope, _) in enumerate(scopes)}
    found = [_limit(row) for row in connection.execute(select(limit).where(or_(*wanted)).order_by(limit.c.id))]
    return tuple(sorted(found, key=lambda one: order[one.scope]))


def _limit(row: Row[*tuple[Any, ...]]) -> Limit:
    return Limit(
        row.id,
        Scope(row.scope),
        row.scope_id,
        Metric(row.metric),
        None if row.interval is None else Interval(row.interval),
        row.amount,
        None if row.models is None else msgspec.json.decode(row.models, type=tuple[str, ...]),
    )
