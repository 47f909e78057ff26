"""The ledger's invariants, checked from outside: what must be true of its tables between any two transactions.

held    every counter's `held` is the sum of the items of open holds
used    every counter's `used` is the sum of the usage records of its scope and period
signs   no counter is negative
holds   every item of a hold belongs to an open hold
rollups hours and days are the sums of the usage records

Minute limits are left out of `used`, because an excess is charged to the minute of settlement and carried over.
Everything is read in one snapshot, so a running server causes no false alarm.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Table, case, func, literal_column, select

from gateway.core.limits import DAY_SECONDS, HOUR_SECONDS, Interval, Limit, Metric, Scope, period_end, period_start
from gateway.store import limits
from gateway.store.holds import hold, hold_item
from gateway.store.limits import counter
from gateway.store.pages import Cursor
from gateway.store.usage import SUMS, usage, usage_day, usage_hour

CounterKey = tuple[str, int]
"""(limit id, period start)."""
RollupKey = tuple[int, str, str, str, str, int]
"""(start, operation, model, api key, service tier, batch)."""
ALL = 2**31


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: how many rows it was held against, and in words where it is broken."""

    name: str
    promise: str
    examined: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """What one key used in one hour of one model. `sums` are in the order of SUMS."""

    key: RollupKey
    scopes: tuple[tuple[Scope, str | None], ...]
    models: tuple[str, str]
    sums: tuple[int, ...]


def checks(connection: Connection) -> list[Check]:
    """Hold every invariant against the database as it is now. Reads each usage record once."""
    _take_snapshot(connection)
    counters = {(row.limit_id, row.period_start): row for row in connection.execute(select(counter))}
    hours = list(_hours(connection))
    return [
        _signs(counters),
        _held(connection, counters),
        _holds(connection),
        _used(connection, counters, hours),
        _rollup("usage_hour", connection, usage_hour, hours, HOUR_SECONDS),
        _rollup("usage_day", connection, usage_day, hours, DAY_SECONDS),
    ]


def _take_snapshot(connection: Connection) -> None:
    """Let every statement that follows see the same moment."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    else:
        connection.exec_driver_sql("BEGIN")  # without it each SELECT is a transaction of its own


def _signs(counters: Mapping[CounterKey, Any]) -> Check:
    faults = [
        f"limit {id}, period {start}: used {row.used}, held {row.held}"
        for (id, start), row in counters.items()
        if row.used < 0 or row.held < 0
    ]
    return Check("signs", "no counter is negative", len(counters), tuple(faults))


def _held(connection: Connection, counters: Mapping[CounterKey, Any]) -> Check:
    query = (
        select(hold_item.c.limit_id, hold_item.c.period_start, func.sum(hold_item.c.amount))
        .join(limits.limit, limits.limit.c.id == hold_item.c.limit_id)  # items may outlive a limit that was deleted
        .group_by(hold_item.c.limit_id, hold_item.c.period_start)
    )
    expected = {(id, start): int(amount) for id, start, amount in connection.execute(query)}
    found = {key: int(row.held) for key, row in counters.items()}
    return Check(
        "held", "what counters hold is what open calls hold", len(found), _differences(expected, found, "held")
    )


def _holds(connection: Connection) -> Check:
    query = select(hold_item.c.request_id).outerjoin(hold, hold.c.request_id == hold_item.c.request_id)
    orphans = connection.execute(query.where(hold.c.request_id.is_(None)).distinct()).scalars()
    examined = connection.execute(select(func.count()).select_from(hold)).scalar_one()
    faults = tuple(f"{request_id} holds amounts, but there is no such open call" for request_id in orphans)
    return Check("holds", "every amount that is held belongs to an open call", examined, faults)


def _used(connection: Connection, counters: Mapping[CounterKey, Any], hours: Sequence[Hour]) -> Check:
    made_at = {row.id: row.created_at for row in connection.execute(select(*limits.limit.c["id", "created_at"]))}
    everyone = {limit.id: limit for limit in limits.page(connection, Cursor(limit=ALL)).items}
    checked = [limit for limit in everyone.values() if limit.interval is not Interval.MINUTE]
    expected, unclear = _usage_by_counter(checked, made_at, hours)
    found = {key: int(row.used) for key, row in counters.items() if key[0] in {limit.id for limit in checked}}

    opened: dict[str, int] = {}
    for id, start in found:
        opened[id] = min(start, opened.get(id, start))

    def is_due(key: CounterKey) -> bool:
        """A limit knows nothing of periods that were over before it was made, by its clock or the ledger's."""
        id, start = key
        end = period_end(everyone[id].interval, start)
        return key not in unclear and (end is None or end > made_at[id]) and start >= opened.get(id, start)

    expected = {key: amount for key, amount in expected.items() if is_due(key)}
    found = {key: amount for key, amount in found.items() if is_due(key)}
    return Check("used", "what counters used is what was recorded", len(found), _differences(expected, found, "used"))


def _usage_by_counter(
    checked: Sequence[Limit], made_at: Mapping[str, int], hours: Sequence[Hour]
) -> tuple[dict[CounterKey, int], set[CounterKey]]:
    """Return what each counter must have used, and the counters for which the records cannot tell.

    Those are of limits on an alias in the period of their making: they open from rollups, which know no aliases.
    """
    by_scope: dict[tuple[Scope, str | None], list[Limit]] = {}
    for limit in checked:
        by_scope.setdefault((limit.scope, limit.scope_id), []).append(limit)
    expected: dict[CounterKey, int] = {}
    unclear: set[CounterKey] = set()
    for hour in hours:
        for limit in (limit for scope in hour.scopes for limit in by_scope.get(scope, ())):
            model, alias = hour.models
            if not (limit.binds(model) or limit.binds(alias)):
                continue
            key = (limit.id, period_start(limit.interval, hour.key[0]))
            expected[key] = expected.get(key, 0) + _amount(limit.metric, hour.sums)
            if not limit.binds(model) and key[1] <= made_at[limit.id]:
                unclear.add(key)
    return expected, unclear


def _amount(metric: Metric, sums: Sequence[int]) -> int:
    figures = dict(zip(SUMS, sums, strict=True))
    match metric:
        case Metric.REQUESTS | Metric.INPUT_TOKENS | Metric.OUTPUT_TOKENS:
            return figures[metric]
        case Metric.TOKENS:
            return figures["input_tokens"] + figures["output_tokens"]
        case Metric.COST:
            return figures["cost_nano_usd"]
        case Metric.CONCURRENCY:
            return 0


def _rollup(name: str, connection: Connection, table: Table, hours: Sequence[Hour], width_seconds: int) -> Check:
    expected: dict[RollupKey, tuple[int, ...]] = {}
    for hour in hours:
        key = (hour.key[0] // width_seconds * width_seconds, *hour.key[1:])
        before = expected.get(key)
        expected[key] = hour.sums if before is None else tuple(map(sum, zip(before, hour.sums, strict=True)))
    columns = ("start", "operation", "model", "api_key_id", "service_tier", "batch", *SUMS)
    rows = connection.execute(select(*(table.c[column] for column in columns)))
    found: dict[RollupKey, tuple[int, ...]] = {tuple(row[:6]): tuple(row[6:]) for row in rows}
    nothing = (0,) * len(SUMS)
    faults = [
        f"{name} {key}: {_unlike(expected.get(key, nothing), found.get(key, nothing))}"
        for key in sorted(expected.keys() | found.keys())
        if expected.get(key, nothing) != found.get(key, nothing)
    ]
    return Check(name, f"{name} is the sum of the usage records", len(found), tuple(faults))


def _unlike(expected: Sequence[int], found: Sequence[int]) -> str:
    pairs = zip(SUMS, expected, found, strict=True)
    return ", ".join(f"{column} is {is_}, not {should}" for column, should, is_ in pairs if should != is_)


def _differences(expected: Mapping[CounterKey, int], found: Mapping[CounterKey, int], what: str) -> tuple[str, ...]:
    keys = sorted(expected.keys() | found.keys())
    amounts = [(key, found.get(key, 0), expected.get(key, 0)) for key in keys]
    return tuple(
        f"limit {id}, period {start}: {what} {present}, but it should be {due}"
        for (id, start), present, due in amounts
        if present != due
    )


def _hours(connection: Connection) -> Iterator[Hour]:
    """Add up the usage records by all that limits and rollups tell apart."""
    start = usage.c.admitted_at_us // literal_column("3600000000", BigInteger) * literal_column("3600", BigInteger)
    columns = ("operation", "model", "api_key_id", "service_tier", "batch")
    owners = ("requested_model", "project_id", "user_id", "service_account_id")
    groups = [start, *(usage.c[name] for name in (*columns, *owners))]
    query = select(*groups, *(func.coalesce(func.sum(_figure(name)), 0) for name in SUMS)).group_by(*groups)
    for row in connection.execute(query):
        key, (alias, project_id, user_id, account_id) = row[:6], row[6:10]
        scopes = (
            (Scope.API_KEY, key[3]),
            (Scope.USER, user_id),
            (Scope.SERVICE_ACCOUNT, account_id),
            (Scope.PROJECT, project_id),
            (Scope.ORGANIZATION, limits.ORGANIZATION_ID),
        )
        yield Hour(tuple(key), scopes, (key[2], alias), tuple(map(int, row[10:])))


def _figure(name: str) -> ColumnElement[Any]:
    """Return the expression over usage records that a rollup's column sums."""
    if name == "cache_write_tokens":
        return usage.c.cache_write_tokens + usage.c.cache_write_1h_tokens
    if name == "unpriced_requests":
        return case(((usage.c.cost_nano_usd.is_(None)) & (usage.c.entry == "final"), 1), else_=0)
    return usage.c[name]
