"""Retention: old records go, their sums stay, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text

from gateway.ledger.entries import Figures
from gateway.ledger.sqlite import SqliteLedger
from gateway.store import migrate, reports, retention
from gateway.store.engine import Database, is_sqlite
from gateway.store.reports import Line, Query, Width
from gateway.store.usage import usage
from tests.gateway import running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider
from tests.team import call, ledger_on, settle

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = 86_400


def seconds(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp())  # type: ignore[misc, arg-type]  # (2026, 8, 1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with partitions for five months, as a server that ran for so long has made them."""
    opened = Database(database_url)
    await opened.write(lambda connection: migrate.add_partitions(connection, datetime(2026, 7, 1, tzinfo=UTC)))
    yield opened
    for month in (7, 8, 9, 10):
        await opened.write(lambda connection, month=month: drop(connection, month))  # type: ignore[misc]
    await opened.close()


def drop(connection: Connection, month: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"DROP TABLE IF EXISTS usage_2026_{month:02d}"))


async def records(database: Database) -> list[int]:
    query = select(usage.c.admitted_at_us).order_by(usage.c.admitted_at_us)
    return await database.read(lambda connection: [at // 1_000_000 for at in connection.execute(query).scalars()])


async def days(database: Database) -> list[Line]:
    query = Query(Width.DAY, seconds(2026, 1, 1), seconds(2027, 1, 1))
    return await database.read(lambda connection: reports.lines(connection, query))


async def test_records_older_than_the_days_go_and_their_sums_stay(database: Database, database_url: str) -> None:
    first = seconds(2026, 7, 10)
    await settle(database_url, [call(f"req_{day:03d}", first + day * DAY, Figures(1, 1, day)) for day in range(130)])
    before = await days(database)
    await retention.enforce(database, 90, NOW)
    # PostgreSQL forgets whole months only.
    since = seconds(2026, 8, 25) if is_sqlite(database_url) else seconds(2026, 8, 1)
    assert await database.read(retention.kept_since) == since
    assert await records(database) == [at for day in range(130) if (at := first + day * DAY) >= since]
    assert await days(database) == before


async def test_record_outside_the_months_that_have_a_partition_goes_too(database: Database, database_url: str) -> None:
    await settle(database_url, [call(f"req_{n:03d}", seconds(2025, 3, 1) + n, Figures(1, 1, 5)) for n in range(250)])
    await retention.enforce(database, 90, NOW)
    assert await records(database) == []


async def test_records_are_kept_for_ever_where_the_setting_is_zero(database: Database, database_url: str) -> None:
    await settle(database_url, [call("req_1", seconds(2020, 1, 1), Figures(1, 1, 5))])
    await retention.enforce(database, 0, NOW)
    assert len(await records(database)) == 1
    assert await database.read(retention.kept_since) == 0


async def test_time_since_when_records_are_kept_never_goes_back(database: Database) -> None:
    await retention.enforce(database, 30, NOW)
    since = await database.read(retention.kept_since)
    await retention.enforce(database, 90, NOW)
    assert await database.read(retention.kept_since) == since > 0


async def test_several_processes_that_forget_at_once_get_along(database: Database, database_url: str) -> None:
    await settle(database_url, [call(f"req_{n:03d}", seconds(2026, 7, 20) + n, Figures(1, 1, 5)) for n in range(350)])
    await asyncio.gather(*(retention.enforce(database, 90, NOW) for _ in range(3)))
    assert await records(database) == []


async def test_calls_are_settled_while_records_are_forgotten(database: Database, database_url: str) -> None:
    await settle(database_url, [call(f"req_{n:03d}", seconds(2026, 7, 20) + n, Figures(1, 1, 5)) for n in range(500)])
    async with ledger_on(database_url) as ledger:
        served = Database(database_url, ledger.run if isinstance(ledger, SqliteLedger) else None)
        forgetting = asyncio.create_task(retention.enforce(served, 90, NOW))
        for number in range(20):
            await settle(database_url, [call(f"new_{number}", NOW.timestamp() + number, Figures(1, 1, 5))])
        await forgetting
        await served.close()
    assert len(await records(database)) == 20


async def test_one_transaction_forgets_no_more_than_it_may(sqlite_url: str) -> None:
    await settle(sqlite_url, [call(f"req_{n:03d}", seconds(2026, 7, 1) + n, Figures(1, 1, 5)) for n in range(25)])
    database = Database(sqlite_url)
    left, more = [], True
    while more:
        more = await database.write(lambda connection: retention.forget(connection, seconds(2026, 8, 1), 10))
        left.append(len(await records(database)))
    await database.close()
    assert left == [15, 5, 0]


async def test_server_forgets_by_its_setting(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=40)
    new = datetime.now(UTC) - timedelta(days=20)
    await settle(
        sqlite_url, [call("old", old.timestamp(), Figures(1, 1, 5)), call("new", new.timestamp(), Figures(1, 1, 5))]
    )
    async with (
        running_gateway(sqlite_url, provider, tmp_path, retention_days=30) as gateway,
        asyncio.timeout(PATIENCE_SECONDS),
    ):
        while len(await records(gateway.database)) > 1:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
        assert [row.request_id for row in await gateway.usage()] == ["new"]
