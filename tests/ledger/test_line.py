"""The ledger's connection to PostgreSQL: trouble is the database's, never a batch's; how its statements are run."""

import time

import asyncpg
import pytest

from gateway.core.errors import ServiceUnavailable
from gateway.ledger.effects import Batch
from gateway.ledger.line import Line
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.postgres_statements import EXPECT_ALL, EXPECT_RESERVED, LOCK_AND_RELEASE
from gateway.store.engine import postgres_dsn
from tests.ledger.running import on_postgres
from tests.refusing import REFUSALS, postgres_that_refuses


@pytest.mark.parametrize("sqlstate", REFUSALS.values(), ids=REFUSALS.keys())
async def test_batch_for_a_database_that_refuses_connections_is_put_off(sqlstate: str) -> None:
    async with postgres_that_refuses(sqlstate) as url:
        ledger = PostgresLedger(postgres_dsn(url), "owner", lambda: time.time_ns() // 1000, lambda _cause: None)
        with pytest.raises(ServiceUnavailable):
            await ledger.commit(Batch(voids=["req_1"]))
        with pytest.raises(ServiceUnavailable):
            await ledger.beat({})
        await ledger.close()


@on_postgres
@pytest.mark.parametrize(("work_seconds", "lock", "statement"), [(4.0, "1s", "3500ms"), (119.5, "29875ms", "104562ms")])
async def test_locks_and_statements_may_wait_for_a_part_of_what_the_work_may_take(
    database_url: str, work_seconds: float, lock: str, statement: str
) -> None:
    line = Line(postgres_dsn(database_url), work_seconds)
    assert await line.run(lambda connection: connection.fetchval("SHOW lock_timeout")) == lock
    assert await line.run(lambda connection: connection.fetchval("SHOW statement_timeout")) == statement
    await line.close()


@on_postgres
@pytest.mark.parametrize(
    "statement", [LOCK_AND_RELEASE, EXPECT_RESERVED, EXPECT_ALL], ids=["read", "reserve", "settle"]
)
async def test_plan_that_was_made_when_nothing_was_held_reads_no_table_of_calls_from_end_to_end(
    database_url: str, statement: str
) -> None:
    async def planned(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
        await connection.execute("ANALYZE hold, hold_item, counter")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE it AS {statement}")
        nothing = ", ".join("NULL" for _ in (await connection.prepare(statement)).get_parameters())
        return [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE it ({nothing})")]

    line = Line(postgres_dsn(database_url))
    plan = await line.run(planned)
    await line.close()
    assert [step for step in plan if "Seq Scan on" in step and "revision" not in step] == []
