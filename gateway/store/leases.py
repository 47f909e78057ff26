"""Whether anybody serves on a database: by the leases that every process renews while it lives."""

from sqlalchemy import Connection, func, select
from sqlalchemy import text as sql

from gateway.store.holds import owner

MICROSECONDS = 1_000_000
FRESH_SECONDS = 30
"""A lease that is older does not count any more."""


def youngest_age_seconds(connection: Connection, now: int) -> float | None:
    """Return how long ago a process last said that it lives, None if there is no lease. `now` is Unix seconds."""
    last = connection.execute(select(func.max(owner.c.beat_at_us))).scalar()
    return None if last is None else max(0.0, (ledger_now_us(connection, now) - last) / MICROSECONDS)


def ledger_now_us(connection: Connection, now: int) -> int:
    """Return the time by the clock of leases and admissions: PostgreSQL's own, on SQLite the process's."""
    if connection.dialect.name != "postgresql":
        return now * MICROSECONDS
    seconds = connection.execute(sql("SELECT extract(epoch FROM clock_timestamp())::bigint")).scalar_one()
    return int(seconds) * MICROSECONDS
