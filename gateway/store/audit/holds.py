"""Open calls: every amount that is held belongs to one, and whose process ended is settled by another."""

from sqlalchemy import Connection, func, select

from gateway.store.audit.findings import MOST_FAULTS, Check, Fault, check, moment_text
from gateway.store.holds import hold, hold_item, owner
from gateway.store.jobs import job
from gateway.store.leases import FRESH_SECONDS, MICROSECONDS, ledger_now_us

OVERDUE_SECONDS = 300
"""By then every living process would have settled the calls of a dead one, after an outage too."""


def items(connection: Connection) -> Check:
    """Every amount that is held belongs to an open call."""
    query = select(hold_item.c.request_id).outerjoin(hold, hold.c.request_id == hold_item.c.request_id)
    orphans = connection.execute(query.where(hold.c.request_id.is_(None)).distinct().limit(MOST_FAULTS + 1)).scalars()
    faults = (Fault(f"{id} holds amounts, but there is no such open call", (id,)) for id in orphans)
    return check("holds", "every amount that is held belongs to an open call", _open(connection), faults)


def leases(connection: Connection, now: int) -> Check:
    """Calls whose process ended were settled, if there is another process that can."""
    present = ledger_now_us(connection, now)
    beats: dict[str, int] = {row.id: row.beat_at_us for row in connection.execute(select(owner))}
    is_served = any(beat >= present - FRESH_SECONDS * MICROSECONDS for beat in beats.values())
    # Whoever has a job watches over its call, whichever process admitted it.
    watched = select(job.c.request_id).where(job.c.request_id == hold.c.request_id).exists()
    query = select(hold.c.owner, func.count(), func.max(hold.c.admitted_at_us)).where(~watched).group_by(hold.c.owner)
    faults, notes = [], []
    for name, calls, last in connection.execute(query):
        seen = max(beats.get(name, 0), last)
        if seen >= present - FRESH_SECONDS * MICROSECONDS:
            continue
        words = f"{calls:,} calls are open of a process that was last seen on {moment_text(seen // MICROSECONDS)}"
        if is_served and seen < present - OVERDUE_SECONDS * MICROSECONDS:
            faults.append(Fault(f"{words}, and nobody settled them", (name,)))
        else:
            notes.append(f"{words}; the next process that serves settles them")
    promise = "calls of processes that ended were settled"
    return check("leases", promise, _open(connection), faults, notes)


def _open(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(hold)).scalar_one()
