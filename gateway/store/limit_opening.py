"""A new limit opens with what was used in its period already, and takes part in the calls that are in flight.

Without that a budget made in the middle of a month would forget the first half, and calls admitted before it would
settle without charging it: `used` would not be the sum of the usage records.
"""

from sqlalchemy import Column, ColumnElement, Connection, Table, func, insert, select, true
from sqlalchemy import text as sql

from gateway.core.errors import NotFound
from gateway.core.limits import Interval, Limit, Metric, Scope, period_start
from gateway.store import limits
from gateway.store.api_keys import api_key
from gateway.store.holds import hold, hold_item
from gateway.store.projects import project
from gateway.store.service_accounts import service_account
from gateway.store.usage import usage_day, usage_hour
from gateway.store.users import user

MICROSECONDS = 1_000_000


def create(connection: Connection, new: Limit, now: int) -> Limit:
    """Store a limit, open its counter and let it into the open holds. Raises NotFound for what it should bind.

    No batch of the ledger runs meanwhile, so nothing is admitted or settled between the sums and the commit.
    """
    limits.exclude_batches(connection)
    _require_scope(connection, new.scope, new.scope_id)
    limits.create(connection, new, now)
    present = _ledger_now(connection, now)
    start = period_start(new.interval, present)
    held = _join_holds(connection, new, present)
    connection.execute(
        insert(limits.counter).values(
            limit_id=new.id, period_start=start, used=_used(connection, new, start), held=held
        )
    )
    return new


def _require_scope(connection: Connection, scope: Scope, scope_id: str) -> None:
    exists: ColumnElement[bool]
    match scope:
        case Scope.ORGANIZATION:
            exists = true() if scope_id == limits.ORGANIZATION_ID else ~true()
        case Scope.PROJECT:
            exists = _is_there(project, project.c.archived_at, scope_id)
        case Scope.USER:
            exists = _is_there(user, user.c.deleted_at, scope_id)
        case Scope.SERVICE_ACCOUNT:
            exists = _is_there(service_account, service_account.c.deleted_at, scope_id)
        case Scope.API_KEY:
            exists = _is_there(api_key, api_key.c.deleted_at, scope_id)
    if not connection.execute(select(exists)).scalar_one():
        raise NotFound(f"There is no {scope.replace('_', ' ')} {scope_id}.", code="not_found", param="scope_id")


def _is_there(table: Table, gone_at: Column[int], id: str) -> ColumnElement[bool]:
    return select(table.c.id).where(table.c.id == id, gone_at.is_(None)).exists()


def _ledger_now(connection: Connection, now: int) -> int:
    """Return the time by the clock that admissions go by: PostgreSQL's own, on SQLite the process's."""
    if connection.dialect.name != "postgresql":
        return now
    return int(connection.execute(sql("SELECT extract(epoch FROM clock_timestamp())::bigint")).scalar_one())


def _join_holds(connection: Connection, new: Limit, now: int) -> int:
    """Add an item to every open hold that the limit binds; return what they hold together.

    A call in flight counts under concurrency. Otherwise its item holds nothing and only has the settlement charge the
    limit, in the period of the call's admission (of a minute limit in the present one, where its charge goes anyway).
    """
    query = select(hold.c.request_id, hold.c.admitted_at_us, hold.c.model).where(_within(hold, new))
    amount = 1 if new.metric is Metric.CONCURRENCY else 0
    items = [
        {
            "request_id": row.request_id,
            "limit_id": new.id,
            "period_start": period_start(
                new.interval, now if new.interval is Interval.MINUTE else row.admitted_at_us // MICROSECONDS
            ),
            "amount": amount,
        }
        for row in connection.execute(query)
        if new.binds(row.model)
    ]
    if items:
        connection.execute(insert(hold_item), items)
    return amount * len(items)


def _used(connection: Connection, new: Limit, start: int) -> int:
    """Sum up the ledger's rollups since `start`. A minute begins at 0: the rollups cannot tell it."""
    if new.metric is Metric.CONCURRENCY or new.interval is Interval.MINUTE:
        return 0
    # All longer periods begin with a day, and days are fewer rows than hours.
    rollup = usage_hour if new.interval is Interval.HOUR else usage_day
    query = (
        select(rollup.c.model, func.sum(_measured(rollup, new.metric)))
        .where(_within(rollup, new), rollup.c.start >= start)
        .group_by(rollup.c.model)
    )
    return sum(int(amount) for model, amount in connection.execute(query) if new.binds(model))


def _measured(rollup: Table, metric: Metric) -> ColumnElement[int]:
    if metric is Metric.TOKENS:
        return rollup.c.input_tokens + rollup.c.output_tokens
    return rollup.c.cost_nano_usd if metric is Metric.COST else rollup.c[metric]


def _within(table: Table, new: Limit) -> ColumnElement[bool]:
    """Select the rows of holds or rollups that the limit's scope covers."""
    return true() if new.scope is Scope.ORGANIZATION else table.c[f"{new.scope}_id"] == new.scope_id
