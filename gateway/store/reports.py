"""Reports: what the ledger has recorded, added up by bucket of time and by whatever else is asked for.

Buckets of an hour and a day come from the rollups, which the ledger writes in the settling transaction; minutes come
from the usage records themselves. All figures are those of admission's bucket, corrections included.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, case, cast, func, literal_column, select

from gateway.store.usage import SUMS, usage, usage_day, usage_hour

MICROSECONDS = 1_000_000


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


@dataclass(frozen=True, slots=True)
class Group:
    """What a line is about; None where the report is not grouped by it, or there is none (a service account's user)."""

    operation: str | None
    model: str | None
    api_key_id: str | None
    service_tier: str | None
    batch: int | None
    project_id: str | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Sums:
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
    cost_nano_usd: int = 0
    unpriced_requests: int = 0


@dataclass(frozen=True, slots=True)
class Line:
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


def lines(connection: Connection, query: Query) -> list[Line]:
    """Return the report, oldest bucket first. Buckets and groups that used nothing have no line."""
    wanted = query.filter.operations
    by_operation = Dimension.OPERATION in query.group_by
    sums: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for start, operation, *rest in connection.execute(_statement(query)):
        if wanted is not None and operation not in wanted:
            continue
        key = (start, operation if by_operation else None, *rest[: len(Dimension) - 1])
        figures = tuple(rest[len(Dimension) - 1 :])
        present = sums.get(key)
        sums[key] = figures if present is None else tuple(map(operator.add, present, figures))
    return [
        Line(start, Group(*group), Sums(*figures))
        for (start, *group), figures in sorted(sums.items(), key=_order)
        if any(figures)
    ]


def buckets(found: Iterable[Line], query: Query) -> Mapping[int, list[Line]]:
    """Return every bucket's lines by its start, in order, the empty ones too."""
    by_start = {start: list(same) for start, same in groupby(found, key=operator.attrgetter("start"))}
    return {start: by_start.get(start, []) for start in range(query.start, query.end, query.width)}


def windows(connection: Connection, api_key_id: str, spans: Sequence[tuple[int, int]]) -> tuple[Sums, ...]:
    """Return what a key used in each span of whole UTC days: (first second, first second after), ascending."""
    key = Filter(api_key_ids=frozenset((api_key_id,)))
    days = lines(connection, Query(Width.DAY, spans[0][0], spans[-1][1], filter=key))
    return tuple(total(day.sums for day in days if start <= day.start < end) for start, end in spans)


def total(parts: Iterable[Sums]) -> Sums:
    """Add up."""
    rows = [tuple(getattr(part, name) for name in SUMS) for part in parts]
    return Sums(*map(sum, zip(*rows, strict=True))) if rows else Sums()


def _statement(query: Query) -> Select[*tuple[Any, ...]]:
    """Select the start, all dimensions and all sums; those that are not asked for are constants.

    Operations are grouped by and dropped afterwards: there are few of them, and a condition on each of the rollup's
    rows costs more.
    """
    table = _TABLES[query.width]
    asked = set(query.group_by)
    if query.filter.operations is not None:
        asked.add(Dimension.OPERATION)
    dimensions = [table.c[name] if name in asked else _NONE for name in Dimension]
    sums = [_sum(_FIGURES[query.width][name]) if name in query.columns else _ZERO for name in SUMS]
    start = _START[query.width]
    return (
        select(start.label("bucket"), *dimensions, *sums)
        .where(*_conditions(query))
        .group_by(start, *(table.c[name] for name in Dimension if name in asked))
    )


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    columns, unit = _TABLES[query.width].c, MICROSECONDS if query.width is Width.MINUTE else 1
    time = columns.admitted_at_us if query.width is Width.MINUTE else columns.start
    conditions = [time >= query.start * unit, time < query.end * unit]
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


def _order(item: tuple[tuple[Any, ...], tuple[int, ...]]) -> tuple[Any, ...]:
    (start, *group), _ = item
    return (start, *((value is not None, value if value is not None else "") for value in group))


_NONE: ColumnElement[Any] = literal_column("NULL")
_ZERO: ColumnElement[int] = literal_column("0")
_TABLES = {Width.MINUTE: usage, Width.HOUR: usage_hour, Width.DAY: usage_day}
_START: Mapping[Width, ColumnElement[int]] = {
    Width.MINUTE: usage.c.admitted_at_us // literal_column("60000000", BigInteger) * literal_column("60", BigInteger),
    Width.HOUR: usage_hour.c.start,
    Width.DAY: usage_day.c.start,
}
_DETAIL: Mapping[str, ColumnElement[Any]] = {
    "cache_write_tokens": usage.c.cache_write_tokens + usage.c.cache_write_1h_tokens,
    "unpriced_requests": case(((usage.c.cost_nano_usd.is_(None)) & (usage.c.entry == "final"), 1), else_=0),
}
"""The sums that a usage record does not have as a column of that name, as the ledger's rollup makes them."""
_FIGURES: Mapping[Width, Mapping[str, ColumnElement[Any]]] = {
    Width.MINUTE: {name: _DETAIL[name] if name in _DETAIL else usage.c[name] for name in SUMS},
    Width.HOUR: {name: usage_hour.c[name] for name in SUMS},
    Width.DAY: {name: usage_day.c[name] for name in SUMS},
}
