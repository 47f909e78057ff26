"""Whether anybody got in above a limit. Of calls that can be proved: each holds one and is charged one.

Tokens and cost may go over, by what a call used beyond what it held (docs/promise.md), and any limit is above its
amount after that was lowered. Such counters are noted and nothing is off.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, func, select

from gateway.core.limits import Interval, Limit, Metric, period_end
from gateway.store.audit.counters import Known, everyone
from gateway.store.audit.findings import MOST_FAULTS, Check, Fault, amount_text, check, limit_text
from gateway.store.audit_log import audit_log
from gateway.store.limits import counter, limit

PROMISE = "no more calls were admitted than limits allow"
PROVABLE = (Metric.REQUESTS, Metric.CONCURRENCY)
LOWERING = ("organization.updated", "project.updated", "rate_limit.updated")
"""The events of the audit log that can have changed a limit."""


def within_limits(connection: Connection, now: int) -> Check:
    """Hold the counters of periods that are not over against their limits."""
    known = everyone(connection)
    examined = connection.execute(select(func.count()).where(limit.c.metric.in_(PROVABLE))).scalar_one()
    over = list(_over(connection, known, now))
    faults = [Fault(words) for one, start, words in over if _is_proved(connection, one, start)]
    proved = {fault.words for fault in faults}
    notes = [words for _, _, words in over if words not in proved]
    return check("admission", PROMISE, examined, faults, notes)


def _over(connection: Connection, known: dict[str, Known], now: int) -> Iterator[tuple[Known, int, str]]:
    query = (
        select(counter.c.limit_id, counter.c.period_start, counter.c.used, counter.c.held, limit.c.amount)
        .join(limit, limit.c.id == counter.c.limit_id)
        .where(counter.c.used + counter.c.held > limit.c.amount)
        .order_by(counter.c.period_start.desc())
        .limit(MOST_FAULTS)
    )
    for id, start, used, held, _ in connection.execute(query).all():
        one = known[id]
        end = period_end(one.limit.interval, start)
        if end is None or end > now:
            yield one, start, f"{limit_text(one.limit, start)}: {_figures(one.limit, (used, held))}"


def _figures(one: Limit, amounts: Sequence[int]) -> str:
    used, held, allowed = (amount_text(one.metric, amount) for amount in (*amounts, one.amount))
    return f"{used} used and {held} held of {allowed}"


def _is_proved(connection: Connection, one: Known, start: int) -> bool:
    """Tell whether nothing but a wrong admission explains it: the limit was there all the time, as it is."""
    if one.limit.metric not in PROVABLE or one.limit.interval in (None, Interval.LIFETIME) or start <= one.made_at:
        return False
    lowered = select(func.count()).where(audit_log.c.effective_at >= start, audit_log.c.type.in_(LOWERING))
    return connection.execute(lowered).scalar_one() == 0
