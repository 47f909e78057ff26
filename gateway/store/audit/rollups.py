"""Hours against the usage records, days against the hours: each bucket that differs, and by how much.

The database adds both sides up with opposite signs and gives back only what does not cancel out, for a day at a time:
that is sorted in memory. Hours whose records retention may have forgotten are taken at their word.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from gateway.core.limits import DAY_SECONDS, HOUR_SECONDS
from gateway.store.audit.findings import MOST_FAULTS, Check, Fault, Key, check, moment_text
from gateway.store.retention import kept_since
from gateway.store.usage import SUMS, figure, usage, usage_day, usage_hour

KEY_COLUMNS = ("start", "operation", "model", "api_key_id", "service_tier", "batch")
MICROSECONDS = 1_000_000


def hours(connection: Connection) -> Check:
    """Hold every hour against the usage records of its calls."""
    recorded = select(*recorded_key(), *(func.coalesce(figure(name), 0).label(name) for name in SUMS))
    since = kept_since(connection)
    sides = (
        Side(recorded, usage.c.admitted_at_us, MICROSECONDS),
        Side(_columns(usage_hour, -1), usage_hour.c.start, 1),
    )
    notes = [f"records of the time before {moment_text(since)} were forgotten, as set"] if since else []
    faults = _faults(connection, usage_hour, "the records", sides, since)
    promise = "usage_hour is the sum of the usage records"
    return check("usage_hour", promise, _count(connection, usage_hour), faults, notes)


def days(connection: Connection) -> Check:
    """Hold every day against its hours."""
    day = (usage_hour.c.start - usage_hour.c.start % literal_column(str(DAY_SECONDS), BigInteger)).label("start")
    others = [usage_hour.c[name] for name in KEY_COLUMNS[1:]]
    summed = select(day, *others, *(usage_hour.c[name] for name in SUMS))
    sides = (Side(summed, usage_hour.c.start, 1), Side(_columns(usage_day, -1), usage_day.c.start, 1))
    faults = _faults(connection, usage_day, "its hours", sides, 0)
    return check("usage_day", "usage_day is the sum of the hours", _count(connection, usage_day), faults)


def recorded_key() -> list[ColumnElement[Any]]:
    """Return the rollup key of a usage record."""
    hour = literal_column(str(HOUR_SECONDS), BigInteger)
    start = usage.c.admitted_at_us // literal_column(str(HOUR_SECONDS * MICROSECONDS), BigInteger) * hour
    return [start.label("start"), *(usage.c[name] for name in KEY_COLUMNS[1:])]


def _columns(table: Table, sign: int) -> Select[*tuple[Any, ...]]:
    return select(*(table.c[name] for name in KEY_COLUMNS), *((sign * table.c[name]).label(name) for name in SUMS))


def _faults(
    connection: Connection, table: Table, source: str, sides: tuple["Side", "Side"], since: int
) -> Iterator[Fault]:
    day = _next_day(connection, sides, since)
    while day is not None:
        both = union_all(*(side.between(max(day, since), day + DAY_SECONDS) for side in sides)).subquery()
        keys = [both.c[name] for name in KEY_COLUMNS]
        sums = [func.sum(both.c[name]) for name in SUMS]
        query = select(*keys, *sums).group_by(*keys).having(or_(*(total != 0 for total in sums))).order_by(*keys)
        for row in connection.execute(query.limit(MOST_FAULTS + 1)).all():
            key: Key = tuple(row[: len(KEY_COLUMNS)])
            yield Fault(_words(connection, table, source, key, [int(value) for value in row[len(KEY_COLUMNS) :]]), key)
        day = _next_day(connection, sides, day + DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared: rows of KEY_COLUMNS and SUMS, and the column that is their time, so many units a second."""

    rows: Select[*tuple[Any, ...]]
    time: ColumnElement[int]
    unit: int

    def between(self, start: int, end: int) -> Select[*tuple[Any, ...]]:
        """Return the rows of a span of Unix seconds."""
        return self.rows.where(self.time >= start * self.unit, self.time < end * self.unit)

    def first(self, connection: Connection, start: int) -> int | None:
        """Return the time of the first row from `start` on, in Unix seconds."""
        found = connection.execute(select(func.min(self.time)).where(self.time >= start * self.unit)).scalar()
        return None if found is None else int(found) // self.unit


def _next_day(connection: Connection, sides: tuple[Side, Side], since: int) -> int | None:
    """Return the first day from `since` on that has anything; None after the last."""
    found = [first for side in sides if (first := side.first(connection, since)) is not None]
    return min(found) // DAY_SECONDS * DAY_SECONDS if found else None


def _words(connection: Connection, table: Table, source: str, key: Key, missing: Sequence[int]) -> str:
    start, operation, model, api_key_id, *_ = key
    row = connection.execute(select(*(table.c[name] for name in SUMS)).where(*at(table, key))).first()
    found = [0] * len(SUMS) if row is None else list(row)
    wrong = ", ".join(
        f"{name} is {is_:,}, {source} have {is_ + lacks:,}"
        for name, is_, lacks in zip(SUMS, found, missing, strict=True)
        if lacks
    )
    gone = ", which has no row" if row is None else ""
    return f"{operation} of {model} by {api_key_id}, {moment_text(int(start))}{gone}: {wrong}"


def at(table: Table, key: Key) -> list[ColumnElement[bool]]:
    """Select the row of a key."""
    return [table.c[name] == value for name, value in zip(KEY_COLUMNS, key, strict=True)]


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
