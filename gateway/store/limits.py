"""Limits and their counters. A counter is a new row per period and is never zeroed."""

from collections.abc import Sequence
from itertools import chain

import msgspec
from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    and_,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy import (
    text as sql,
)

from gateway.core.errors import NotFound
from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
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


Scoped = tuple[Scope, str]


def scopes_of(
    api_key_id: str, project_id: str, user_id: str | None, service_account_id: str | None
) -> tuple[Scoped, ...]:
    """Return every scope whose limits bind a key: its own first, then holder's, project's, organization's."""
    scopes = [
        (Scope.API_KEY, api_key_id),
        (Scope.USER, user_id),
        (Scope.SERVICE_ACCOUNT, service_account_id),
        (Scope.PROJECT, project_id),
        (Scope.ORGANIZATION, ORGANIZATION_ID),
    ]
    return tuple((scope, name) for scope, name in scopes if name is not None)


def binding(connection: Connection, bound: Sequence[Sequence[Scoped]]) -> list[tuple[Limit, ...]]:
    """Return the limits of each of these rows of scopes, in their order."""
    wanted: dict[Scope, set[str]] = {}
    for scope, name in chain.from_iterable(bound):
        wanted.setdefault(scope, set()).add(name)
    any_of = [and_(limit.c.scope == scope, limit.c.scope_id.in_(names)) for scope, names in wanted.items()]
    found: dict[Scoped, list[Limit]] = {}
    for row in connection.execute(select(limit).where(or_(*any_of)).order_by(limit.c.id)) if any_of else ():
        one = from_row(row)
        found.setdefault((one.scope, one.scope_id), []).append(one)
    return [tuple(chain.from_iterable(found.get(scoped, ()) for scoped in scopes)) for scopes in bound]


def create(connection: Connection, new: Limit, now: int) -> None:
    """Store a limit alone; `limit_opening.create` is what a caller wants, it opens the counter too."""
    connection.execute(
        insert(limit).values(
            id=new.id,
            scope=new.scope,
            scope_id=new.scope_id,
            metric=new.metric,
            interval=new.interval,
            amount=new.amount,
            models=None if new.models is None else _models(new.models),
            created_at=now,
        )
    )


def get(connection: Connection, id: str) -> Limit:
    """Return a limit. Raises NotFound."""
    row = connection.execute(select(limit).where(limit.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no limit {id}.", code="not_found", param="limit_id")
    return from_row(row)


def alike(connection: Connection, shape: Limit) -> tuple[Limit, ...]:
    """Return the limits that differ from `shape` in id and amount only, the tightest first."""
    query = select(limit).where(
        limit.c.scope == shape.scope,
        limit.c.scope_id == shape.scope_id,
        limit.c.metric == shape.metric,
        limit.c.interval == shape.interval,
        limit.c.models.is_(None) if shape.models is None else limit.c.models == _models(shape.models),
    )
    return tuple(from_row(row) for row in connection.execute(query.order_by(limit.c.amount, limit.c.id)))


def of_scope(connection: Connection, scope: Scope, scope_id: str) -> tuple[Limit, ...]:
    """Return all limits of one thing, the tightest first."""
    query = select(limit).where(limit.c.scope == scope, limit.c.scope_id == scope_id)
    return tuple(from_row(row) for row in connection.execute(query.order_by(limit.c.amount, limit.c.id)))


def page(
    connection: Connection, cursor: Cursor, *, scope: Scope | None = None, scope_id: str | None = None
) -> Page[Limit]:
    """Return one page of limits, of one scope or of one thing if that is asked."""
    query = select(limit)
    if scope is not None:
        query = query.where(limit.c.scope == scope)
    if scope_id is not None:
        query = query.where(limit.c.scope_id == scope_id)
    return page_of(connection, query, (limit.c.created_at, limit.c.id), cursor, from_row)


def set_amount(connection: Connection, id: str, amount: int) -> Limit:
    """Change how much a limit allows, from the next call on. Raises NotFound."""
    get(connection, id)
    connection.execute(update(limit).where(limit.c.id == id).values(amount=amount))
    return get(connection, id)


def delete(connection: Connection, id: str) -> Limit:
    """Remove a limit and its counters; calls in flight settle without it. Raises NotFound."""
    exclude_batches(connection)
    present = get(connection, id)
    connection.execute(delete_from(limit).where(limit.c.id == id))
    return present


def exclude_batches(connection: Connection) -> None:
    """Let no batch of the ledger run until this transaction ends. It comes first in its transaction.

    Batches lock counters and then, by foreign key, limits; whoever takes them in the other order would deadlock. SQLite
    has one writer and needs nothing.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sql("LOCK TABLE hold IN SHARE MODE"))


def _models(models: tuple[str, ...]) -> str:
    return msgspec.json.encode(models).decode()


def from_row(row: AnyRow) -> Limit:
    """Return the limit of a row that has this table's columns."""
    return Limit(
        row.id,
        Scope(row.scope),
        row.scope_id,
        Metric(row.metric),
        None if row.interval is None else Interval(row.interval),
        row.amount,
        None if row.models is None else msgspec.json.decode(row.models, type=tuple[str, ...]),
    )
