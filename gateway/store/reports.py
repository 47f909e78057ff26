"""Reports: what the ledger has recorded, added up by bucket of time and by whatever else is asked for.

Buckets of an hour and a day come from the rollups, which the ledger writes in the settling transaction. Minutes, and
whatever is told by the size of pictures, come from the usage records themselves, which are kept for a while only. All
figures are those of admission's bucket, corrections included.

There may be a hundred thousand lines, so what they are made of is nothing that the garbage collector looks through.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table, case, cast, func, literal_column, select

from gateway.store.usage import SUMS, usage, usage_day, usage_hour

MICROSECONDS = 1_000_000
Values = tuple[Any, ...]
"""Of the dimensions that a report is grouped by, in their order."""
Figures = tuple[int, ...]
"""Of the columns that a report asks for, in their order."""


class Width(IntEnum):
    """A bucket's width in seconds."""

    MINUTE = 60
    HOUR = 3_600
    DAY = 86_400


class Dimension(StrEnum):
    """What a report can be grouped by. The order is that of the rollups' primary key: grouping by it needs no sort."""

    OPERATION = "operation"
    MODEL = "model"
    API_KEY_ID = "api_key_id"
    SERVICE_TIER = "service_tier"
    BATCH = "batch"
    PROJECT_ID = "project_id"
    USER_ID = "user_id"
    SERVICE_ACCOUNT_ID = "service_account_id"
    IMAGE_SIZE = "image_size"


class Group(msgspec.Struct, frozen=True, gc=False):
    """What a line is about; None where the report is not grouped by it, or there is none (a service account's user)."""

    operation: str | None = None
    model: str | None = None
    api_key_id: str | None = None
    service_tier: str | None = None
    batch: int | None = None
    project_id: str | None = None
    user_id: str | None = None
    service_account_id: str | None = None
    image_size: str | None = None


class Sums(msgspec.Struct, frozen=True, gc=False):
    """What was used. Fields are the rollups' sum columns, 0 where the report did not ask for them.

    `succeeded` counts what the provider answered with 2xx, `requests` all that was sent to one; tokens and cost are
    all that was charged. `cost_nano_usd` leaves out calls that had no price, which `unpriced_requests` counts.
    """

    requests: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    cost_nano_usd: int = 0
    unpriced_requests: int = 0


class Line(msgspec.Struct, frozen=True, gc=False):
    """One group in the bucket that begins at `start`, in Unix seconds."""

    start: int
    group: Group
    sums: Sums


@dataclass(frozen=True, slots=True)
class Filter:
    """Whose usage is reported. None leaves a field open, an empty set matches nothing."""

    operations: frozenset[str] | None = None
    project_ids: frozenset[str] | None = None
    user_ids: frozenset[str] | None = None
    api_key_ids: frozenset[str] | None = None
    models: frozenset[str] | None = None
    batch: bool | None = None
    image_sizes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """A report to make: the buckets that begin at `start` or later and before `end`, both in Unix seconds.

    `columns` are names of Sums; fewer of them are faster, which tells over hundreds of thousands of rollup rows.
    """

    width: Width
    start: int
    end: int
    group_by: frozenset[Dimension] = frozenset()
    filter: Filter = field(default_factory=Filter)
    columns: Sequence[str] = SUMS

    @property
    def reads_records(self) -> bool:
        """Tell whether only the usage records know it; the rollups are far fewer rows."""
        by_size = Dimension.IMAGE_SIZE in self.group_by or self.filter.image_sizes is not None
        return by_size or self.width is Width.MINUTE


def lines(connection: Connection, query: Query) -> list[Line]:
    """Return the report, oldest bucket first. Buckets and groups that used nothing have no line."""
    groups: dict[Values, Group] = {}
    names, columns = _dimensions(query), _columns(query)
    made = []
    # Bucket by bucket: to sort a hundred thousand lines at once holds up every other thread until it is done.
    for start, added_up in sorted(_added_up(connection, query).items()):
        for values, figures in sorted(added_up.items(), key=_order):
            if any(figures):
                group = groups.get(values)
                if group is None:
                    group = groups[values] = Group(**dict(zip(names, values, strict=True)))
                made.append(Line(start, group, Sums(**dict(zip(columns, figures, strict=True)))))
    return made


def _added_up(connection: Connection, query: Query) -> Mapping[int, Mapping[Values, Figures]]:
    """Return each bucket's sums by group, without operations that are not wanted."""
    wanted = query.filter.operations
    drops_operation = wanted is not None and Dimension.OPERATION not in query.group_by
    end = 1 + len(query.group_by) + drops_operation
    found: dict[int, dict[Values, Figures]] = {}
    for row in connection.execute(_statement(query)):
        if wanted is not None and row[1] not in wanted:
            continue
        values, figures = row[2 if drops_operation else 1 : end], row[end:]
        added_up = found.setdefault(row[0], {})
        present = added_up.get(values)
        added_up[values] = figures if present is None else tuple(map(operator.add, present, figures))
    return found


def _dimensions(query: Query) -> list[Dimension]:
    return [name for name in Dimension if name in query.group_by]


def _columns(query: Query) -> list[str]:
    return [name for name in SUMS if name in query.columns]


def buckets(found: Iterable[Line], query: Query) -> Mapping[int, list[Line]]:
    """Return every bucket's lines by its start, in order, the empty ones too."""
    by_start = {start: list(same) for start, same in groupby(found, key=operator.attrgetter("start"))}
    return {start: by_start.get(start, []) for start in range(query.start, query.end, query.width)}


def windows(connection: Connection, api_key_id: str, spans: Sequence[tuple[int, int]]) -> tuple[Sums, ...]:
    """Return what a key used in each span of whole UTC days: (first second, first second after)."""
    sums = select(*(_sum(usage_day.c[name]) for name in SUMS)).where(usage_day.c.api_key_id == api_key_id)
    within = [sums.where(usage_day.c.start >= start, usage_day.c.start < end) for start, end in spans]
    return tuple(Sums(*connection.execute(span).one()) for span in within)


def total(parts: Iterable[Sums]) -> Sums:
    """Add up."""
    rows = [tuple(getattr(part, name) for name in SUMS) for part in parts]
    return Sums(*map(sum, zip(*rows, strict=True))) if rows else Sums()


def _statement(query: Query) -> Select[*tuple[Any, ...]]:
    """Select the start, the dimensions and the sums that are asked for.

    Wanted operations are grouped by, and the others dropped afterwards: there are few of them, and a condition on each
    of the rollup's rows costs more.
    """
    table = usage if query.reads_records else _ROLLUPS[query.width]
    figures = _RECORDED if query.reads_records else table.c
    by_operation = () if query.filter.operations is None else (Dimension.OPERATION,)
    dimensions = [table.c[name] for name in Dimension if name in query.group_by or name in by_operation]
    start = _bucket(query.width) if query.reads_records else table.c.start
    return (
        select(start.label("bucket"), *dimensions, *(_sum(figures[name]) for name in _columns(query)))
        .where(*_conditions(query, table))
        .group_by(start, *dimensions)
    )


def _bucket(width: Width) -> ColumnElement[int]:
    """Return a usage record's bucket, in Unix seconds."""
    width_us = literal_column(str(width * MICROSECONDS), BigInteger)
    return usage.c.admitted_at_us // width_us * literal_column(str(int(width)), BigInteger)


def _conditions(query: Query, table: Table) -> list[ColumnElement[bool]]:
    columns, unit = table.c, MICROSECONDS if table is usage else 1
    time = columns.admitted_at_us if table is usage else columns.start
    conditions = [time >= query.start * unit, time < query.end * unit]
    if query.filter.image_sizes is not None or Dimension.IMAGE_SIZE in query.group_by:
        conditions.append(usage.c.image_size.is_not(None))  # else the index of pictures is of no use
    if query.filter.image_sizes is not None:
        conditions.append(usage.c.image_size.in_(sorted(query.filter.image_sizes)))
    for column, values in (
        (columns.project_id, query.filter.project_ids),
        (columns.user_id, query.filter.user_ids),
        (columns.api_key_id, query.filter.api_key_ids),
        (columns.model, query.filter.models),
    ):
        if values is not None:
            conditions.append(column.in_(sorted(values)))
    if query.filter.batch is not None:
        conditions.append(columns.batch == int(query.filter.batch))
    return conditions


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    # PostgreSQL's sum of bigint is a numeric; it is given back as the integer that it is.
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _order(item: tuple[Values, Figures]) -> tuple[Any, ...]:
    return tuple((value is not None, value if value is not None else "") for value in item[0])


_ROLLUPS = {Width.HOUR: usage_hour, Width.DAY: usage_day}
_RECORDED: Mapping[str, ColumnElement[Any]] = {
    **{name: usage.c[name] for name in SUMS if name in usage.c},
    "cache_write_tokens": usage.c.cache_write_tokens + usage.c.cache_write_1h_tokens,
    "unpriced_requests": case(((usage.c.cost_nano_usd.is_(None)) & (usage.c.entry == "final"), 1), else_=0),
}
"""The sums over usage records, as the ledger's rollup makes them."""
