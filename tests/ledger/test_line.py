"""The ledger's connection to a PostgreSQL that takes none: trouble of the database, never of a batch."""

import time

import pytest

from gateway.core.errors import ServiceUnavailable
from gateway.ledger.effects import Batch
from gateway.ledger.line import Line
from gateway.ledger.postgres import PostgresLedger
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
