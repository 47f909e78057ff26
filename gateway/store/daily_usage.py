"""What was used, by day, operation, model and project: from the rollups, or of some upstreams from the records."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, func, literal_column, select

from gateway.core.limits import DAY_SECONDS
from gateway.store.usage import figure, usage, usage_day

MICROSECONDS = 1_000_000
COLUMNS = ("succeeded", "input_tokens", "cached_tokens", "output_tokens", "cost_nano_usd")


@dataclass(frozen=True, slots=True)
class Used:
    """One operation of one model in one project on the day that begins at `day`, in Unix seconds."""

    day: int
    operation: str
    model: str
    project_id: str
    succeeded: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nano_usd: int


def used(connection: Connection, start: int, end: int, upstreams: Sequence[str] | None) -> list[Used]:
    """Return what was used from `start` to before `end`, two midnights. Only the records tell upstreams apart."""
    groups: list[ColumnElement[Any]]
    sums: list[ColumnElement[Any]]
    if upstreams is None:
        groups = [usage_day.c.start, usage_day.c.operation, usage_day.c.model, usage_day.c.project_id]
        sums = [func.sum(usage_day.c[name]) for name in COLUMNS]
        query = select(*groups, *sums).where(usage_day.c.start >= start, usage_day.c.start < end)
    else:
        unit = literal_column(str(DAY_SECONDS * MICROSECONDS), BigInteger)
        day = usage.c.admitted_at_us // unit * literal_column(str(DAY_SECONDS), BigInteger)
        groups = [day, usage.c.operation, usage.c.model, usage.c.project_id]
        sums = [func.coalesce(func.sum(figure(name)), 0) for name in COLUMNS]
        within = usage.c.admitted_at_us >= start * MICROSECONDS, usage.c.admitted_at_us < end * MICROSECONDS
        query = select(*groups, *sums).where(*within, usage.c.upstream.in_(upstreams))
    rows = connection.execute(query.group_by(*groups).order_by(*groups))
    return [Used(*row[:4], *map(int, row[4:])) for row in rows]
