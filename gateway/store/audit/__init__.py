"""The ledger's invariants, checked from outside: what must be true of its tables between any two transactions.

file       the SQLite file is whole
revision   there is one revision
calls      a call has one final record, and then holds nothing any more
amounts    no call was charged a negative amount
usage_hour hours are the sums of the usage records
usage_day  days are the sums of the hours
signs      no counter is negative
held       a counter holds what the items of open calls hold
holds      every item belongs to an open call
used       a counter has used what the rollups of its scope and period have
admission  no counter of calls is above its limit
leases     calls of processes that ended were settled

Each looks at the tables before it in this chain, so what is repaired is repaired in this order. Minute limits are left
out of `used`: an excess is charged to the minute of settlement and carried over. Everything is read in one snapshot, so
a running server causes no false alarm, and row by row or added up by the database, so memory stays flat.
"""

from sqlalchemy import Connection

from gateway.store.audit import admission, counters, file, holds, records, rollups, used
from gateway.store.audit.findings import Check as Check
from gateway.store.audit.findings import Fault as Fault
from gateway.store.audit.findings import Key as Key


def checks(connection: Connection, now: int) -> list[Check]:
    """Hold every invariant against the database as it is now. `now` is Unix seconds by our clock."""
    _take_snapshot(connection)
    return [
        *file.checks(connection),
        records.revisions(connection),
        records.calls(connection),
        records.amounts(connection),
        rollups.hours(connection),
        rollups.days(connection),
        counters.signs(connection),
        counters.held(connection),
        holds.items(connection),
        used.within_periods(connection),
        admission.within_limits(connection, now),
        holds.leases(connection, now),
    ]


def _take_snapshot(connection: Connection) -> None:
    """Let every statement that follows see the same moment."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    else:
        connection.exec_driver_sql("BEGIN")  # without it each SELECT is a transaction of its own
