"""Small calls for the ledger, a plain reader of its tables, and the invariants that hold between them."""

# ruff: noqa: S608 - statements are put together from constant names of columns, values are bound

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import Connection

from gateway.core.keys import make_key
from gateway.core.limits import Demand, Interval, Limit, Metric, Scope, period_start
from gateway.ledger.entries import Caller, Figures, Grant, Item, Outcome, Reservation, Settlement, Source, Subject
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.store import api_keys, limit_opening, projects, users
from gateway.store import limits as stored_limits
from gateway.store.api_keys import NewApiKey
from gateway.store.engine import Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.usage import SUMS
from tests.patience import PATIENCE_SECONDS

SECOND = 1_000_000
ALICE = Caller("key_1", "proj_1", "user_1", None)
BOB = Caller("key_2", "proj_2", "user_2", None)
INPUT_TOKENS = 10
INPUT_RATE = 3_000
OUTPUT_RATE = 5_000

Rows = list[tuple[Any, ...]]
Transactions = SqliteLedger | PostgresLedger


def limit(
    metric: Metric,
    amount: int,
    interval: Interval | None = Interval.LIFETIME,
    *,
    id: str | None = None,
    scope: Scope = Scope.ORGANIZATION,
    scope_id: str = "org_gateway",
    models: tuple[str, ...] | None = None,
) -> Limit:
    """A limit; concurrency ignores the interval."""
    kept = None if metric is Metric.CONCURRENCY else interval
    return Limit(id or f"lim_{metric}_{kept}", scope, scope_id, metric, kept, amount, models)


def reservation(
    request_id: str,
    limits: Sequence[Limit],
    revision: int,
    *,
    caller: Caller = ALICE,
    model: str = "gpt-4o",
    output_tokens: int = 20,
    batch_lines: int = 0,
) -> Reservation:
    """A call of 10 input tokens that may answer with so many, at 3 and 5 nano-USD per token, or a batch of calls."""
    expected = min(output_tokens, 5)
    demand = Demand(INPUT_TOKENS, output_tokens, expected, INPUT_RATE, OUTPUT_RATE, batch_lines=batch_lines)
    subject = Subject("chat", model, model, "main")
    return Reservation(
        request_id,
        revision,
        caller,
        subject,
        tuple(limits),
        demand,
        INPUT_TOKENS,
        INPUT_RATE,
        OUTPUT_RATE,
        batch=int(batch_lines > 0),
    )


def figures(input_tokens: int = INPUT_TOKENS, output_tokens: int = 20, requests: int = 1) -> Figures:
    """What a call used, priced at 3 and 5 nano-USD."""
    cost = input_tokens * INPUT_RATE // 1000 + output_tokens * OUTPUT_RATE // 1000
    return Figures(
        requests=requests,
        succeeded=requests,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_nano_usd=cost,
    )


def settlement(
    asked: Reservation, admitted_at_us: int, items: Sequence[Item], used: Figures | None = None
) -> Settlement:
    """The end of a call, with the provider's figures."""
    return Settlement(
        request_id=asked.request_id,
        admitted_at_us=admitted_at_us,
        caller=asked.caller,
        subject=asked.subject,
        items=tuple(items),
        figures=used or figures(),
        source=Source.REPORTED,
        outcome=Outcome.COMPLETED,
        status=200,
        batch=asked.batch,
        service_tier="batch" if asked.batch else "",
    )


def ending(asked: Reservation, grant: Grant, used: Figures | None = None) -> Settlement:
    """The settlement of a granted call."""
    return settlement(asked, grant.admitted_at_us, grant.items, used)


def transactions(
    url: str, owner: str, now_us: Callable[[], int], retried: Callable[[str], None] = lambda _cause: None
) -> Transactions:
    """The ledger's transactions on either database."""
    if is_sqlite(url):
        return SqliteLedger(sqlite_path(url), owner, now_us, lock_patience_seconds=0.5)
    return PostgresLedger(postgres_dsn(url), owner, now_us, retried)


def administration(url: str, ledger: Transactions) -> Database:
    """The database as administration changes it beside that ledger."""
    return Database(url, ledger.run if isinstance(ledger, SqliteLedger) else None)


def foreign(url: str) -> sqlite3.Connection:
    """Connect to a SQLite database as another process does."""
    return sqlite3.connect(sqlite_path(url), PATIENCE_SECONDS, isolation_level=None, check_same_thread=False)


async def lock(connection: sqlite3.Connection) -> None:
    """Let nobody else write from now on. Who writes just now may need the loop to come to an end."""
    await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")


async def settle_in(database: Database, now: int) -> None:
    """Make the projects, people and keys of ALICE and BOB."""

    def work(connection: Connection) -> None:
        for number in (1, 2):
            project, person = f"proj_{number}", f"user_{number}"
            projects.create(connection, project, project, now)
            users.create(connection, person, f"person{number}@example.com", person, "reader", now)
            secret = make_key(f"{number:010d}", f"{number:032d}", admin=False)
            key = NewApiKey(f"key_{number}", project, f"key {number}", user_id=person)
            api_keys.create(connection, key, secret, now)

    await database.change(work)


async def add_limit(database: Database, new: Limit, now: int) -> None:
    """Create a limit as administration does."""
    await database.change(lambda connection: limit_opening.create(connection, new, now))


def delete_limit(connection: Connection, id: str) -> None:
    """Delete a limit as administration does."""
    stored_limits.delete(connection, id)


class Reader:
    """Runs plain SELECTs beside the ledger."""

    def __init__(self, connection: "sqlite3.Connection | asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def rows(self, query: str) -> Rows:
        if isinstance(self._connection, sqlite3.Connection):
            return self._connection.execute(query).fetchall()
        return [tuple(row) for row in await self._connection.fetch(query)]

    async def one(self, query: str) -> Any:
        """Return the only value."""
        [(value,)] = await self.rows(query)
        return value


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Reader]:
    """Open a reader."""
    if is_sqlite(url):
        connection = sqlite3.connect(sqlite_path(url), isolation_level=None)
        try:
            yield Reader(connection)
        finally:
            connection.close()
        return
    remote = await asyncpg.connect(postgres_dsn(url))
    try:
        yield Reader(remote)
    finally:
        await remote.close()


@dataclass(frozen=True, slots=True)
class Record:
    """A usage row, as far as limits depend on it."""

    request_id: str
    entry: str
    admitted_at: int
    caller: Caller
    model: str
    figures: Figures


async def records(reader: Reader) -> list[Record]:
    """Return all usage rows."""
    query = (
        "SELECT request_id, entry, admitted_at_us, api_key_id, project_id, user_id, service_account_id, model, "
        f"{', '.join(Figures.__struct_fields__)} FROM usage ORDER BY request_id, entry"
    )
    return [
        Record(row[0], row[1], row[2] // SECOND, Caller(*row[3:7]), row[7], Figures(*row[8:]))
        for row in await reader.rows(query)
    ]


async def differences(reader: Reader) -> list[str]:
    """Return where the ledger contradicts itself (I1 and I3 of its invariants); empty is right.

    `held` is the sum of hold items; `used` is the sum of the usage records in the period, of those that the limit binds
    (a minute's is not: it also has what spilled over from others); nothing is negative; rollups are sums of usage.
    """
    return [
        *await _items_without_holds(reader),
        *await _counters_that_differ(reader),
        *await _rollups_that_differ(reader),
    ]


async def _items_without_holds(reader: Reader) -> list[str]:
    query = "SELECT request_id, limit_id FROM hold_item WHERE request_id NOT IN (SELECT request_id FROM hold)"
    return [f"an item without a hold: {row}" for row in await reader.rows(query)]


async def _counters_that_differ(reader: Reader) -> list[str]:
    held: dict[tuple[str, int], int] = defaultdict(int)
    for limit_id, start, amount in await reader.rows("SELECT limit_id, period_start, amount FROM hold_item"):
        held[limit_id, start] += amount
    used = await records(reader)
    limits = {
        row[0]: row
        for row in await reader.rows('SELECT id, scope, scope_id, metric, interval, models, created_at FROM "limit"')
    }
    wrong = []
    for limit_id, start, has_used, has_held in await reader.rows("SELECT * FROM counter"):
        _, scope, scope_id, metric, interval, models, created_at = limits[limit_id]
        one = Limit(
            limit_id, Scope(scope), scope_id, Metric(metric), interval and Interval(interval), 0, _names(models)
        )
        if has_used < 0 or has_held < 0 or has_held != held[limit_id, start]:
            wrong.append(f"{limit_id} at {start}: held {has_held}, items {held[limit_id, start]}, used {has_used}")
        if one.interval is Interval.MINUTE or start < period_start(one.interval, created_at):
            continue
        sums = sum(charged(one, record) for record in used if period_start(one.interval, record.admitted_at) == start)
        if has_used != sums:
            wrong.append(f"{limit_id} at {start}: used {has_used}, recorded {sums}")
    return wrong


def _names(models: str | None) -> tuple[str, ...] | None:
    return None if models is None else msgspec.json.decode(models, type=tuple[str, ...])


def charged(one: Limit, record: Record) -> int:
    """Return what a record charges a limit: nothing if the limit does not bind it."""
    binds = record.caller.is_in(one.scope, one.scope_id) and one.binds(record.model)
    return record.figures.amount(one.metric) if binds else 0


async def _rollups_that_differ(reader: Reader) -> list[str]:
    measured = {
        **{name: f"coalesce(sum({name}), 0)" for name in SUMS},
        "cache_write_tokens": "sum(cache_write_tokens + cache_write_1h_tokens)",
        "unpriced_requests": "sum(CASE WHEN cost_nano_usd IS NULL AND entry = 'final' THEN 1 ELSE 0 END)",
    }
    key = "operation, model, api_key_id, service_tier, batch"
    wrong = []
    for table, width in (("usage_hour", 3_600), ("usage_day", 86_400)):
        start = f"(admitted_at_us - admitted_at_us % {width * SECOND}) / {SECOND}"
        recorded = await reader.rows(
            f"SELECT {start} AS start, {key}, {', '.join(measured.values())} FROM usage GROUP BY {start}, {key}"
        )
        rolled = await reader.rows(f"SELECT start, {key}, {', '.join(measured)} FROM {table}")
        if sorted(map(_plain, recorded)) != sorted(map(_plain, rolled)):
            wrong.append(f"{table}: {sorted(rolled)}, recorded {sorted(recorded)}")
    return wrong


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """PostgreSQL sums 64-bit integers into decimals."""
    return tuple(value if isinstance(value, str) else int(value) for value in row)
