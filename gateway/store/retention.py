"""How long usage records are kept: some days. Rollups, and with them every sum by hour and day, stay for ever.

PostgreSQL drops the partition of a month, once all of it is too old, and needs the table for a moment only. SQLite
deletes a few rows at a time, because they are deleted where calls are admitted, on the one writing connection.
"""

import asyncio
import re
from datetime import UTC, datetime

from sqlalchemy import Column, Connection, Integer, Table, delete, select, text, tuple_

from gateway.core.limits import DAY_SECONDS
from gateway.store.engine import Database
from gateway.store.tables import integer, metadata
from gateway.store.usage import usage

retention = Table("retention", metadata, Column("id", Integer, primary_key=True), integer("kept_since"))
"""At most one row, with id 1: records that were admitted before this Unix second may be gone."""

MOST_AT_ONCE = 100
"""Records deleted in one transaction: a millisecond of the loop on SQLite."""
PAUSE_SECONDS = 0.02
LOCK_WAIT = "200ms"
"""The longest that dropping a partition waits for calls under way; those that come meanwhile stand in line behind."""
MICROSECONDS = 1_000_000
_MONTH = re.compile(r"usage_(\d{4})_(\d{2})")
_PARTITIONS = text(
    "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid "
    "WHERE inhparent = 'usage'::regclass ORDER BY relname"
)
_DELETE_STRAYS = text(
    "DELETE FROM usage_default "
    "WHERE ctid IN (SELECT ctid FROM usage_default WHERE admitted_at_us < :before LIMIT :most)"
)
_NOTE = text(
    "INSERT INTO retention (id, kept_since) VALUES (1, :since) ON CONFLICT (id) DO UPDATE "
    "SET kept_since = excluded.kept_since WHERE excluded.kept_since > retention.kept_since"
)


async def enforce(database: Database, days: int, now: datetime) -> None:
    """Forget records older than so many days; 0 keeps them for ever. Raises ServiceUnavailable: try again later."""
    if days == 0:
        return
    before = int(now.timestamp()) // DAY_SECONDS * DAY_SECONDS - days * DAY_SECONDS
    has_more = True
    while has_more:
        has_more = await database.write(lambda connection: forget(connection, before, MOST_AT_ONCE))
        await asyncio.sleep(PAUSE_SECONDS)


def kept_since(connection: Connection) -> int:
    """Return the Unix second, a UTC midnight, from which on every record is still there; 0 when none was forgotten."""
    return int(connection.execute(select(retention.c.kept_since)).scalar() or 0)


def forget(connection: Connection, before: int, most: int) -> bool:
    """Forget one month, or at most so many records, that were admitted before a midnight. True: there may be more."""
    if connection.dialect.name == "postgresql":
        return _drop_month(connection, before, most)
    connection.execute(_NOTE, {"since": before})
    keys = usage.primary_key.columns
    oldest = select(*keys).where(usage.c.admitted_at_us < before * MICROSECONDS).order_by(*keys).limit(most)
    return connection.execute(delete(usage).where(tuple_(*keys).in_(oldest))).rowcount == most


def _drop_month(connection: Connection, before: int, most: int) -> bool:
    """Drop the oldest partition that is too old as a whole; delete what lies in no month's partition."""
    day = datetime.fromtimestamp(before, UTC)
    month = int(day.replace(day=1).timestamp())
    connection.execute(_NOTE, {"since": month})
    for name in connection.execute(_PARTITIONS).scalars():
        found = _MONTH.fullmatch(name)
        if found is not None and (int(found[1]), int(found[2])) < (day.year, day.month):
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
            connection.execute(text(f"DROP TABLE IF EXISTS {name}"))
            return True
    deleted = connection.execute(_DELETE_STRAYS, {"before": month * MICROSECONDS, "most": most})
    return deleted.rowcount == most
