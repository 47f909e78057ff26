"""Callers that leave while they wait for their admission, at every stage of it: nothing stays held."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.core.limits import Metric
from gateway.ledger.entries import Grant
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.running import Desk, running, until


@asynccontextmanager
async def limited(url: str, folder: Path, *, is_hasty: bool = False) -> AsyncIterator[Desk]:
    async with running(url, folder, is_hasty=is_hasty) as desk:
        await desk.add_limits(limit(Metric.CONCURRENCY, 5), limit(Metric.TOKENS, 10_000))
        yield desk


async def nothing_is_held(desk: Desk) -> None:
    desk.gate.open()
    await desk.idle()
    assert await desk.holds() == 0
    assert await desk.reader.rows("SELECT held FROM counter WHERE held <> 0") == []
    assert await books.differences(desk.reader) == []


async def leave(asking: "asyncio.Task[object]") -> None:
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_caller_that_leaves_in_the_queue_is_never_admitted(database_url: str, tmp_path: Path) -> None:
    async with limited(database_url, tmp_path) as desk:
        desk.gate.before.clear()
        first = asyncio.create_task(desk.ledger.reserve(desk.asked()))
        await desk.gate.reached.wait()
        second = asyncio.create_task(desk.ledger.reserve(desk.asked()))
        await asyncio.sleep(0)
        await leave(second)
        await leave(first)

        await nothing_is_held(desk)


async def test_caller_that_leaves_before_the_commit_is_voided(database_url: str, tmp_path: Path) -> None:
    async with limited(database_url, tmp_path) as desk:
        desk.gate.before.clear()
        asking = asyncio.create_task(desk.ledger.reserve(desk.asked()))
        await desk.gate.reached.wait()
        await leave(asking)

        await nothing_is_held(desk)


async def test_caller_that_leaves_after_the_commit_is_voided(database_url: str, tmp_path: Path) -> None:
    async with limited(database_url, tmp_path) as desk:
        desk.gate.after.clear()
        asking = asyncio.create_task(desk.ledger.reserve(desk.asked()))
        await desk.gate.committed.wait()
        assert await desk.holds() == 1
        await leave(asking)

        await nothing_is_held(desk)


@pytest.mark.parametrize("turns", range(1, 12))
async def test_caller_that_leaves_after_so_many_turns_leaves_nothing(
    database_url: str, tmp_path: Path, turns: int
) -> None:
    """The answer may be there already, and its waiter not yet awake."""
    async with limited(database_url, tmp_path) as desk:
        desk.gate.after.clear()
        asking = asyncio.create_task(desk.ledger.reserve(desk.asked()))
        await desk.gate.committed.wait()
        desk.gate.after.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        [answer] = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(answer, Grant):
            desk.ledger.void(answer.request_id)

        await nothing_is_held(desk)


async def test_caller_that_leaves_its_settlement_is_charged_all_the_same(database_url: str, tmp_path: Path) -> None:
    async with limited(database_url, tmp_path, is_hasty=True) as desk:
        call = await desk.admitted()
        desk.gate.before.clear()
        desk.gate.reached.clear()
        settling = asyncio.ensure_future(desk.ledger.settle(ending(*call)))
        await desk.gate.reached.wait()
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        await until(lambda: desk.seen.spooled)  # it is as safe as any other, too

        await nothing_is_held(desk)
        assert await desk.entries() == [(call[0].request_id, "final")]
