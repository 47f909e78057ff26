"""What counters used, against the rollups of the calls that their limits bind.

The rollups are read in the order of time, once per interval that has limits, and each period is compared as soon as it
is over: memory grows with the number of limits, not of calls or of periods.
"""

import heapq
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, Table, func, literal_column, select

from gateway.core.limits import DAY_SECONDS, HOUR_SECONDS, Interval, Limit, Metric, Scope, period_end, period_start
from gateway.store import limits
from gateway.store.audit.counters import Known, count, difference, everyone
from gateway.store.audit.findings import Check, Fault, check
from gateway.store.limits import ORGANIZATION_ID, counter
from gateway.store.retention import kept_since
from gateway.store.usage import usage, usage_day, usage_hour

Period = tuple[int, Mapping[str, int], frozenset[str]]
"""A period's start, amounts by limit id, and the limits that bind some of its calls by an alias alone."""
AT_ONCE = 2_000
MICROSECONDS = 1_000_000
FIGURES = ("requests", "input_tokens", "output_tokens", "cost_nano_usd")
OWNERS = ("api_key_id", "project_id", "user_id", "service_account_id")
MOST_REMEMBERED = 100_000


def within_periods(connection: Connection) -> Check:
    """What counters used is what was recorded of the calls that their limits bind."""
    by_interval: dict[Interval | None, list[Known]] = {}
    for known in everyone(connection).values():
        if known.limit.interval is not Interval.MINUTE:
            by_interval.setdefault(known.limit.interval, []).append(known)
    faults = (
        fault
        for interval, found in by_interval.items()
        for fault in _interval_faults(connection, Bound(interval, {one.limit.id: one for one in found}))
    )
    return check("used", "what counters used is what was recorded", count(connection), faults)


@dataclass(slots=True)
class Bound:
    """The limits of one interval, and which of them bind whom."""

    interval: Interval | None
    known: Mapping[str, Known]
    _by_scope: dict[tuple[Scope, str], list[Limit]] = field(init=False, default_factory=dict)
    _found: dict[tuple[Any, ...], tuple[Limit, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.known.values():
            self._by_scope.setdefault((one.limit.scope, one.limit.scope_id), []).append(one.limit)

    @property
    def names_models(self) -> bool:
        """Tell whether aliases can matter."""
        return any(one.limit.models is not None for one in self.known.values())

    def of(self, owners: tuple[str | None, ...], model: str, alias: str) -> tuple[Limit, ...]:
        """Return what binds a call by its model; with another word as alias, what binds it by that word alone."""
        key = (*owners, model, alias)
        if (found := self._found.get(key)) is None:
            if len(self._found) > MOST_REMEMBERED:
                self._found.clear()
            found = self._found[key] = tuple(self._bind(owners, model, alias))
        return found

    def _bind(self, owners: tuple[str | None, ...], model: str, alias: str) -> Iterator[Limit]:
        scopes = (Scope.API_KEY, Scope.PROJECT, Scope.USER, Scope.SERVICE_ACCOUNT)
        for scope, id in ((Scope.ORGANIZATION, ORGANIZATION_ID), *zip(scopes, owners, strict=True)):
            for limit in self._by_scope.get((scope, id), ()) if id is not None else ():
                if limit.binds(model) if alias == model else limit.binds(alias) and not limit.binds(model):
                    yield limit


def _interval_faults(connection: Connection, bound: Bound) -> Iterator[Fault]:
    forgotten = kept_since(connection)
    for start, due, found, aliased in _by_period(_due(connection, bound), _found(connection, bound.interval)):
        for id in sorted(due.keys() | found.keys()):
            one = bound.known[id]
            is_clear = id not in aliased or start > one.made_at
            if one.limit.models is not None and start < forgotten:
                is_clear = False
            if due.get(id, 0) != found.get(id, 0) and is_clear and _is_due(one, start):
                yield difference(one.limit, start, "used", found.get(id, 0), due.get(id, 0), "the rollups have")


def _is_due(one: Known, start: int) -> bool:
    """Tell whether the counter must know the period: it does not know those before its limit was made."""
    end = period_end(one.limit.interval, start)
    return start >= one.opened and (end is None or end > one.made_at)


def _by_period(
    due: Iterable[Period], found: Iterable[Period]
) -> Iterator[tuple[int, Mapping[str, int], Mapping[str, int], frozenset[str]]]:
    """Join two streams of periods in the order of time."""
    tagged = heapq.merge(
        ((start, 0, amounts, aliased) for start, amounts, aliased in due),
        ((start, 1, amounts, none) for start, amounts, none in found),
        key=operator.itemgetter(0, 1),
    )
    for start, same in groupby(tagged, key=operator.itemgetter(0)):
        sides: list[Mapping[str, int]] = [{}, {}]
        by_alias: frozenset[str] = frozenset()
        for _, side, amounts, aliased in same:
            sides[side] = amounts
            by_alias |= aliased
        yield start, sides[0], sides[1], by_alias


def _found(connection: Connection, interval: Interval | None) -> Iterator[Period]:
    query = (
        select(counter.c.period_start, counter.c.limit_id, counter.c.used)
        .join(limits.limit, limits.limit.c.id == counter.c.limit_id)
        .where(limits.limit.c.interval.is_(None) if interval is None else limits.limit.c.interval == interval)
        .order_by(counter.c.period_start)
    )
    for start, same in groupby(stream(connection, query), key=operator.itemgetter(0)):
        yield start, {id: int(amount) for _, id, amount in same}, frozenset()


def _due(connection: Connection, bound: Bound) -> Iterator[Period]:
    """A limit may name aliases. It opens from rollups, which know none, so in its first period nobody can tell."""
    rows = _rolled(connection, bound.interval)
    if bound.names_models:
        rows = heapq.merge(rows, _aliased(connection, bound.interval), key=operator.itemgetter(0))
    for start, same in groupby(rows, key=lambda row: period_start(bound.interval, row[0])):
        amounts: dict[str, int] = {}
        aliased: set[str] = set()
        for _, model, alias, *rest in same:
            owners, figures = tuple(rest[: len(OWNERS)]), rest[len(OWNERS) :]
            for limit in bound.of(owners, model, alias):
                amounts[limit.id] = amounts.get(limit.id, 0) + measured(limit.metric, figures)
                if alias != model:
                    aliased.add(limit.id)
        yield start, amounts, frozenset(aliased)


def _rolled(connection: Connection, interval: Interval | None) -> Iterator[Sequence[Any]]:
    table = rollup_of(interval)
    columns = [table.c[name] for name in (*OWNERS, *FIGURES)]
    return stream(connection, select(table.c.start, table.c.model, table.c.model, *columns).order_by(table.c.start))


def _aliased(connection: Connection, interval: Interval | None) -> Iterator[Sequence[Any]]:
    """Return what was called by another name than the model's, which only the records know."""
    width = HOUR_SECONDS if interval is Interval.HOUR else DAY_SECONDS
    unit = literal_column(str(width * MICROSECONDS), BigInteger)
    start: ColumnElement[int] = (usage.c.admitted_at_us // unit * literal_column(str(width), BigInteger)).label("start")
    groups = [start, usage.c.model, usage.c.requested_model, *(usage.c[name] for name in OWNERS)]
    sums = [func.coalesce(func.sum(usage.c[name]), 0) for name in FIGURES]
    query = select(*groups, *sums).where(usage.c.requested_model != usage.c.model).group_by(*groups).order_by(start)
    return stream(connection, query)


def rollup_of(interval: Interval | None) -> Table:
    """Return the table that an interval's periods are made of; all longer periods begin with a day."""
    return usage_hour if interval is Interval.HOUR else usage_day


def measured(metric: Metric, figures: Sequence[int]) -> int:
    """Return what FIGURES charge under a metric."""
    requests, input_tokens, output_tokens, cost = map(int, figures)
    match metric:
        case Metric.REQUESTS:
            return requests
        case Metric.INPUT_TOKENS:
            return input_tokens
        case Metric.OUTPUT_TOKENS:
            return output_tokens
        case Metric.TOKENS:
            return input_tokens + output_tokens
        case Metric.COST:
            return cost
        case Metric.CONCURRENCY:
            return 0


def stream(connection: Connection, query: Select[*tuple[Any, ...]]) -> Iterator[Sequence[Any]]:
    """Return the rows without holding all of them."""
    return iter(connection.execute(query.execution_options(yield_per=AT_ONCE)))


def of_counter(connection: Connection, limit: Limit, start: int, end: int | None) -> int:
    """Return what one counter must have used in its period, from `start` to before `end`; None is without end."""
    table = rollup_of(limit.interval)
    figures = [func.coalesce(func.sum(table.c[name]), 0) for name in FIGURES]
    rolled = select(table.c.model, table.c.model, *figures).group_by(table.c.model).where(table.c.start >= start)
    models = [usage.c.model, usage.c.requested_model]
    sums = [func.coalesce(func.sum(usage.c[name]), 0) for name in FIGURES]
    aliased = select(*models, *sums).group_by(*models).where(usage.c.requested_model != usage.c.model)
    aliased = aliased.where(usage.c.admitted_at_us >= start * MICROSECONDS)
    if end is not None:
        rolled = rolled.where(table.c.start < end)
        aliased = aliased.where(usage.c.admitted_at_us < end * MICROSECONDS)
    if limit.scope is not Scope.ORGANIZATION:
        rolled = rolled.where(table.c[f"{limit.scope}_id"] == limit.scope_id)
        aliased = aliased.where(usage.c[f"{limit.scope}_id"] == limit.scope_id)
    total = 0
    for query in (rolled, aliased) if limit.models is not None else (rolled,):
        for model, alias, *amounts in connection.execute(query):
            if limit.binds(model) if alias == model else limit.binds(alias) and not limit.binds(model):
                total += measured(limit.metric, amounts)
    return total
