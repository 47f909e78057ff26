"""Where limits stand now: what is used and held of each in its present period."""

from collections.abc import Sequence

from sqlalchemy import Connection, desc, select, tuple_

from gateway.core.limits import MINUTE_SECONDS, Interval, Limit, Standing, period_start
from gateway.store.limits import counter


def standings(connection: Connection, limits: Sequence[Limit], now: int) -> tuple[Standing, ...]:
    """Return each limit's counter at this Unix second, in the order of `limits`; untouched ones stand at zero."""
    if not limits:
        return ()
    starts = [(limit.id, period_start(limit.interval, now)) for limit in limits]
    columns = counter.c["limit_id", "period_start", "used", "held"]
    found = connection.execute(select(*columns).where(tuple_(counter.c.limit_id, counter.c.period_start).in_(starts)))
    figures = {(limit_id, start): (used, held) for limit_id, start, used, held in found}
    return tuple(
        Standing(limit, key[1], *(figures[key] if key in figures else (_carried(connection, limit, key[1]), 0)))
        for limit, key in zip(limits, starts, strict=True)
    )


def _carried(connection: Connection, limit: Limit, start: int) -> int:
    """Return what a period that nobody called in yet opens with, as the ledger will open it.

    A minute inherits what the last one used beyond its amount, less an amount for each minute that passed.
    """
    if limit.interval is not Interval.MINUTE:
        return 0
    last = connection.execute(
        select(counter.c.period_start, counter.c.used)
        .where(counter.c.limit_id == limit.id, counter.c.period_start < start)
        .order_by(desc(counter.c.period_start))
        .limit(1)
    ).one_or_none()
    if last is None:
        return 0
    return max(0, int(last.used) - limit.amount * ((start - int(last.period_start)) // MINUTE_SECONDS))
