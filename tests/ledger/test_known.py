"""Batches decided on what the process knows: one statement when that is right, nothing written when it is not."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest

from gateway.core.limits import Interval, Metric
from gateway.ledger.effects import Batch, Effects, State
from gateway.ledger.entries import Grant
from gateway.ledger.known import LONGEST_REST, Known
from gateway.store import limits as stored_limits
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.chaos import chaos
from tests.ledger.running import Desk, on_postgres, running

NOW_US = 1_780_000_000_000_000


def known_counters() -> Known:
    known = Known()
    known.remember(State(NOW_US, 1, {}), Effects())
    return known


def test_wrong_guesses_make_it_guess_ever_more_seldom_and_a_right_one_at_once_again() -> None:
    known = known_counters()
    batch = Batch([books.reservation("req_1", (), 1)])
    rests = []
    for _ in range(8):
        assert known.expect(batch, NOW_US) is not None
        known.was_wrong()
        rests.append(next(number for number in count() if known.expect(batch, NOW_US) is not None))
    assert rests == [1, 3, 7, 15, 31, 63, LONGEST_REST, LONGEST_REST]
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
