"""Counters against what they must be: never negative, and `held` what the items of open calls hold."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from gateway.core.limits import Limit
from gateway.store import limits
from gateway.store.audit.findings import MOST_FAULTS, Check, Fault, amount_text, check, limit_text
from gateway.store.holds import hold_item
from gateway.store.limits import counter
from gateway.store.pages import Cursor

CounterKey = tuple[str, int]
"""(limit id, period start)."""
ALL = 2**31


@dataclass(frozen=True, slots=True)
class Known:
    """A limit and what says from when on its counter knows anything. Times are Unix seconds."""

    limit: Limit
    made_at: int
    opened: int


def everyone(connection: Connection) -> dict[str, Known]:
    """Return all limits by id."""
    made_at = {row.id: row.created_at for row in connection.execute(select(*limits.limit.c["id", "created_at"]))}
    first = select(counter.c.limit_id, func.min(counter.c.period_start)).group_by(counter.c.limit_id)
    opened: dict[str, int] = {id: start for id, start in connection.execute(first)}
    found = limits.page(connection, Cursor(limit=ALL)).items
    return {one.id: Known(one, made_at[one.id], opened.get(one.id, 0)) for one in found}


def signs(connection: Connection) -> Check:
    """No counter is negative, at any time."""
    known = everyone(connection)
    query = select(counter).where(or_(counter.c.used < 0, counter.c.held < 0)).limit(MOST_FAULTS + 1)
    faults = [
        Fault(
            f"{limit_text(known[row.limit_id].limit, row.period_start)}: used {row.used:,}, held {row.held:,}",
            (row.limit_id, row.period_start),
        )
        for row in connection.execute(query)
    ]
    return check("signs", "no counter is negative", count(connection), faults)


def held(connection: Connection) -> Check:
    """What counters hold is the sum of the items of open calls."""
    known = everyone(connection)
    due = held_by_items(connection)
    query = select(counter.c.limit_id, counter.c.period_start, counter.c.held).where(counter.c.held != 0)
    found = {(id, start): int(amount) for id, start, amount in connection.execute(query)}
    faults = (
        difference(known[key[0]].limit, key[1], "held", found.get(key, 0), due.get(key, 0), "open calls hold")
        for key in sorted(due.keys() | found.keys())
        if due.get(key, 0) != found.get(key, 0)
    )
    return check("held", "what counters hold is what open calls hold", count(connection), faults)


def held_by_items(connection: Connection, key: CounterKey | None = None) -> dict[CounterKey, int]:
    """Return what each counter must hold, or only one of them."""
    query = (
        select(hold_item.c.limit_id, hold_item.c.period_start, func.sum(hold_item.c.amount))
        .join(limits.limit, limits.limit.c.id == hold_item.c.limit_id)  # items may outlive a limit that was deleted
        .group_by(hold_item.c.limit_id, hold_item.c.period_start)
    )
    if key is not None:
        query = query.where(hold_item.c.limit_id == key[0], hold_item.c.period_start == key[1])
    return {(id, start): int(amount) for id, start, amount in connection.execute(query)}


def count(connection: Connection) -> int:
    """Return how many counters there are."""
    return connection.execute(select(func.count()).select_from(counter)).scalar_one()


def difference(limit: Limit, start: int, what: str, is_: int, should: int, source: str) -> Fault:
    """Say that a counter is one thing and should be another."""
    figures = f"{what} is {amount_text(limit.metric, is_)}, {source} {amount_text(limit.metric, should)}"
    return Fault(f"{limit_text(limit, start)}: {figures}", (limit.id, start))
