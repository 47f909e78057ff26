"""Each call is charged once and in its own period, whoever settles it, how often, and at what moment."""

# ruff: noqa: S608 - numbers and names of ours

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from gateway.core.limits import Interval, Limit, Metric
from gateway.ledger.entries import Grant, Reservation
from gateway.store.engine import is_sqlite
from tests.ledger import books
from tests.ledger.books import SECOND, ending, figures, limit
from tests.ledger.running import Desk, running
from tests.ledger.test_recovery import sweep

CALLS = 20
HOUR = 3_600


@asynccontextmanager
async def processes(url: str, folder: Path, *limits: Limit) -> AsyncIterator[Sequence[Desk]]:
    """Three processes on PostgreSQL. SQLite has one: there it is three times the same."""
    async with AsyncExitStack() as stack:
        names = ("one",) if is_sqlite(url) else ("one", "two", "three")
        desks = [await stack.enter_async_context(running(url, folder / name, owner=name)) for name in names]
        await desks[0].add_limits(*limits)
        for desk in desks:
            desk.limits, desk.revision = desks[0].limits, desks[0].revision
        yield desks * (3 // len(desks))


async def test_call_settled_by_several_and_swept_all_at_once_is_charged_once(database_url: str, tmp_path: Path) -> None:
    wide = (limit(Metric.TOKENS, 10**6), limit(Metric.CONCURRENCY, 100), limit(Metric.REQUESTS, 100, Interval.DAY))
    async with processes(database_url, tmp_path, *wide) as desks:
        calls = [await desks[number % 3].admitted() for number in range(CALLS)]
        for asked, _ in calls:
            await desks[0].transactions.disown(asked.request_id)

        ends = [ending(asked, grant) for asked, grant in calls]
        settling = (desk.ledger.settle(end) for desk in desks for end in (*ends, *reversed(ends)))
        await asyncio.gather(*settling, *(sweep(desk) for desk in desks))

        entries = await desks[0].entries()
        assert sorted(name for name, entry in entries if entry == "final") == sorted(end.request_id for end in ends)
        # Where the sweep was first, one correction made up for it.
        assert len(entries) == len(set(entries))
        used = {row[0]: row[1] for row in await desks[0].reader.rows("SELECT limit_id, used FROM counter")}
        assert (used["lim_tokens_lifetime"], used["lim_requests_day"]) == (30 * CALLS, CALLS)
        assert await desks[0].holds() == 0
        assert await books.differences(desks[0].reader) == []


async def test_call_whose_hold_was_lost_is_charged_all_the_same(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 10**6))
        asked, grant = await desk.admitted()
        await desk.ledger.settle(ending(asked, grant, figures(0, 0, requests=0)))
        other, lost = await desk.admitted()
        desk.ledger.void(other.request_id)
        await desk.idle()
        await desk.ledger.settle(ending(other, lost))
        assert await desk.reader.one("SELECT used FROM counter") == 30
        assert await books.differences(desk.reader) == []


async def test_budget_goes_over_by_no_more_than_open_calls_used_beyond_their_holds(
    database_url: str, tmp_path: Path
) -> None:
    async with processes(database_url, tmp_path, limit(Metric.TOKENS, 10 * 30)) as desks:
        granted: list[tuple[Desk, Reservation, Grant]] = []
        for number in range(CALLS):
            desk = desks[number % 3]
            asked = desk.asked()
            answer = await desk.ledger.reserve(asked)
            if isinstance(answer, Grant):
                granted.append((desk, asked, answer))
        assert len(granted) == 10
        excesses = [7 * number for number in range(10)]
        await asyncio.gather(
            *(
                desk.ledger.settle(ending(asked, grant, figures(10, 20 + excess)))
                for (desk, asked, grant), excess in zip(granted, excesses, strict=True)
            )
        )
        assert await desks[0].reader.one("SELECT used FROM counter") == 300 + sum(excesses)
        assert not isinstance(await desks[1].ledger.reserve(desks[1].asked()), Grant)
        assert await books.differences(desks[0].reader) == []


async def test_calls_across_the_end_of_a_period_leave_no_counter_negative(database_url: str, tmp_path: Path) -> None:
    """No clock is set: the books are moved back by an hour while the calls are open, as if it had passed."""
    limits = (
        limit(Metric.TOKENS, 10**6, Interval.HOUR),
        limit(Metric.REQUESTS, 10**6, Interval.MINUTE, id="lim_calls"),
        limit(Metric.CONCURRENCY, 10**6),
    )
    async with processes(database_url, tmp_path, *limits) as desks:
        calls = [await desks[number % 3].admitted() for number in range(CALLS)]
        for table in ("counter", "hold_item"):
            await desks[0].reader.rows(
                f"UPDATE {table} SET period_start = period_start - {HOUR} WHERE period_start > 0 RETURNING 1"
            )
        await desks[0].reader.rows(f'UPDATE "limit" SET created_at = created_at - {HOUR} RETURNING 1')
        await desks[0].reader.rows(f"UPDATE hold SET admitted_at_us = admitted_at_us - {HOUR * SECOND} RETURNING 1")

        # The first to come in the new periods open them, all at once, while others end and are swept.
        for asked, _ in calls[::4]:
            await desks[0].transactions.disown(asked.request_id)
        settling = [
            desks[number % 3].ledger.settle(ending(asked, earlier(grant)))
            for number, (asked, grant) in enumerate(calls)
            if number % 4
        ]
        asking = [desk.ledger.reserve(desk.asked()) for desk in desks]
        answers = await asyncio.gather(*asking, *settling, *(sweep(desk) for desk in desks))
        assert all(isinstance(answer, Grant) for answer in answers[:3])

        reader = desks[0].reader
        assert await reader.one("SELECT count(*) FROM counter WHERE used < 0 OR held < 0") == 0
        assert await reader.one("SELECT count(*) FROM usage WHERE entry = 'final'") == CALLS
        assert await books.differences(reader) == []


def earlier(grant: Grant) -> Grant:
    """The grant as it would have been an hour before."""
    items = [replace(item, period_start=item.period_start - HOUR if item.period_start else 0) for item in grant.items]
    return replace(grant, admitted_at_us=grant.admitted_at_us - HOUR * SECOND, items=tuple(items))
