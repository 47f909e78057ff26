"""Batches decided on what the process knows: one statement when that is right, nothing written when it is not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, make_url

from gateway.core.limits import Interval, Metric
from gateway.ledger.effects import Batch, Effects, State
from gateway.ledger.entries import Grant
from gateway.ledger.known import LONGEST_REST, Known
from gateway.store import limit_opening
from gateway.store import limits as stored_limits
from gateway.store.engine import postgres_dsn
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.chaos import chaos
from tests.ledger.running import Desk, on_postgres, running
from tests.patience import PATIENCE_SECONDS

NOW_US = 1_780_000_000_000_000
# Of this database alone: other tests run beside this one, each on a database of its own.
WAITING_HERE = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def known_counters() -> Known:
    known = Known()
    known.remember(State(NOW_US, 1, {}), Effects())
    return known


def test_wrong_guesses_make_it_guess_ever_more_seldom_and_each_right_one_takes_one_back() -> None:
    known = known_counters()
    batch = Batch([books.reservation("req_1", (), 1)])
    rests = []
    for _ in range(8):
        assert known.expect(batch, NOW_US) is not None
        known.was_wrong()
        rests.append(next(number for number in count() if known.expect(batch, NOW_US) is not None))
    assert rests == [1, 3, 7, 15, 31, 63, LONGEST_REST, LONGEST_REST]
    known.was_right()
    assert known.expect(batch, NOW_US) is not None
    known.was_wrong()
    assert next(number for number in count() if known.expect(batch, NOW_US) is not None) == LONGEST_REST
    for _ in range(8):
        known.was_right()
    known.was_wrong()
    assert known.expect(batch, NOW_US) is None
    assert known.expect(batch, NOW_US) is not None


@pytest.mark.parametrize(
    "batch",
    [
        Batch(voids=["req_1"]),
        Batch([books.reservation("req_1", (limit(Metric.REQUESTS, 1),), 1)]),
    ],
    ids=["a call that may be held or not", "a counter never read"],
)
def test_what_is_not_known_is_read(batch: Batch) -> None:
    assert known_counters().expect(batch, NOW_US) is None


@on_postgres
async def test_process_alone_on_its_counters_says_each_batch_in_one_statement(
    database_url: str, tmp_path: Path
) -> None:
    async with chaos(database_url) as relay, running(database_url, tmp_path / "spool", through=relay.url) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100), limit(Metric.COST, 10**9, Interval.MONTH))
        await desk.ledger.settle(ending(*await desk.admitted()))
        relay.heard = []
        calls = [await desk.admitted() for _ in range(3)]
        await asyncio.gather(*(desk.ledger.settle(ending(*call)) for call in calls))

        said = b"".join(relay.heard)
        assert b"BEGIN" not in said and b"COMMIT" not in said
        assert await desk.holds() == 0
        assert await books.differences(desk.reader) == []


async def added(desk: Desk) -> None:
    """Another limit, that joins the holds of all open calls."""
    await books.add_limit(desk.database, limit(Metric.TOKENS, 10**6), int(time.time()))


async def lowered(desk: Desk) -> None:
    """Room for the calls that were made, and no more."""
    await desk.database.change(lambda connection: stored_limits.set_amount(connection, "lim_requests_lifetime", 2))


async def used_elsewhere(desk: Desk) -> None:
    """Another process takes all the room that is left."""
    async with running(desk.url, desk.spool_folder.parent / "theirs", owner="them") as them:
        them.limits, them.revision = desk.limits, desk.revision
        for _ in range(8):
            await them.ledger.settle(ending(*await them.admitted()))


@on_postgres
@pytest.mark.parametrize("change", [added, lowered, used_elsewhere])
async def test_change_that_the_process_has_not_seen_binds_its_next_batch(
    database_url: str, tmp_path: Path, change: Callable[[Desk], Awaitable[None]]
) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 10))
        ended, left = await desk.admitted(), await desk.admitted()
        await change(desk)

        next_ones = await asyncio.gather(
            desk.ledger.reserve(desk.asked()),
            desk.ledger.settle(ending(*ended)),
        )

        assert not isinstance(next_ones[0], Grant)
        assert await desk.holds() == 1
        await desk.ledger.settle(ending(*left))
        assert await desk.reader.one("SELECT sum(held) FROM counter") == 0
        assert await books.differences(desk.reader) == []


@asynccontextmanager
async def kept_waiting(url: str, statement: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Another session that has done this and not committed. It commits at the end."""
    foreign = await asyncpg.connect(postgres_dsn(url))
    try:
        async with foreign.transaction():
            await foreign.execute(statement)
            yield foreign
    finally:
        await foreign.close()


async def until_somebody_waits(foreign: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await foreign.fetchval(WAITING_HERE):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@on_postgres
async def test_rows_that_others_changed_while_a_batch_waited_for_them_are_compared_as_they_are_then(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100), limit(Metric.TOKENS, 10**6))
        calls = [await desk.admitted() for _ in range(3)]
        for used_since, call in ((0, calls[0]), (5, calls[1])):
            changes = "UPDATE counter SET used = used + 5; UPDATE hold SET delivered = 7"
            async with kept_waiting(database_url, changes) as foreign:
                settling = asyncio.ensure_future(desk.ledger.settle(ending(*call)))
                await until_somebody_waits(foreign)
                await foreign.execute("UPDATE counter SET used = used + $1", used_since - 5)
            await settling

        assert await desk.holds() == 1
        assert await desk.reader.one("SELECT used FROM counter WHERE limit_id LIKE 'lim_req%'") == 2 + 5
        assert await desk.reader.one("SELECT sum(held) FROM counter") == sum(item.amount for item in calls[2][1].items)


@on_postgres
async def test_clock_is_read_after_the_wait_for_a_counter(database_url: str, tmp_path: Path) -> None:
    """Another process may have opened the next minute meanwhile, with what this one had used by then."""
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        # Its clock stands still: what it takes for the time is what the database told it last.
        still = books.transactions(database_url, "still", lambda: 0)
        try:
            await still.commit(Batch([desk.asked()]))
            async with kept_waiting(database_url, "SELECT FROM counter FOR UPDATE") as foreign:
                waiting = asyncio.create_task(still.commit(Batch([desk.asked()])))
                await until_somebody_waits(foreign)
                now_us = await foreign.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            await asyncio.gather(waiting, return_exceptions=True)  # A slow machine may have kept it too long.
            [grant] = await still.commit(Batch([desk.asked()]))
        finally:
            await still.close()

        assert isinstance(grant, Grant)
        assert grant.admitted_at_us >= now_us


@on_postgres
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
async def test_limit_made_while_a_batch_waits_for_its_end_is_charged_whatever_the_database_isolates_by_default(
    database_url: str, tmp_path: Path, isolation: str
) -> None:
    dsn = make_url(database_url).update_query_dict({"default_transaction_isolation": isolation})
    through = dsn.render_as_string(hide_password=False)
    async with running(database_url, tmp_path / "spool", through=through) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        call = await desk.admitted()
        settling = []

        def work(connection: Connection) -> None:
            stored_limits.exclude_batches(connection)
            settling.append(asyncio.ensure_future(desk.ledger.settle(ending(*call))))
            while not connection.exec_driver_sql(WAITING_HERE).scalar():
                pass
            limit_opening.create(connection, limit(Metric.TOKENS, 10**6), int(time.time()))

        async with asyncio.timeout(PATIENCE_SECONDS):
            await desk.database.change(work)
        await settling[0]

        assert await desk.reader.one("SELECT used FROM counter WHERE limit_id LIKE 'lim_tok%'") == 30
        assert await books.differences(desk.reader) == []


@on_postgres
async def test_processes_that_know_different_counters_share_a_limit_exactly(database_url: str, tmp_path: Path) -> None:
    new = limit(Metric.REQUESTS, 50)
    async with AsyncExitStack() as stack:
        desks = [
            await stack.enter_async_context(running(database_url, tmp_path / owner, owner=owner))
            for owner in ("us", "them")
        ]
        await desks[0].add_limits(new)
        desks[1].limits, desks[1].revision = desks[0].limits, desks[0].revision

        async def one_after_the_other(desk: Desk) -> int:
            granted = 0
            for _ in range(40):
                asked = desk.asked()
                answer = await desk.ledger.reserve(asked)
                if isinstance(answer, Grant):
                    granted += 1
                    await desk.ledger.settle(ending(asked, answer))
            return granted

        assert sum(await asyncio.gather(*map(one_after_the_other, desks))) == 50
        assert await desks[0].holds() == 0
        assert await books.differences(desks[0].reader) == []
