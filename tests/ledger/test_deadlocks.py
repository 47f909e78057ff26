"""Locks on PostgreSQL are taken in one order, so our own never wait in a circle; whoever loses one asks again."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg

from gateway.core.limits import Interval, Metric
from gateway.ledger.lease import LEASE_SECONDS, MOST_AT_ONCE
from gateway.store.engine import postgres_dsn
from tests.ledger import books
from tests.ledger.books import SECOND, ending, limit
from tests.ledger.running import Desk, on_postgres, running
from tests.patience import PATIENCE_SECONDS

pytestmark = on_postgres

# Of this database alone: other tests run beside this one, each on a database of its own.
WAITING_HERE = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"

CALLERS = 12
CALLS = 25
LEASE_US = int(LEASE_SECONDS * SECOND)


async def test_victim_of_a_deadlock_runs_again_and_is_counted(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 1_000))
        await desk.admitted()
        foreign = await asyncpg.connect(postgres_dsn(database_url))
        try:
            # Whoever looks first for a circle is its victim: never us.
            await foreign.execute("SET deadlock_timeout = '1min'")
            async with foreign.transaction():
                await foreign.execute("SELECT * FROM counter FOR UPDATE")
                asking = asyncio.create_task(desk.admitted())
                # The batch has its lock on the table now and waits for the counter; we wait for the table.
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not await foreign.fetchval(WAITING_HERE):  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                await foreign.execute("LOCK TABLE hold IN SHARE MODE")
            await asking
        finally:
            await foreign.close()
        assert set(desk.seen.retried) <= {"DeadlockDetectedError", "LockNotAvailableError"}
        assert len(desk.seen.retried) >= 1
        assert await desk.holds() == 2
        assert await books.differences(desk.reader) == []


async def test_three_replicas_that_settle_beat_and_sweep_at_once_deadlock_nobody(
    database_url: str, tmp_path: Path
) -> None:
    """Calls of one project on three processes, heartbeats with progress, sweeps of the same dead calls."""
    async with AsyncExitStack() as stack:
        desks = [
            await stack.enter_async_context(running(database_url, tmp_path / owner, owner=owner))
            for owner in ("one", "two", "three")
        ]
        await desks[0].add_limits(
            limit(Metric.REQUESTS, 10**6, Interval.MINUTE),
            limit(Metric.TOKENS, 10**9, Interval.MINUTE),
            limit(Metric.COST, 10**12, Interval.MONTH),
            limit(Metric.CONCURRENCY, 10**6),
        )
        for desk in desks:
            desk.limits, desk.revision = desks[0].limits, desks[0].revision
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for desk in desks:
                for work in (beats, sweeps):
                    tasks.create_task(work(desk, ended))
            await asyncio.gather(*(calls(desks[number % 3]) for number in range(CALLERS)))
            ended.set()
        await sweep(desks[0])

        reader = desks[0].reader
        assert await reader.one("SELECT count(*) FROM usage WHERE entry = 'final'") == CALLERS * CALLS
        assert await desks[0].holds() == 0
        assert await reader.one("SELECT sum(held) FROM counter") == 0
        assert await books.differences(reader) == []
        assert not [cause for desk in desks for cause in desk.seen.retried if cause == "DeadlockDetectedError"]


async def calls(desk: Desk) -> None:
    """Make calls, one after the other; every third is left to the sweeps."""
    for number in range(CALLS):
        asked, grant = await desk.admitted()
        if number % 3 == 0:
            await desk.transactions.disown(asked.request_id)
        else:
            await desk.ledger.settle(ending(asked, grant))


async def beats(desk: Desk, ended: asyncio.Event) -> None:
    """Renew the lease and note progress of whatever is open, without a pause."""
    while not ended.is_set():
        open_calls = await desk.reader.rows("SELECT request_id FROM hold ORDER BY admitted_at_us DESC LIMIT 50")
        await desk.transactions.beat({name: (10, 3) for (name,) in open_calls})


async def sweeps(desk: Desk, ended: asyncio.Event) -> None:
    """Sweep and tidy without a pause: all three find the same dead calls."""
    while not ended.is_set():
        await sweep(desk)
        await desk.transactions.tidy(LEASE_US)


async def sweep(desk: Desk) -> None:
    found = await desk.transactions.abandoned(LEASE_US, MOST_AT_ONCE)
    await asyncio.gather(*map(desk.ledger.settle, found))
