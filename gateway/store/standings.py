"""How limits stand: what is used and held in the present period, for people to read. Admission reads it itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from gateway.core.limits import MINUTE_SECONDS, Interval, Limit, period_end, period_start
from gateway.store.limits import counter

CARRIED_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """A limit's figures in its metric's unit. `remaining` is at least 0; `resets_at` None means that no period ends."""

    limit: Limit
    used: int
    held: int
    remaining: int
    resets_at: int | None


def read(connection: Connection, limits: Sequence[Limit], now: int) -> list[LimitStanding]:
    """Return the standings of limits in their order, by the caller's clock."""
    counters: dict[str, dict[int, tuple[int, int]]] = {}
    # Old periods stay in the table: only the present ones are read and, for what a minute carries over, the last hour.
    starts = {period_start(interval, now) for interval in (None, *Interval)}
    wanted = or_(counter.c.period_start.in_(starts), counter.c.period_start > now - CARRIED_SECONDS)
    ids = [limit.id for limit in limits]
    for row in connection.execute(select(counter).where(counter.c.limit_id.in_(ids), wanted)):
        counters.setdefault(row.limit_id, {})[row.period_start] = row.used, row.held
    return [_standing(limit, counters.get(limit.id, {}), now) for limit in limits]


def _standing(limit: Limit, counters: dict[int, tuple[int, int]], now: int) -> LimitStanding:
    start = period_start(limit.interval, now)
    used, held = counters.get(start) or (_carried(limit, counters, start), 0)
    remaining = max(0, limit.amount - used - held)
    return LimitStanding(limit, used, held, remaining, period_end(limit.interval, start))


def _carried(limit: Limit, counters: dict[int, tuple[int, int]], start: int) -> int:
    """Return what a period opens with: a minute with the last one's excess, less the amount of each minute since."""
    earlier = [before for before in counters if before < start]
    if limit.interval is not Interval.MINUTE or not earlier:
        return 0
    last = max(earlier)
    return max(0, counters[last][0] - limit.amount * ((start - last) // MINUTE_SECONDS))
