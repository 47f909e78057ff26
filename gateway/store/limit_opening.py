"""A new limit opens with what was used in its period already, and takes part in the calls that are in flight.

Without that a budget made in the middle of a month would forget the first half, and calls admitted before it would
settle without charging it: `used` would not be the sum of the usage records.
"""

from sqlalchemy import ColumnElement, Connection, Table, func, insert, select, true
from sqlalchemy import text as sql

from gateway.core.limits import Interval, Limit, Metric, Scope, period_start
from gateway.store import limits, scopes
from gateway.store.holds import hold, hold_item
from gateway.store.usage import usage_day, usage_hour

MICROSECONDS = 1_000_000


def create(connection: Connection, new: Limit, now: int) -> Limit:
    """Store a limit, open its counter and let it into the open holds. Raises NotFound, Conflict for what it binds.

    No batch of the ledger runs meanwhile, so nothing is admitted or settled between the sums and the commit.
    """
    limits.exclude_batches(connection)
    scopes.require(connection, new.scope, new.scope_id)
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


def put(connection: Connection, wanted: Limit, now: int) -> None:
    """Have limits of this shape allow `wanted.amount`, be it by a new limit. Raises NotFound as `create` does.

    Those that are there, mostly one, keep their ids and what they counted.
    """
    present = limits.alike(connection, wanted)
    for limit in present:
        limits.set_amount(connection, limit.id, wanted.amount)
    if not present:
        create(connection, wanted, now)


def remove(connection: Connection, shape: Limit) -> None:
    """Have no limit of this shape any more."""
    for limit in limits.alike(connection, shape):
        limits.delete(connection, limit.id)


def _ledger_now(connection: Connection, now: int) -> int:
    """Return the time by the clock that admissions go by: PostgreSQL's own, on SQLite the process's."""
    if connection.dialect.name != "postgresql":
        return now
    return int(connection.execute(sql("SELECT extract(epoch FROM clock_timestamp())::bigint")).scalar_one())


def _join_holds(connection: Connection, new: Limit, now: int) -> int:
    """Add an item to every open hold that the limit binds; return what they hold together.

    A call in flight counts under concurrency, a batch does not. Otherwise its item holds nothing and only has the
    settlement charge the limit, in the period of the call's admission (of a minute limit in the present one, where its
    charge goes anyway).
    """
    query = select(hold.c.request_id, hold.c.admitted_at_us, hold.c.model, hold.c.batch).where(_within(hold, new))
    counts = new.metric is Metric.CONCURRENCY
    items = [
        {
            "request_id": row.request_id,
            "limit_id": new.id,
            "period_start": period_start(
                new.interval, now if new.interval is Interval.MINUTE else row.admitted_at_us // MICROSECONDS
            ),
            "amount": int(counts and not row.batch),
        }
        for row in connection.execute(query)
        if new.binds(row.model)
    ]
    if items:
        connection.execute(insert(hold_item), items)
    return sum(int(item["amount"]) for item in items)


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
