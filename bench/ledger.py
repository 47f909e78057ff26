"""The ledger alone, its functions without HTTP. All calls are of one project, so all of them change the same rows."""

import asyncio
import contextlib
import time
from pathlib import Path

import asyncpg

from bench.databases import postgres_database, sqlite_database
from bench.experiments import Bench, TargetFailedError
from bench.measure import median
from bench.table import YARDSTICK, Row
from gateway.core.errors import GatewayError
from gateway.core.limits import Demand, Interval, Limit, Metric, Scope
from gateway.ledger.entries import Caller, Figures, Grant, Outcome, Reservation, Settlement, Source, Subject
from gateway.ledger.ledger import Ledger, Transactions
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.sources import new_request_id
from gateway.store import limit_opening, projects, revision
from gateway.store.engine import Connection, Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.migrate import upgrade

CALLERS = 256
"""Calls under way at once: as many as a busy gateway has between its two visits to the ledger."""
GOAL_CALLS_PER_SECOND = 2_000
CALLER = Caller("key_bench", "proj_bench", "user_bench", None)
SUBJECT = Subject("chat", "gpt-4o-mini", "gpt-4o-mini", "main")
# Far above what a run uses: they are counted at every call and never refuse.
LIMITS = (
    Limit("lim_cost", Scope.PROJECT, CALLER.project_id, Metric.COST, Interval.MONTH, 10**15),
    Limit("lim_requests", Scope.PROJECT, CALLER.project_id, Metric.REQUESTS, Interval.DAY, 10**9),
)
INPUT_RATE, OUTPUT_RATE = 150_000, 600_000
"""Pico-USD per token."""


class _Nobody:
    """Is told how the ledger fares and does nothing about it."""

    def ledger_batch(self, size: int, seconds: float) -> None:
        return

    def ledger_spooled(self, records: int) -> None:
        return


def one_project(bench: Bench) -> list[Row]:
    """What a call costs the ledger, from its reservation to its settlement, both durable."""
    rates = {target.name: _rate(bench, target.name) for target in bench.targets if target.name != YARDSTICK}
    goals = dict.fromkeys(rates, 1e6 / GOAL_CALLS_PER_SECOND)
    return [
        Row("ledger alone, calls of one project", "1/s", rates),
        Row("  each call", "µs", {name: 1e6 / rate for name, rate in rates.items()}, goals=goals),
    ]


def _rate(bench: Bench, database: str) -> float:
    folder = bench.folder / f"ledger-{database}"
    folder.mkdir()
    try:
        with _database(bench, database, folder) as url:
            return bench.runner.run(_measured(bench, url, folder))
    except (GatewayError, OSError, asyncpg.PostgresError) as error:
        raise TargetFailedError(f"{database}: {type(error).__name__}: {error}") from error


def _database(bench: Bench, name: str, folder: Path) -> contextlib.AbstractContextManager[str]:
    return postgres_database(bench.postgres_url, "ledger") if name == "postgres" else sqlite_database(folder)


async def _measured(bench: Bench, url: str, folder: Path) -> float:
    """Return calls per second, the median of the rounds."""
    await upgrade(url)
    database = Database(url)
    now = int(time.time())
    number = await database.change(lambda connection: _project(connection, now))
    await database.close()
    ledger = Ledger(_transactions(url), folder / "spool", _Nobody(), time.monotonic, sole_owner=is_sqlite(url))
    await ledger.open()
    try:
        return median([await _calls(ledger, number, bench.effort.seconds) for _ in range(bench.effort.rounds)])
    finally:
        await ledger.close()


def _project(connection: Connection, now: int) -> int:
    """Make the project and its limits; return the revision that calls are admitted under."""
    projects.create(connection, CALLER.project_id, "bench", now)
    for limit in LIMITS:
        limit_opening.create(connection, limit, now)
    return revision.read(connection)


def _transactions(url: str) -> Transactions:
    def now_us() -> int:
        return time.time_ns() // 1000

    if is_sqlite(url):
        return SqliteLedger(sqlite_path(url), "bench", now_us)
    return PostgresLedger(postgres_dsn(url), "bench", now_us, lambda _cause: None)


async def _calls(ledger: Ledger, number: int, seconds: float) -> float:
    began = time.perf_counter()
    made = await asyncio.gather(*(_caller(ledger, number, began + seconds) for _ in range(CALLERS)))
    return sum(made) / (time.perf_counter() - began)


async def _caller(ledger: Ledger, number: int, until: float) -> int:
    calls = 0
    while time.perf_counter() < until:
        await _call(ledger, number)
        calls += 1
    return calls


async def _call(ledger: Ledger, number: int) -> None:
    asked = Reservation(
        request_id=new_request_id(),
        revision=number,
        caller=CALLER,
        subject=SUBJECT,
        limits=LIMITS,
        demand=Demand(20, 100, 100, INPUT_RATE, OUTPUT_RATE),
        input_tokens=20,
        input_rate=INPUT_RATE,
        output_rate=OUTPUT_RATE,
    )
    grant = await ledger.reserve(asked)
    if not isinstance(grant, Grant):
        raise TargetFailedError(f"a call was not admitted: {grant}")
    await ledger.settle(
        Settlement(
            request_id=asked.request_id,
            admitted_at_us=grant.admitted_at_us,
            caller=CALLER,
            subject=SUBJECT,
            items=grant.items,
            figures=Figures(requests=1, succeeded=1, input_tokens=20, output_tokens=100, cost_nano_usd=63_000),
            source=Source.REPORTED,
            outcome=Outcome.COMPLETED,
            status=200,
        )
    )
