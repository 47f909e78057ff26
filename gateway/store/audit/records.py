"""Usage records on their own: once per call, never negative. And the revision, without which no call is admitted."""

from collections.abc import Iterator

from sqlalchemy import Connection, RowMapping, and_, func, or_, select

from gateway.store.audit.findings import MOST_FAULTS, Check, Fault, check, moment_text, some
from gateway.store.holds import hold
from gateway.store.revision import revision
from gateway.store.usage import AMOUNTS, usage

MICROSECONDS = 1_000_000
AT_ONCE = 1_000
TWICE, OPEN = "twice", "open"
"""What of a call can be repaired: it was charged twice, or it still holds after it was charged."""


def revisions(connection: Connection) -> Check:
    """Every admission compares the one revision; without it each of them fails."""
    rows = connection.execute(select(revision.c.id, revision.c.value)).all()
    faults = [] if [row.id for row in rows] == [1] else [Fault(f"there are {len(rows)} revisions", ("revision",))]
    return check("revision", "there is one revision", len(rows), faults)


def calls(connection: Connection) -> Check:
    """A call has one final record, corrections belong to one, and what is charged holds nothing any more."""
    examined = connection.execute(select(func.count()).where(usage.c.entry == "final")).scalar_one()
    faults = some(_twice(connection), _without_final(connection), _still_open(connection))
    return check("calls", "every call has one final record, and holds nothing after it", examined, faults)


def _twice(connection: Connection) -> Iterator[Fault]:
    query = (
        select(usage.c.request_id, func.count(), func.min(usage.c.admitted_at_us), func.max(usage.c.admitted_at_us))
        .where(usage.c.entry == "final")
        .group_by(usage.c.request_id)
        .having(func.count() > 1)
        .limit(MOST_FAULTS + 1)
    )
    for request_id, times, first, last in connection.execute(query):
        between = f"{moment_text(first // MICROSECONDS)} and {moment_text(last // MICROSECONDS)}"
        corrected = select(func.count()).where(usage.c.request_id == request_id, usage.c.entry == "correction")
        if connection.execute(corrected).scalar_one() < times - 1:
            yield Fault(f"{request_id} was charged {times} times, between {between}", (TWICE, request_id))


def _without_final(connection: Connection) -> Iterator[Fault]:
    for correction, final in _corrections(connection):
        if final is None:
            yield Fault(f"{correction['request_id']} has a correction, but there is no final record that it corrects")


def _corrections(connection: Connection) -> Iterator[tuple[RowMapping, RowMapping | None]]:
    """Return each correction and its final record, which is looked up: there are few corrections."""
    for row in connection.execute(select(usage).where(usage.c.entry != "final")).mappings().yield_per(AT_ONCE):
        same = (usage.c.admitted_at_us == row["admitted_at_us"], usage.c.request_id == row["request_id"])
        yield row, connection.execute(select(usage).where(*same, usage.c.entry == "final")).mappings().first()


def _still_open(connection: Connection) -> Iterator[Fault]:
    charged = and_(
        usage.c.admitted_at_us == hold.c.admitted_at_us,
        usage.c.request_id == hold.c.request_id,
        usage.c.entry == "final",
    )
    for request_id in connection.execute(select(hold.c.request_id).join(usage, charged)).scalars():
        yield Fault(f"{request_id} was charged, and still holds", (OPEN, request_id))


def amounts(connection: Connection) -> Check:
    """A final record is never negative, and a correction takes away no more than there is."""
    examined = connection.execute(select(func.count()).select_from(usage)).scalar_one()
    promise = "no call was charged a negative amount"
    return check("amounts", promise, examined, some(_negative(connection), _overcorrected(connection)))


def _negative(connection: Connection) -> Iterator[Fault]:
    is_negative = or_(*(usage.c[name] < 0 for name in AMOUNTS))
    query = select(usage).where(usage.c.entry == "final", is_negative).limit(MOST_FAULTS + 1)
    for row in connection.execute(query).mappings():
        wrong = ", ".join(f"{name} is {row[name]:,}" for name in AMOUNTS if (row[name] or 0) < 0)
        yield Fault(f"{row['request_id']} of {moment_text(row['admitted_at_us'] // MICROSECONDS)}: {wrong}")


def _overcorrected(connection: Connection) -> Iterator[Fault]:
    for correction, final in _corrections(connection):
        if final is None:
            continue
        sums = {name: (correction[name] or 0) + (final[name] or 0) for name in AMOUNTS}
        if wrong := ", ".join(f"{name} is {total:,}" for name, total in sums.items() if total < 0):
            yield Fault(f"{correction['request_id']} with its correction: {wrong}")
