"""Many calls at once against limits that admit exactly so many."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.entries import Grant, Refused, Reservation
from gateway.store.engine import is_sqlite
from tests.ledger import books
from tests.ledger.books import ending, figures, limit
from tests.ledger.running import Desk, running

CALLS = 200
FIT = 37
TOKENS_EACH = 30
COST_EACH = 130
"""10 input tokens at 3 nano-USD and 20 output tokens at 5."""


async def storm(desks: list[Desk], calls: int = CALLS) -> list[tuple[Desk, Reservation, Grant]]:
    """Let the calls ask at once, over all processes in turn; return those that were granted."""
    asked = [(desks[number % len(desks)], desks[number % len(desks)].asked()) for number in range(calls)]
    answers = await asyncio.gather(*(desk.ledger.reserve(call) for desk, call in asked))
    assert all(isinstance(answer, Grant | Refused) for answer in answers)
    return [(*one, answer) for one, answer in zip(asked, answers, strict=True) if isinstance(answer, Grant)]


async def settle(granted: list[tuple[Desk, Reservation, Grant]]) -> None:
    """End the calls, at once."""
    await asyncio.gather(*(desk.ledger.settle(ending(asked, grant)) for desk, asked, grant in granted))


@pytest.mark.parametrize(
    "new",
    [
        limit(Metric.REQUESTS, FIT),
        limit(Metric.REQUESTS, FIT, Interval.MONTH),
        limit(Metric.TOKENS, FIT * TOKENS_EACH + TOKENS_EACH - 1),
        limit(Metric.COST, FIT * COST_EACH + COST_EACH - 1),
        limit(Metric.CONCURRENCY, FIT),
    ],
    ids=lambda new: new.id,
)
async def test_storm_at_once_grants_exactly_what_fits(database_url: str, tmp_path: Path, new: Limit) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(new)

        granted = await storm([desk])

        assert len(granted) == FIT
        await settle(granted)
        assert await desk.holds() == 0
        assert await desk.reader.one("SELECT sum(held) FROM counter") == 0
        assert await books.differences(desk.reader) == []


async def test_storm_under_several_limits_holds_all_or_none(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await books.settle_in(desk.database, int(time.time()))
        await desk.add_limits(
            limit(Metric.REQUESTS, 100),
            limit(Metric.COST, COST_EACH * FIT, Interval.MONTH, scope=Scope.PROJECT, scope_id="proj_1"),
            limit(Metric.TOKENS, TOKENS_EACH * 50, Interval.DAY, scope=Scope.API_KEY, scope_id="key_1"),
            limit(Metric.CONCURRENCY, 80, scope=Scope.USER, scope_id="user_1"),
        )

        granted = await storm([desk])

        assert len(granted) == FIT
        held = await desk.reader.rows("SELECT held FROM counter ORDER BY held")
        assert held == [(FIT,), (FIT,), (FIT * TOKENS_EACH,), (FIT * COST_EACH,)]
        assert await books.differences(desk.reader) == []


async def test_storm_whose_calls_use_less_admits_as_many_more(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.TOKENS, FIT * TOKENS_EACH))

        admitted = []
        for _ in range(3):
            granted = await storm([desk])
            admitted.append(len(granted))
            await asyncio.gather(
                *(one.ledger.settle(ending(asked, grant, figures(10, 0))) for one, asked, grant in granted)
            )

        # 1110 tokens: 37 calls hold 30 each and use 10, so 740 are left for 24, then 500 for 16.
        assert admitted == [37, 24, 16]
        assert await books.differences(desk.reader) == []


async def test_storm_from_three_processes_grants_exactly_what_fits(database_url: str, tmp_path: Path) -> None:
    """On SQLite only one process may write: there it is one with three times the calls."""
    owners = ("one",) if is_sqlite(database_url) else ("one", "two", "three")
    async with AsyncExitStack() as stack:
        desks = [
            await stack.enter_async_context(running(database_url, tmp_path / owner, owner=owner, is_sole=False))
            for owner in owners
        ]
        await desks[0].add_limits(limit(Metric.REQUESTS, FIT), limit(Metric.COST, FIT * COST_EACH * 2))
        for desk in desks[1:]:
            desk.limits, desk.revision = desks[0].limits, desks[0].revision

        granted = await storm(desks, CALLS * 3)

        assert len(granted) == FIT
        await settle(granted)
        assert await desks[0].holds() == 0
        assert await books.differences(desks[0].reader) == []
